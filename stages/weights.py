"""Stage `weights`: find or download the pretrained weights, and record which they are."""

from pathlib import Path

from pipeline import params, weights
from stages import run


def main() -> None:
    """Run the stage in the repository's root."""
    settings = params.load()
    # the embedded corpus comes with its own vectors
    own = settings.corpus.name == params.EMBEDDED
    vectors = None if own else Path(settings.text.glove)
    weights.record(settings.text, settings.visual, vectors, Path("data/interim"))


if __name__ == "__main__":
    run(main)
