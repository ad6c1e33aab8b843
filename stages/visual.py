"""Stage `visual`: the visual streams, such as ResNet embeddings of frames."""

from pipeline import params
from pipeline.system import compute
from stages import run
from stages.extraction import extract


def main() -> None:
    settings = params.load()
    device = compute.local_device(settings.compute).type
    # one core decodes media more slowly than a GPU runs a network
    workers = compute.network_processes(settings.compute.workers, device, per_gpu=None)
    extract("visual", settings, workers=workers)


if __name__ == "__main__":
    run(main)
