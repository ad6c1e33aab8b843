"""The metrics of predictions, by fold, group, class and scenario.

Definitions, used everywhere:

========================  ==========================================================================
weighted_accuracy         WA: share of utterances classified correctly
unweighted_accuracy       UA: mean recall of the classes that occur
precision_weighted        mean precision of the classes, weighted by their number of utterances
precision_macro           unweighted mean precision of the classes
f1_weighted, f1_macro     the same two means of F1
========================  ==========================================================================

A class that is never predicted has precision and F1 of 0. Macro means are over the classes that
occur in truth or prediction, as in scikit-learn. The first versions of the AMH papers called the
two precisions accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
)

METRICS = {
    "weighted_accuracy": "share of utterances classified correctly (WA)",
    "unweighted_accuracy": "mean recall of the classes (UA)",
    "precision_weighted": "mean precision of the classes, weighted by utterances",
    "precision_macro": "unweighted mean precision of the classes",
    "f1_weighted": "mean F1 of the classes, weighted by utterances",
    "f1_macro": "unweighted mean F1 of the classes",
}


_POSITIONS = (1, 2, 3, 4, 5, 9, 17, 33)
_POSITION_NAMES = ["1", "2", "3", "4", "5 to 8", "9 to 16", "17 to 32", "from 33"]


def weighted_accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Share of utterances classified correctly; two [n] arrays of classes."""
    return float(accuracy_score(truth, predicted))


def unweighted_accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean recall of the classes that occur in `truth`; two [n] arrays of classes."""
    return float(recall_score(truth, predicted, labels=np.unique(truth), average="macro"))


def scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
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


def by_fold(predictions: pd.DataFrame) -> pd.DataFrame:
    """The six figures of each model: one row per fold and seed."""
    return _by(predictions, ["fold", "seed"])


def ensemble(predictions: pd.DataFrame) -> pd.DataFrame:
    """The predictions of the mean probabilities over seeds: one row per fold and utterance."""
    names = predictions.filter(regex="^p_").columns.tolist()
    keys = ["fold", "utterance", "true"]
    means = predictions.groupby(keys, sort=False, as_index=False)[names].mean()
    classes = np.array([name.removeprefix("p_") for name in names])
    return means.assign(seed=0, predicted=classes[means[names].to_numpy().argmax(axis=1)])


def by_group(predictions: pd.DataFrame, table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The six figures over all test parts, by a column of the utterance table.

    Parameters
    ----------
    predictions
        Those of the test parts of all folds.
    table
        The utterance table.
    column
        Such as ``speaker``, ``group`` or ``scenario``.
    """
    values = table.set_index("utterance")[column]
    return _by(predictions.assign(**{column: predictions["utterance"].map(values)}), [column])


def by_position(predictions: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The six figures over all test parts, by the position of an utterance in its dialog.

    Positions count all utterances of a dialog from 1, also those without a label. Later ones are
    together in ranges.
    """
    ordered = table.sort_values("order", kind="stable")
    places = ordered.groupby("dialog").cumcount() + 1
    names = pd.cut(places, [*_POSITIONS, np.inf], right=False, labels=_POSITION_NAMES)
    values = dict(zip(ordered["utterance"], names.astype(str), strict=True))
    found = _by(
        predictions.assign(position=predictions["utterance"].map(values)), ["position"]
    ).set_index("position")
    return found.loc[[name for name in _POSITION_NAMES if name in found.index]].reset_index()


def by_scenario(
    predictions: pd.DataFrame, scenarios: Mapping[str, str]
) -> dict[str, dict[str, dict[str, float]]]:
    """The summary of each scenario, over the folds that test utterances of it.

    Parameters
    ----------
    predictions
        Those of the test parts of all folds.
    scenarios
        The scenario of each utterance; empty for none.

    Returns
    -------
    dict
        By scenario, sorted; empty if there are fewer than two.
    """
    tested = predictions["utterance"].map(scenarios)
    names = sorted(set(tested.dropna()) - {""})
    if len(names) < 2:
        return {}
    return {name: summary(by_fold(predictions[tested == name])) for name in names}


def _by(predictions: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    rows = []
    for key, group in predictions.groupby(columns):
        figures = scores(group["true"].to_numpy(), group["predicted"].to_numpy())
        names = dict(zip(columns, key, strict=True))
        rows.append({**names, "utterances": group["utterance"].nunique(), **figures})
    return pd.DataFrame(rows)


def summary(folds: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Mean and standard deviations of each metric, from one row per fold and seed.

    ``deviation`` is the sample standard deviation over folds of the means over seeds; with several
    seeds, ``deviation_seeds`` is that over seeds of the means over folds.
    """
    result = {}
    for name in METRICS:
        figure = {
            "mean": round(float(folds[name].mean()), 6),
            "deviation": _deviation(folds.groupby("fold")[name].mean()),
        }
        if folds["seed"].nunique() > 1:
            figure["deviation_seeds"] = _deviation(folds.groupby("seed")[name].mean())
        result[name] = figure
    return result


def _deviation(values: pd.Series) -> float:
    return round(float(values.std(ddof=1)), 6) if len(values) > 1 else 0.0


def by_class(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Number of utterances, recall and precision of each class over the test parts of all folds."""
    pair, options = (predictions["true"], predictions["predicted"]), {"labels": list(classes)}
    recall = recall_score(*pair, **options, average=None, zero_division=np.nan)
    precision = precision_score(*pair, **options, average=None, zero_division=0)
    return pd.DataFrame(
        {
            "class": list(classes),
            "utterances": confusion(predictions, classes).sum(axis=1),
            "recall": recall.round(6),
            "precision": precision.round(6),
        }
    )


def confusion(predictions: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """[classes, classes] counts; rows are the true classes, columns the predicted ones."""
    return confusion_matrix(predictions["true"], predictions["predicted"], labels=list(classes))
