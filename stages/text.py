"""Stage `text`: the streams of words, such as GloVe token ids and BERT token states."""

from pathlib import Path

from pipeline import params
from pipeline.corpus.table import read_table
from pipeline.corpus.utterance import from_table
from pipeline.features import pretrained
from pipeline.features.extraction import extract
from pipeline.features.extractor import Context
from pipeline.system import compute
from stages import run

INTERIM = Path("data/interim")


def main() -> None:
    """Run the stage in the repository's root."""
    settings = params.load()
    streams = settings.text.streams
    pretrained.check(INTERIM / "weights/text.json", streams)
    device = compute.device(settings.compute.device)
    extract(
        "text",
        streams,
        from_table(read_table(INTERIM / settings.corpus.name / "text.csv")),
        Context(Path(settings.corpus.root), str(device), settings.text),
        kept=INTERIM / "kept/features" / settings.corpus.name / "text",
        output=Path("data/features") / settings.corpus.name / "text",
        # batches of a network use every core, or the GPU
        workers=1,
        include_text=settings.text.include_text,
    )


if __name__ == "__main__":
    run(main)
