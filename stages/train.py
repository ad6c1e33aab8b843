"""Stage `train`: train one model per fold and seed; save them with folds and parameters."""

from pathlib import Path

from pipeline import params
from pipeline.system import compute
from pipeline.training import folds
from stages import run


def main() -> None:
    settings = params.load()
    device = compute.device(settings.compute.device).type
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
    folds.train_folds(jobs, compute.parallel_folds(settings.compute.parallel_folds, device))


if __name__ == "__main__":
    run(main)
