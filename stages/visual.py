"""Stage `visual`: ResNet embeddings of the frames of each utterance."""

from pathlib import Path

from pipeline import compute, params, weights
from pipeline.corpus.table import read_table
from pipeline.features.extraction import extract
from pipeline.features.visual import VisualExtractor
from stages import run

INTERIM = Path("data/interim")


def main() -> None:
    """Run the stage in the repository's root."""
    settings = params.load()
    found = weights.resnet_identity(settings.visual.network, settings.visual.weights)
    weights.check(INTERIM / "resnet-weights.json", found)
    device = compute.device(settings.compute.device)
    extract(
        VisualExtractor(settings.visual, Path(settings.corpus.root), device),
        read_table(INTERIM / "visual.csv"),
        parts=INTERIM / "visual.parts",
        output=INTERIM / "visual.h5",
        report=INTERIM / "visual.json",
        # processes with a thread each share cores best; a GPU belongs to one
        workers=compute.processes(settings.compute.workers) if device.type == "cpu" else 1,
        description="visual",
    )


if __name__ == "__main__":
    run(main)
