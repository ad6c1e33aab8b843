"""Stage `text`: the text streams, such as GloVe token ids and BERT hidden states."""

from pipeline import params
from pipeline.system import compute
from stages import run
from stages.extraction import extract


def main() -> None:
    settings = params.load()
    workers = compute.processes(settings.compute.workers)
    device = compute.local_device(settings.compute).type
    networks = compute.network_processes(workers, device, per_gpu=1)  # one keeps a GPU busy
    extract(
        "text",
        settings,
        workers=workers,
        network_workers=networks,
        include_text=settings.text.include_text,
    )


if __name__ == "__main__":
    run(main)
