"""Stage `audio`: the audio streams, such as MFCC and prosody."""

from pipeline import params
from pipeline.system import compute
from stages import run
from stages.extraction import extract


def main() -> None:
    settings = params.load()
    workers = compute.processes(settings.compute.workers)
    extract("audio", settings, device="cpu", workers=workers)


if __name__ == "__main__":
    run(main)
