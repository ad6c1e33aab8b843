"""Stage `train`: one model a fold and seed, with the folds and parameters it was made of."""

from pathlib import Path

from pipeline import compute, params, training
from stages import run

MODELS = Path("models")
CURVES = Path("results/training")
LISTS = Path("splits")
CHECKPOINTS = Path("data/interim/train.parts")


def main() -> None:
    """Run the stage in the repository's root."""
    settings = params.load()
    jobs = training.plan(
        Path(f"data/features/{settings.corpus.name}.h5"),
        settings,
        lists=LISTS,
        models=MODELS,
        curves=CURVES,
        checkpoints=CHECKPOINTS,
        device=compute.device(settings.compute.device).type,
    )
    print(training.describe(jobs))
    training.train_folds(jobs, compute.processes(settings.compute.workers))


if __name__ == "__main__":
    run(main)
