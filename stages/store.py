"""Stage `store`: the utterance table, the votes and all features in one HDF5 file."""

from pathlib import Path

from pipeline import params, store
from pipeline.corpus import votes
from pipeline.corpus.table import read_table
from stages import run

INTERIM = Path("data/interim")


def main() -> None:
    """Run the stage in the repository's root."""
    settings = params.load()
    output = Path("data/features") / f"{settings.corpus.name}.h5"
    raters = read_table(INTERIM / "votes.csv")
    store.assemble(
        read_table(INTERIM / "utterances.csv"),
        raters,
        [INTERIM / f"{name}.h5" for name in ("audio", "text", "visual")],
        output,
        corpus=settings.corpus.name,
        parameters=settings.features(),
    )
    for word, count in votes.unknown(raters).items():
        print(f"votes: {word!r} is no category of the release; counted {count} times as other")
    print(store.describe(output))


if __name__ == "__main__":
    run(main)
