"""Stage `audio`: the streams of sound, such as MFCC and prosody."""

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
    streams = settings.audio.streams
    weights.check(INTERIM / "weights/audio.json", streams)
    table = read_table(INTERIM / settings.corpus.name / "audio.csv")
    context = Context(Path(settings.corpus.root), "cpu", settings.audio)
    extract(
        Modality("audio", streams, context, table),
        table,
        parts=INTERIM / "audio.parts",
        output=INTERIM / "audio.h5",
        report=INTERIM / "audio.json",
        workers=compute.processes(settings.compute.workers),
        description="audio",
    )


if __name__ == "__main__":
    run(main)
