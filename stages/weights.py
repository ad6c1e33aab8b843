"""Stage `weights`: find or download the pretrained weights and record their hashes."""

from pathlib import Path

from pipeline import params
from pipeline.features import pretrained
from stages import run


def main() -> None:
    settings = params.load()
    streams = {name: getattr(settings, name).streams for name in params.FEATURES}
    pretrained.record(streams, Path("data/interim/weights"))


if __name__ == "__main__":
    run(main)
