"""Predictions and figures of trained folds.

Definitions, the same wherever a figure is named:

========================  ==========================================================================
weighted_accuracy         WA: share of utterances classified rightly
unweighted_accuracy       UA: mean of the recalls of the classes that occur
precision_weighted        mean of the classes' precisions, weighted by their number of utterances
precision_macro           plain mean of the classes' precisions
f1_weighted, f1_macro     the same two means of the classes' F1
========================  ==========================================================================

A class that is never predicted has precision and F1 of 0. Macro means run over the classes that
occur in truth or prediction, as in scikit-learn. The early AMH papers called the two precisions
accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
)
from tqdm import tqdm

from pipeline.batches import Examples
from pipeline.models.classifier import Classifier
from pipeline.store import FeatureStore

_BATCH = 32  # utterances classified at a time; no result depends on it

METRICS = {
    "weighted_accuracy": "share of utterances classified rightly (WA)",
    "unweighted_accuracy": "mean of the classes' recalls (UA)",
    "precision_weighted": "mean of the classes' precisions, weighted by utterances",
    "precision_macro": "plain mean of the classes' precisions",
    "f1_weighted": "mean of the classes' F1, weighted by utterances",
    "f1_macro": "plain mean of the classes' F1",
}


def weighted_accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Share of utterances classified rightly; two [n] arrays of classes."""
    return float(accuracy_score(truth, predicted))


def unweighted_accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean recall of the classes that occur in `truth`; two [n] arrays of classes."""
    return float(recall_score(truth, predicted, labels=np.unique(truth), average="macro"))


def metrics(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """All six figures of :data:`METRICS`; two [n] arrays of classes.

    Raises
    ------
    ValueError
        If there is no utterance.
    """
    if len(truth) == 0:
        raise ValueError("no utterance to evaluate")
    figures = {
        "weighted_accuracy": weighted_accuracy(truth, predicted),
        "unweighted_accuracy": unweighted_accuracy(truth, predicted),
    }
    for name, function in (("precision", precision_score), ("f1", f1_score)):
        for average in ("weighted", "macro"):
            value = function(truth, predicted, average=average, zero_division=0)
            figures[f"{name}_{average}"] = float(value)
    return figures


@torch.inference_mode()
def predict(
    classifier: Classifier,
    examples: Examples,
    indices: np.ndarray,
    batch_size: int,
    device: torch.device,
) -> np.ndarray:
    """[n, classes] float64 probabilities of the utterances at `indices`, in their order."""
    classifier.eval()
    found: dict[int, np.ndarray] = {}
    for chosen in examples.in_order(indices, batch_size):
        batch = examples.batch(chosen).to(device)
        logits = classifier(batch.sequences, batch.lengths)
        rows = logits.double().softmax(dim=1).cpu().numpy()
        found.update(zip(chosen.tolist(), rows, strict=True))
    return np.array([found[index] for index in indices.tolist()])


def predictions_table(
    utterances: Sequence[str],
    fold: int,
    truth: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
) -> pd.DataFrame:
    """One row an utterance: utterance, fold, true, predicted, and a probability a class."""
    names = np.array(classes)
    columns = {
        "utterance": list(utterances),
        "fold": fold,
        "true": names[truth],
        "predicted": names[probabilities.argmax(axis=1)],
    }
    for number, name in enumerate(classes):
        columns[f"p_{name}"] = probabilities[:, number].round(6)
    return pd.DataFrame(columns)


def by_fold(predictions: pd.DataFrame) -> pd.DataFrame:
    """The six figures of each fold, one row a fold."""
    rows = [
        {
            "fold": fold,
            "utterances": len(rows),
            **metrics(rows["true"].to_numpy(), rows["predicted"].to_numpy()),
        }
        for fold, rows in predictions.groupby("fold")
    ]
    return pd.DataFrame(rows)


def summary(folds: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation over folds of each figure."""
    return {
        name: {
            "mean": round(float(folds[name].mean()), 6),
            "deviation": round(float(folds[name].std(ddof=1)), 6) if len(folds) > 1 else 0.0,
        }
        for name in METRICS
    }


def by_class(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Utterances, recall and precision of each class over all folds' test parts."""
    matrix = confusion(predictions, classes)
    with np.errstate(invalid="ignore"):
        recall = np.diag(matrix) / matrix.sum(axis=1)
        precision = np.nan_to_num(np.diag(matrix) / matrix.sum(axis=0))
    return pd.DataFrame(
        {
            "class": list(classes),
            "utterances": matrix.sum(axis=1),
            "recall": recall.round(6),
            "precision": precision.round(6),
        }
    )


def confusion(predictions: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """[classes, classes] counts; rows are the true classes, columns the predicted ones."""
    return confusion_matrix(predictions["true"], predictions["predicted"], labels=list(classes))


def models(folder: Path) -> dict[int, Path]:
    """The trained folds in a folder, by fold number.

    Raises
    ------
    FileNotFoundError
        If there are none.
    """
    found = {
        int(path.stem.removeprefix("fold-")): path for path in folder.glob("fold-*.safetensors")
    }
    if not found:
        raise FileNotFoundError(f"{folder}: holds no fold-*.safetensors; run `dvc repro train`")
    return dict(sorted(found.items()))


def test_folds(store: FeatureStore, folder: Path, device: torch.device) -> pd.DataFrame:
    """Predictions of each trained fold on its test part: the one look at it.

    Parameters
    ----------
    store
        The feature store that the models were trained on.
    folder
        What the stage `train` wrote: the models and ``folds.csv``.
    device
        Where to compute.
    """
    assignments = pd.read_csv(folder / "folds.csv", keep_default_na=False)
    index = {name: row for row, name in enumerate(store.utterances["utterance"])}
    tables = []
    for fold, path in tqdm(models(folder).items(), desc="evaluate", unit="fold"):
        classifier = Classifier.load(path).to(device)
        examples = Examples(store, classifier.settings, classifier.max_steps)
        rows = assignments[(assignments["fold"] == fold) & (assignments["part"] == "test")]
        truth = np.array([classifier.classes.index(name) for name in rows["emotion"]])
        indices = np.array([index[utterance] for utterance in rows["utterance"]])
        probabilities = predict(classifier, examples, indices, _BATCH, device)
        tables.append(
            predictions_table(
                rows["utterance"].tolist(), fold, truth, probabilities, classifier.classes
            )
        )
    return pd.concat(tables, ignore_index=True)
