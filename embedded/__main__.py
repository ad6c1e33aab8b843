"""Stage `make` of embedded/dvc.yaml: make the embedded corpus and word vectors for it."""

from pathlib import Path

import embedded
from pipeline import params
from pipeline.system import compute
from stages import run

# not corpus.root, which may be a real copy of the release
FOLDER = Path("data/raw/embedded")


def main() -> None:
    settings = params.load()
    embedded.make(
        settings.embedded,
        FOLDER / "IEMOCAP_full_release",
        FOLDER / "glove.embedded.300d.txt",
        workers=compute.processes(settings.compute.workers),
    )


if __name__ == "__main__":
    run(main)
