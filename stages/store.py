"""Stage `store`: write `store.h5` after checking the streams against the utterance table."""

from pathlib import Path

from pipeline import params
from pipeline.corpus.description import Description
from pipeline.corpus.table import read_table
from pipeline.store import describing, writing
from pipeline.system.kept import share
from stages import run

INTERIM = Path("data/interim")


def main() -> None:
    settings = params.load()
    name = settings.corpus.name
    folder, tables = Path("data/features", name), INTERIM / name
    streams = {group: list(getattr(settings, group).streams) for group in params.FEATURES}
    description = Description.from_json((tables / "corpus.json").read_text(encoding="utf-8"))
    writing.write_table(
        folder,
        read_table(tables / "utterances.csv"),
        read_table(tables / "votes.csv"),
        streams,
        corpus=name,
        description=description,
        include_text=settings.text.include_text,
    )
    print(describing.describe(folder))
    # DVC has cached the streams by now, perhaps as copies; link them to save disk space
    for modality in streams:
        share(INTERIM / "kept/features" / name / modality, folder / modality)


if __name__ == "__main__":
    run(main)
