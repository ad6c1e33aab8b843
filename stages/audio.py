"""Stage `audio`: MFCC and prosody of each utterance."""

from pathlib import Path

from pipeline import compute, params
from pipeline.corpus import table
from pipeline.features.audio import AudioExtractor
from pipeline.features.extraction import extract
from stages import run

INTERIM = Path("data/interim")


def main() -> None:
    """Run the stage in the repository's root."""
    settings = params.load()
    extract(
        AudioExtractor(settings.audio, Path(settings.corpus.root)),
        table.read_table(INTERIM / "audio.csv"),
        parts=INTERIM / "audio.parts",
        output=INTERIM / "audio.h5",
        report=INTERIM / "audio.json",
        workers=compute.processes(settings.compute.workers),
        description="audio",
    )


if __name__ == "__main__":
    run(main)
