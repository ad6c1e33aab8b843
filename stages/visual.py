"""Stage `visual`: the visual streams, such as ResNet embeddings of frames."""

from pipeline import params
from pipeline.system import compute
from stages import run
from stages.extraction import extract


def main() -> None:
    settings = params.load()
    device = compute.device(settings.compute.device)
    # on the CPU one single-threaded process per core is fastest; a GPU serves one process
    workers = compute.processes(settings.compute.workers) if device.type == "cpu" else 1
    extract("visual", settings, device=str(device), workers=workers)


if __name__ == "__main__":
    run(main)
