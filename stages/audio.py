"""Stage `audio`: the streams of sound, such as MFCC and prosody."""

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
    streams = settings.audio.streams
    pretrained.check(INTERIM / "weights/audio.json", streams)
    extract(
        "audio",
        streams,
        from_table(read_table(INTERIM / settings.corpus.name / "audio.csv")),
        Context(Path(settings.corpus.root), "cpu", settings.audio),
        kept=INTERIM / "kept/features" / settings.corpus.name / "audio",
        output=Path("data/features") / settings.corpus.name / "audio",
        workers=compute.processes(settings.compute.workers),
    )


if __name__ == "__main__":
    run(main)
