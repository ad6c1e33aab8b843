"""Stage `train`: train one model per fold and seed; save them with folds and parameters."""

from pathlib import Path

from pipeline import params
from pipeline.system import compute
from pipeline.training import folds
from stages import run

MODELS = Path("models")
CURVES = Path("results/training")
LISTS = Path("splits")
CHECKPOINTS = Path("data/interim/kept/models")


def main() -> None:
    settings = params.load()
    device = compute.device(settings.compute.device).type
    jobs = folds.plan(
        Path("data/features", settings.corpus.name),
        settings,
        lists=LISTS,
        models=MODELS,
        curves=CURVES,
        checkpoints=CHECKPOINTS,
        device=device,
    )
    print(folds.describe(jobs))
    folds.train_folds(jobs, compute.parallel_folds(settings.compute.parallel_folds, device))


if __name__ == "__main__":
    run(main)
