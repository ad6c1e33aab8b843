"""Stage `text`: the text streams, such as GloVe token ids and BERT hidden states."""

from pipeline import params
from pipeline.system import compute
from stages import run
from stages.extraction import extract


def main() -> None:
    settings = params.load()
    extract(
        "text",
        settings,
        device=compute.local_device(settings.compute),
        workers=1,  # a batch of BERT already uses every core, or the GPU
        include_text=settings.text.include_text,
    )


if __name__ == "__main__":
    run(main)
