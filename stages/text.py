"""Stage `text`: the streams of words, such as GloVe token ids and BERT token states."""

from pathlib import Path

from pipeline import compute, params, weights
from pipeline.corpus.table import read_table
from pipeline.features.extraction import extract
from pipeline.features.extractor import Context
from pipeline.features.modality import Modality
from stages import run

INTERIM = Path("data/interim")


def main() -> None:
    """Run the stage in the repository's root."""
    settings = params.load()
    streams = settings.text.streams
    weights.check(INTERIM / "weights/text.json", streams)
    device = compute.device(settings.compute.device)
    table = read_table(INTERIM / settings.corpus.name / "text.csv")
    context = Context(Path(settings.corpus.root), str(device), settings.text)
    extract(
        Modality("text", streams, context, table),
        table,
        parts=INTERIM / "text.parts",
        output=INTERIM / "text.h5",
        report=INTERIM / "text.json",
        workers=1,  # batches of a network use every core, or the GPU
        description="text",
    )


if __name__ == "__main__":
    run(main)
