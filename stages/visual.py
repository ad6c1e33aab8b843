"""Stage `visual`: the visual streams, such as ResNet embeddings of frames."""

from pipeline import params
from pipeline.system import compute
from stages import run
from stages.extraction import extract


def main() -> None:
    settings = params.load()
    device = compute.local_device(settings.compute)
    workers = compute.network_processes(settings.compute.workers, device)
    extract("visual", settings, workers=workers)


if __name__ == "__main__":
    run(main)
