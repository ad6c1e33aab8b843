"""Stage `evaluate`: predictions, metrics, attention and report on the test parts of all folds."""

import json
from pathlib import Path

from pipeline import params, report
from pipeline.evaluation import attention, metrics, prediction, trained
from pipeline.store import FeatureStore
from pipeline.system import compute
from pipeline.system.filesystem import write_csv, write_text
from stages import run

MODELS = Path("models")
RESULTS = Path("results")


def main() -> None:
    settings = params.load()
    trained.check_parameters(MODELS, settings)
    attention_file = RESULTS / "attention.h5"
    with FeatureStore(Path("data/features", settings.corpus.name)) as store:
        device = compute.device(settings.compute.device)
        predictions = prediction.test_folds(store, MODELS, device)
        write_csv(RESULTS / "predictions.csv", predictions)
        missing = prediction.missing(store, MODELS, device)
        scenarios = metrics.by_scenario(predictions, store.scenarios)
        attention.write(store, MODELS, predictions, attention_file, device)
        summary = report.write(
            store,
            MODELS,
            RESULTS / "training",
            predictions,
            RESULTS,
            missing=missing,
            scenarios=scenarios,
            attention_file=attention_file,
            comparison=RESULTS / "comparison.csv",
            media=Path(settings.corpus.root) if settings.report.media else None,
            hardest=settings.report.hardest,
        )
    written = {"metrics": summary, "missing": missing, "scenarios": scenarios}
    for name, figures in written.items():
        write_text(RESULTS / f"{name}.json", json.dumps(figures, indent=2) + "\n")
    for name, figure in summary.items():
        together = f", ensemble {figure['ensemble']:.3f}" if "ensemble" in figure else ""
        print(f"{name:<20} {figure['mean']:.3f} ± {figure['deviation']:.3f}{together}")


if __name__ == "__main__":
    run(main)
