"""What is known of trained models, once it is certain that it is of these models."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pipeline import InputError
from pipeline.evaluation import metrics
from pipeline.evaluation.prediction import BATCH, predict
from pipeline.evaluation.trained import models
from pipeline.models.classifier import Classifier
from pipeline.store import FeatureStore
from pipeline.system.filesystem import unreadable

_COMPARED = 8  # utterances per model
_CLOSE = 0.01  # probabilities from another processor
_ROUNDED = 2e-6  # two figures of six decimals

_REMEDY = "`dvc repro` evaluates these models"

Summary = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Evaluated:
    """Parameters, folds and figures of models.

    Attributes
    ----------
    parameters
        ``parameters.json``, beside the models.
    folds
        ``folds.csv``: utterance, fold, part, emotion.
    figures
        ``metrics.json``, by metric.
    missing
        ``missing.json``: the figures without each modality; empty if there is no such file.
    """

    parameters: dict[str, Any]
    folds: pd.DataFrame
    figures: Summary
    missing: dict[str, Summary]

    @classmethod
    def read(cls, folder: Path, results: Path, store: FeatureStore) -> Evaluated:
        """Read the files of the stages ``train`` and ``evaluate``, and check that they agree.

        The models predict some utterances of their test parts again, and the figures are computed
        from the predictions again: the results name no models, and may be of an earlier run.

        Parameters
        ----------
        folder, results
            The outputs of ``train`` and ``evaluate``.
        store
            The feature store that the models were trained on.

        Raises
        ------
        InputError
            If a file cannot be read, or the results are of other models or another store.
        """
        folds = _table(folder / "folds.csv")
        predictions = _table(results / "predictions.csv")
        figures = _json(results / "metrics.json")
        missing = results / "missing.json"
        unknown = sorted(set(folds["utterance"]) - set(store.row_of))
        if unknown:
            raise InputError(
                f"{store.path}: has no utterance {unknown[0]}, which {folder / 'folds.csv'} names; "
                "use the store that the models were trained on"
            )
        _check_predictions(folder, predictions, results / "predictions.csv", store)
        _check_figures(figures, predictions, results)
        return cls(
            _json(folder / "parameters.json"),
            folds,
            figures,
            _json(missing) if missing.exists() else {},
        )

    @property
    def tested(self) -> pd.DataFrame:
        """One row per fold and utterance of a test part, with its class in ``true``."""
        rows = self.folds[self.folds["part"] == "test"]
        return rows.rename(columns={"emotion": "true"}).assign(seed=0)


def _check_predictions(
    folder: Path, predictions: pd.DataFrame, path: Path, store: FeatureStore
) -> None:
    """Check that the models of a folder made the predictions.

    Raises
    ------
    InputError
        If a model predicts other probabilities, or the predictions are of other folds and seeds.
    """
    trained = models(folder)
    keys = {(model.fold, model.seed) for model in trained}
    found = set(zip(predictions["fold"], predictions["seed"], strict=True))
    if keys != found:
        of = "; ".join(f"fold {fold}, seed {seed}" for fold, seed in sorted(keys ^ found)[:3])
        raise InputError(f"{path}: is not of the models in {folder} ({of}); {_REMEDY}")
    for fold, seed, file in trained:
        rows = predictions[(predictions["fold"] == fold) & (predictions["seed"] == seed)]
        rows = rows.head(_COMPARED)
        classifier = Classifier.load(file)
        indices = np.array([store.row_of.get(name, -1) for name in rows["utterance"]])
        columns = [f"p_{name}" for name in classifier.classes]
        agrees = (indices >= 0).all() and columns == list(rows.filter(regex="^p_"))
        if agrees:
            dataset = classifier.dataset(store)
            again = predict(classifier, dataset, indices, BATCH, torch.device("cpu"))
            agrees = np.allclose(again, rows[columns], rtol=0, atol=_CLOSE)
        if not agrees:
            raise InputError(f"{path}: {file} predicts something else; {_REMEDY}")


def _check_figures(figures: Summary, predictions: pd.DataFrame, results: Path) -> None:
    """Check that the figures are those of the predictions.

    Raises
    ------
    InputError
        If one differs.
    """
    for name, again in metrics.summary(metrics.by_fold(predictions)).items():
        for key, value in again.items():
            recorded = figures.get(name, {}).get(key)
            if recorded is None or abs(recorded - value) > _ROUNDED:
                raise InputError(
                    f"{results / 'metrics.json'}: {name}.{key} is {recorded}, of predictions.csv "
                    f"it is {value}; {_REMEDY}"
                )


def _read(path: Path, parse: Callable[[Path], Any]) -> Any:
    try:
        return parse(path)
    except OSError as error:
        raise InputError(unreadable(path, error)) from error
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {_REMEDY}") from error


def _json(path: Path) -> Any:
    return _read(path, lambda file: json.loads(file.read_text(encoding="utf-8")))


def _table(path: Path) -> pd.DataFrame:
    return _read(path, lambda file: pd.read_csv(file, keep_default_na=False))
