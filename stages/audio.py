"""Stage `audio`: the audio streams, such as MFCC, prosody and hidden states of WavLM."""

from pipeline import params
from pipeline.system import compute
from stages import run
from stages.extraction import extract


def main() -> None:
    settings = params.load()
    workers = compute.processes(settings.compute.workers)
    device = str(compute.device(settings.compute.device))
    extract("audio", settings, device=device, workers=workers)


if __name__ == "__main__":
    run(main)
