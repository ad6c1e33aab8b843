"""Trained models with all that a bundle is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from pipeline import params
from pipeline.bundle.__main__ import main
from pipeline.evaluation import metrics, prediction, trained
from pipeline.store import FeatureStore
from tests.test_predict import World

ROOT = Path(__file__).parents[1]


class Trained(World):
    """Models with their parameter file and results."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        recorded = json.loads((self.models / "parameters.json").read_text())
        raw = params.read_yaml(ROOT / "params.yaml")
        raw |= {group: recorded[group] for group in trained.TRAINED_WITH}
        raw["text"]["streams"]["bert"] |= {"model": self.bert, "layers": [1, 2]}
        self.params = folder / "params.yaml"
        self.params.write_text(yaml.safe_dump(raw), encoding="utf-8")
        self.results = folder / "results"
        self.results.mkdir()
        predictions = self.stored(self.models)
        predictions.to_csv(self.results / "predictions.csv", index=False)
        summary = metrics.summary(metrics.by_fold(predictions))
        together = metrics.summary(metrics.by_fold(metrics.ensemble(predictions)))
        for name, figure in summary.items():
            figure["ensemble"] = together[name]["mean"]
        with FeatureStore(self.store) as store:
            missing = prediction.missing(store, self.models, torch.device("cpu"))
        for name, figures in (("metrics", summary), ("missing", missing)):
            (self.results / f"{name}.json").write_text(json.dumps(figures))
        self.bundle = self.bundled(folder / "bundle")

    def bundled(self, output: Path, *given: str) -> Path:
        assert self.run(output, *given) == 0
        return output

    def run(self, output: Path, *given: str, models: Path | None = None) -> int:
        options = {"--results": self.results, "--params": self.params, "--store": self.store}
        named = [str(part) for pair in options.items() for part in pair]
        return main([str(models or self.models), str(output), *named, *given])

    def read(self, name: str) -> Any:
        return json.loads((self.results / f"{name}.json").read_text())
