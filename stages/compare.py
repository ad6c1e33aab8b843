"""Stage `row@<key>` of comparison/dvc.yaml: train and test one model of the comparison."""

import argparse
from pathlib import Path

from pipeline import params
from pipeline.comparison import rows
from pipeline.system import compute
from pipeline.system.cluster import connected, device_name
from stages import run

ROWS = Path("comparison/rows.yaml")
PARTS = Path("data/interim/kept/comparison")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.compare", description=__doc__)
    parser.add_argument("row", help=f"a key of {ROWS}")
    key = parser.parse_args().row
    output = Path("data/comparison") / key
    common = params.load()
    listed = rows.read(ROWS)
    if key in listed.overrides and (reason := listed.left_out(key, common)):
        rows.skip(key, reason, output)
        return
    settings = listed.settings(key, common)
    with connected(common.compute.cluster) as cluster:
        device = device_name(common.compute, cluster)
        rows.run(
            key,
            settings,
            store=Path("data/features", settings.corpus.name),
            lists=Path("splits"),
            parts=PARTS / key,
            output=output,
            device=device,
            parallel=compute.parallel_folds(settings.compute.parallel_folds, device),
            cluster=cluster,
        )
    rows.forget(PARTS, listed)


if __name__ == "__main__":
    run(main)
