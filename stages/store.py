"""Stage `store`: `store.h5`, once the streams agree with the utterance table and each other."""

from pathlib import Path

import pandas as pd

from pipeline import params
from pipeline.corpus import votes
from pipeline.corpus.table import read_table
from pipeline.store import describing, writing
from pipeline.system.kept import share
from stages import run

INTERIM = Path("data/interim")


def main() -> None:
    """Run the stage in the repository's root."""
    settings = params.load()
    folder = Path("data/features") / settings.corpus.name
    streams = {name: list(getattr(settings, name).streams) for name in params.FEATURES}
    table, raters = read_table(INTERIM / "utterances.csv"), read_table(INTERIM / "votes.csv")
    ids = table["utterance"].tolist()
    counts = pd.DataFrame(votes.count(ids, raters), columns=list(votes.CODES))
    writing.write_table(
        folder,
        table,
        counts.assign(utterance=ids),
        streams,
        corpus=settings.corpus.name,
        include_text=settings.text.include_text,
    )
    for word, count in votes.unknown(raters).items():
        print(f"votes: {word!r} is no category of the release; counted {count} times as other")
    print(describing.describe(folder))
    # DVC has recorded the streams by now, perhaps as copies: features lie on the disk once
    for modality in streams:
        share(INTERIM / "kept/features" / settings.corpus.name / modality, folder / modality)


if __name__ == "__main__":
    run(main)
