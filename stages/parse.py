"""Stage `parse`: one utterance table from the labels, transcripts and media files of a corpus."""

from pathlib import Path

from pipeline import InputError, params
from pipeline.corpus import media, parsing
from stages import run

INTERIM = Path("data/interim")


def main() -> None:
    settings = params.load()
    root = Path(settings.corpus.root)
    parsed = parsing.parse(settings.corpus.reader, root)
    if lacking := parsed.description.lacks(settings.model.modalities):
        raise InputError(lacking)  # before features are extracted for nothing
    hashes = media.hashes(root, parsed.media, INTERIM / "kept/media.json")
    parsing.write(parsed, hashes, INTERIM / settings.corpus.name)
    print(parsed.summary)


if __name__ == "__main__":
    run(main)
