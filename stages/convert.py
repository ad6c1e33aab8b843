"""Let extraction take over the streams of a feature store of schema version 2, once.

Run `dvc repro parse weights` before it, and `dvc repro` after it. It is your word that the
recordings are those that the store was made of.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline import params
from pipeline.corpus.table import read_table
from pipeline.corpus.utterance import from_table
from pipeline.features.extractor import Context
from pipeline.features.planning import dialogs_of, plan
from pipeline.store.converting import convert
from pipeline.system import compute
from pipeline.system.kept import link
from stages import run

INTERIM = Path("data/interim")


def main() -> None:
    """Run it in the repository's root."""
    parser = argparse.ArgumentParser(prog="python -m stages.convert", description=__doc__)
    parser.add_argument("old", type=Path, help="the store, one HDF5 file")
    old = parser.parse_args().old
    settings = params.load()
    device = str(compute.device(settings.compute.device))
    plans = {}
    for group in params.FEATURES:
        shared = getattr(settings, group)
        dialogs = dialogs_of(
            from_table(read_table(INTERIM / settings.corpus.name / f"{group}.csv"))
        )
        context = Context(Path(settings.corpus.root), "cpu" if group == "audio" else device, shared)
        spells = settings.text.include_text
        for name, extractor in shared.streams.items():
            plans[name] = plan(group, name, extractor, dialogs, context, include_text=spells)
    kept = INTERIM / "kept/features" / settings.corpus.name
    kept.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=kept) as folder:
        for path, fault in convert(old, Path(folder, "store"), plans).items():
            if not fault:
                (kept / path).parent.mkdir(exist_ok=True)
                link(Path(folder, "store", path), kept / path)
            print(f"{path}: " + (f"computed anew: {fault}" if fault else "is taken over"))


if __name__ == "__main__":
    run(main)
