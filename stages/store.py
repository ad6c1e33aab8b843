"""Stage `store`: the utterance table and all features in one HDF5 file."""

from pathlib import Path

from pipeline import params, store
from pipeline.corpus.table import read_table

INTERIM = Path("data/interim")


def main() -> None:
    """Run the stage in the repository's root."""
    settings = params.load()
    output = Path("data/features") / f"{settings.corpus.name}.h5"
    store.assemble(
        read_table(INTERIM / "utterances.csv"),
        [INTERIM / f"{name}.h5" for name in ("audio", "text", "visual")],
        output,
        corpus=settings.corpus.name,
        parameters=settings.features(),
    )
    print(store.describe(output))


if __name__ == "__main__":
    main()
