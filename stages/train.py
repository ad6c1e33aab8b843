"""Stage `train`: train one model per fold and seed; save them with folds and parameters."""

from pathlib import Path

from pipeline import params
from pipeline.system import compute
from pipeline.system.cluster import connected, device_name
from pipeline.training import folds
from stages import run


def main() -> None:
    settings = params.load()
    with connected(settings.compute.cluster) as cluster:
        device = device_name(settings.compute, cluster)
        jobs = folds.plan(
            Path("data/features", settings.corpus.name),
            settings,
            lists=Path("splits"),
            models=Path("models"),
            curves=Path("results/training"),
            checkpoints=Path("data/interim/kept/models"),
            device=device,
        )
        print(folds.describe(jobs))
        parallel = compute.parallel_folds(settings.compute.parallel_folds, device)
        folds.train_folds(jobs, parallel, cluster)


if __name__ == "__main__":
    run(main)
