"""Stage `store`: the utterance table, the votes and all features in one HDF5 file."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline import external, params
from pipeline.corpus import votes
from pipeline.corpus.table import read_table
from pipeline.store import describing, writing
from stages import run

INTERIM = Path("data/interim")
EXTERNAL = Path("data/external")


def main() -> None:
    """Run the stage in the repository's root."""
    settings = params.load()
    output = Path("data/features") / f"{settings.corpus.name}.h5"
    table, raters = read_table(INTERIM / "utterances.csv"), read_table(INTERIM / "votes.csv")
    streams = {
        name: stream
        for group in params.FEATURES
        for name, stream in getattr(settings, group).streams.items()
    }
    with TemporaryDirectory(dir=INTERIM, prefix="external-") as folder:
        paths = [INTERIM / f"{name}.h5" for name in params.FEATURES]
        for name in settings.store.external:
            # named so that it cannot pass for a modality
            paths.append(Path(folder) / f"external-{name}.h5")
            source = external.find(EXTERNAL, name)
            found = external.convert(source, name, table["utterance"].tolist(), paths[-1])
            if found.missing:
                print(
                    f"{source}: lacks {len(found.missing)} of {len(table)} utterances, such as "
                    f"{found.missing[0]}"
                )
        writing.assemble(
            table,
            raters,
            paths,
            output,
            corpus=settings.corpus.name,
            parameters=settings.features(),
            storage=writing.Storage(settings.text.include_text, streams),
        )
    for word, count in votes.unknown(raters).items():
        print(f"votes: {word!r} is no category of the release; counted {count} times as other")
    print(describing.describe(output))
    # kept until now, since DVC has recorded the features that were made of them
    for name in params.FEATURES:
        shutil.rmtree(INTERIM / f"{name}.parts", ignore_errors=True)


if __name__ == "__main__":
    run(main)
