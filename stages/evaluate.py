"""Stage `evaluate`: predictions, figures and report of the folds' test parts."""

import json
from pathlib import Path

from pipeline import compute, evaluation, params, report
from pipeline.store import FeatureStore
from stages import run

MODELS = Path("models")
RESULTS = Path("results")


def main() -> None:
    """Run the stage in the repository's root."""
    settings = params.load()
    with FeatureStore(f"data/features/{settings.corpus.name}.h5") as store:
        device = compute.device(settings.compute.device)
        predictions = evaluation.test_folds(store, MODELS, device)
        predictions.to_csv(RESULTS / "predictions.csv", index=False, lineterminator="\n")
        summary = report.write(store, MODELS, RESULTS / "training", predictions, RESULTS)
    (RESULTS / "metrics.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    for name, figure in summary.items():
        print(f"{name:<20} {figure['mean']:.3f} ± {figure['deviation']:.3f}")


if __name__ == "__main__":
    run(main)
