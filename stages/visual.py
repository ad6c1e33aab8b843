"""Stage `visual`: the streams of pictures, such as ResNet embeddings of frames."""

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
    streams = settings.visual.streams
    pretrained.check(INTERIM / "weights/visual.json", streams)
    device = compute.device(settings.compute.device)
    extract(
        "visual",
        streams,
        from_table(read_table(INTERIM / settings.corpus.name / "visual.csv")),
        Context(Path(settings.corpus.root), str(device), settings.visual),
        kept=INTERIM / "kept/features" / settings.corpus.name / "visual",
        output=Path("data/features") / settings.corpus.name / "visual",
        # processes with a thread each share cores best; a GPU belongs to one
        workers=compute.processes(settings.compute.workers) if device.type == "cpu" else 1,
    )


if __name__ == "__main__":
    run(main)
