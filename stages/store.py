"""Stage `store`: the utterance table, the votes and all features in one HDF5 file."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline import external, params
from pipeline.corpus.description import Description
from pipeline.corpus.table import read_table
from pipeline.store import describing, writing
from stages import run

INTERIM = Path("data/interim")
EXTERNAL = Path("data/external")


def main() -> None:
    """Run the stage in the repository's root."""
    settings = params.load()
    output = Path("data/features") / f"{settings.corpus.name}.h5"
    tables = INTERIM / settings.corpus.name
    table, votes = read_table(tables / "utterances.csv"), read_table(tables / "votes.csv")
    description = Description.from_json((tables / "corpus.json").read_text(encoding="utf-8"))
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
            votes,
            paths,
            output,
            corpus=settings.corpus.name,
            description=description,
            parameters=settings.features(),
            storage=writing.Storage(settings.text.include_text, streams),
        )
    print(describing.describe(output))
    # kept until now, since DVC has recorded the features that were made of them
    for name in params.FEATURES:
        shutil.rmtree(INTERIM / f"{name}.parts", ignore_errors=True)


if __name__ == "__main__":
    run(main)
