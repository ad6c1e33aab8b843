"""Convert a feature store of schema version 2, so that extraction reuses its streams.

Run `dvc repro parse weights` before it and `dvc repro` after it. You vouch for it that the store
was extracted from these recordings: this is not checked.
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
    parser = argparse.ArgumentParser(prog="python -m stages.convert", description=__doc__)
    parser.add_argument("old", type=Path, help="the HDF5 file of the store")
    old = parser.parse_args().old
    settings = params.load()
    device = str(compute.device(settings.compute.device))
    include_text = settings.text.include_text
    plans = {}
    for modality in params.FEATURES:
        group = getattr(settings, modality)
        table = read_table(INTERIM / settings.corpus.name / f"{modality}.csv")
        dialogs = dialogs_of(from_table(table))
        context = Context(Path(settings.corpus.root), device, group)
        for name, extractor in group.streams.items():
            plans[name] = plan(
                modality, name, extractor, dialogs, context, include_text=include_text
            )
    kept = INTERIM / "kept/features" / settings.corpus.name
    kept.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=kept) as folder:
        for path, fault in convert(old, Path(folder, "store"), plans).items():
            if not fault:
                (kept / path).parent.mkdir(exist_ok=True)
                link(Path(folder, "store", path), kept / path)
            print(f"{path}: " + (f"not reused: {fault}" if fault else "reused"))


if __name__ == "__main__":
    run(main)
