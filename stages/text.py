"""Stage `text`: GloVe token ids with their vectors, and BERT token states."""

from pathlib import Path

from pipeline import compute, params, weights
from pipeline.corpus import table
from pipeline.features.extraction import extract
from pipeline.features.text import TextExtractor
from stages import run

INTERIM = Path("data/interim")


def main() -> None:
    """Run the stage in the repository's root."""
    settings = params.load()
    weights.check(INTERIM / "bert-weights.json", weights.bert_identity(settings.text.bert))
    utterances = table.read_table(INTERIM / "text.csv")
    extract(
        TextExtractor(settings.text, utterances, compute.device(settings.compute.device)),
        utterances,
        parts=INTERIM / "text.parts",
        output=INTERIM / "text.h5",
        report=INTERIM / "text.json",
        description="text",  # one process: BERT's batches use every core, or the GPU
    )


if __name__ == "__main__":
    run(main)
