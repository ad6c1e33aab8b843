"""Stage `audio`: the audio streams, such as MFCC, prosody and hidden states of WavLM."""

from pipeline import params
from pipeline.system import compute
from stages import run
from stages.extraction import extract


def main() -> None:
    settings = params.load()
    workers = compute.processes(settings.compute.workers)
    device = compute.local_device(settings.compute).type
    # recordings are read quickly, so one process keeps a GPU busy, and has all of its memory
    networks = compute.network_processes(workers, device, per_gpu=1)
    extract("audio", settings, workers=workers, network_workers=networks)


if __name__ == "__main__":
    run(main)
