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

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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

from pipeline import InputError, params
from pipeline.filesystem import unreadable
from pipeline.models.classifier import Classifier
from pipeline.store import FeatureStore
from pipeline.store.batches import StoreDataset
from pipeline.system.values import differences

BATCH = 32  # utterances classified at a time; no result depends on it

TRAINED_WITH = {"labels", "split", "model", "train"}
"""The groups of parameters that decide, with the store, what the models are."""

_SHOWN = 3  # differences named in a message

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
    dataset: StoreDataset,
    indices: np.ndarray,
    batch_size: int,
    device: torch.device,
    *,
    without: Sequence[str] = (),
) -> np.ndarray:
    """[n, classes] float64 probabilities of the utterances at `indices`, in their order.

    `without` names streams that are taken away from every utterance.
    """
    classifier.eval()
    found: dict[int, np.ndarray] = {}
    for chosen in dataset.in_order(indices, batch_size):
        batch = dataset.batch(chosen).to(device).without(without)
        logits = classifier(batch)
        rows = logits.double().softmax(dim=1).cpu().numpy()
        found.update(zip(chosen.tolist(), rows, strict=True))
    return np.array([found[index] for index in indices.tolist()])


def predictions_table(
    utterances: Sequence[str],
    truth: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    fold: int,
    seed: int,
) -> pd.DataFrame:
    """One row an utterance: utterance, fold, seed, true, predicted, and a probability a class."""
    names = np.array(classes)
    columns = {
        "utterance": list(utterances),
        "fold": fold,
        "seed": seed,
        "true": names[truth],
        "predicted": names[probabilities.argmax(axis=1)],
    }
    for number, name in enumerate(classes):
        columns[f"p_{name}"] = probabilities[:, number].round(6)
    return pd.DataFrame(columns)


def by_fold(predictions: pd.DataFrame) -> pd.DataFrame:
    """The six figures of each model: a row a fold and seed."""
    return _by(predictions, ["fold", "seed"])


def by_group(predictions: pd.DataFrame, table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The six figures over all test parts, by a column of the utterance table.

    Parameters
    ----------
    predictions
        Of all folds' test parts.
    table
        The utterance table.
    column
        Such as ``speaker``, ``group`` or ``scenario``.
    """
    values = table.set_index("utterance")[column]
    return _by(predictions.assign(**{column: predictions["utterance"].map(values)}), [column])


def by_scenario(
    predictions: pd.DataFrame, scenarios: Mapping[str, str]
) -> dict[str, dict[str, dict[str, float]]]:
    """The summary of the test parts of each scenario apart, over the folds that test some of it.

    Parameters
    ----------
    predictions
        Of all folds' test parts.
    scenarios
        That of each utterance; empty for none.

    Returns
    -------
    dict
        By scenario, sorted; empty where fewer than two are tested, since there is nothing to tell
        apart.
    """
    found = predictions["utterance"].map(scenarios)
    names = sorted(set(found.dropna()) - {""})
    if len(names) < 2:
        return {}
    return {name: summary(by_fold(predictions[found == name])) for name in names}


def _by(predictions: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    rows = []
    for key, group in predictions.groupby(columns):
        figures = metrics(group["true"].to_numpy(), group["predicted"].to_numpy())
        names = dict(zip(columns, key, strict=True))
        rows.append({**names, "utterances": group["utterance"].nunique(), **figures})
    return pd.DataFrame(rows)


def summary(folds: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Each figure's mean and deviations, from a row a fold and seed.

    ``deviation`` is the sample standard deviation over folds, of their means over seeds; with
    several seeds ``deviation_seeds`` is that over seeds, of their means over folds.
    """
    found = {}
    for name in METRICS:
        figure = {
            "mean": round(float(folds[name].mean()), 6),
            "deviation": _deviation(folds.groupby("fold")[name].mean()),
        }
        if folds["seed"].nunique() > 1:
            figure["deviation_seeds"] = _deviation(folds.groupby("seed")[name].mean())
        found[name] = figure
    return found


def _deviation(values: pd.Series) -> float:
    return round(float(values.std(ddof=1)), 6) if len(values) > 1 else 0.0


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


def hardest(predictions: pd.DataFrame, number: int) -> list[str]:
    """The utterances whose true class got the least probability, the mean over seeds; worst first.

    Ties go by id.
    """
    probabilities = predictions.filter(regex="^p_")
    places = probabilities.columns.get_indexer(pd.Index("p_" + predictions["true"]))
    true = probabilities.to_numpy()[np.arange(len(predictions)), places]
    means = predictions.assign(probability=true).groupby("utterance")["probability"].mean()
    return means.sort_index().sort_values(kind="stable").index[:number].tolist()


class Trained(NamedTuple):
    """One trained model."""

    fold: int
    seed: int
    path: Path


def fold_and_seed(name: str) -> tuple[int, int | None]:
    """What a run named ``fold-K-seed-S`` is of; ``fold-K`` where there is one seed only."""
    fold, _, seed = name.removeprefix("fold-").partition("-seed-")
    return int(fold), int(seed) if seed else None


def models(folder: Path) -> list[Trained]:
    """The trained models in a folder, by fold and seed.

    Raises
    ------
    InputError
        If there are none.
    """
    found = []
    for path in folder.glob("fold-*.safetensors"):
        fold, seed = fold_and_seed(path.stem)
        if seed is None:  # the only one
            parameters = json.loads((folder / "parameters.json").read_text(encoding="utf-8"))
            (seed,) = parameters["train"]["seeds"]
        found.append(Trained(fold, seed, path))
    if not found:
        raise InputError(f"{folder}: holds no fold-*.safetensors; run `dvc repro train`")
    return sorted(found)


def check_parameters(folder: Path, settings: params.Params) -> None:
    """Refuse models that were trained with other parameters than the present ones.

    Parameters
    ----------
    folder
        What the stage `train` wrote; ``parameters.json`` is read.
    settings
        All parameters.

    Raises
    ------
    InputError
        If the models are of others, with the first that differ, or nothing says of which.
    """
    path = folder / "parameters.json"
    remedy = "`dvc repro train` trains models with the present ones"
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        former = {group: recorded[group] for group in TRAINED_WITH}
    except (FileNotFoundError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: does not say with which parameters the models were trained ({error!r}); "
            f"{remedy}"
        ) from error
    except OSError as error:
        raise InputError(unreadable(path, error)) from error
    found = differences(former, settings.model_dump(mode="json", include=TRAINED_WITH))
    if found:
        named = "; ".join(f"{key} was {old}, is {new}" for key, old, new in found[:_SHOWN])
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise InputError(
            f"{folder}: the models were trained with other parameters: {named}{more}; {remedy}, or "
            "put the former ones back"
        )


def test_folds(
    store: FeatureStore, folder: Path, device: torch.device, without: str | None = None
) -> pd.DataFrame:
    """Predictions of each trained model on its test part: the one look at it.

    Parameters
    ----------
    store
        The feature store that the models were trained on.
    folder
        What the stage `train` wrote: the models and ``folds.csv``.
    device
        Where to compute.
    without
        A modality that is taken away from every test utterance.

    Raises
    ------
    InputError
        If there is no model, one that cannot be read, or one whose probabilities of an utterance
        are not finite.
    """
    assignments = pd.read_csv(folder / "folds.csv", keep_default_na=False)
    tables = []
    description = "evaluate" + (f" without {without}" if without else "")
    for fold, seed, path in tqdm(models(folder), desc=description, unit="model"):
        classifier = Classifier.load(path).to(device)
        dataset = classifier.dataset(store)
        rows = assignments[(assignments["fold"] == fold) & (assignments["part"] == "test")]
        truth = np.array([classifier.classes.index(name) for name in rows["emotion"]])
        indices = np.array([store.row_of[utterance] for utterance in rows["utterance"]])
        taken = classifier.settings.streams.names(without) if without else []
        probabilities = predict(classifier, dataset, indices, BATCH, device, without=taken)
        names = rows["utterance"].tolist()
        if not (finite := np.isfinite(probabilities).all(axis=1)).all():
            raise InputError(
                f"{path}: its probabilities of {names[int(np.argmin(finite))]}"
                f"{f' without {without}' if without else ''} are not finite; train it again with "
                "`dvc repro --force --single-item train`, with a lower train.learning_rate"
            )
        tables.append(
            predictions_table(names, truth, probabilities, classifier.classes, fold=fold, seed=seed)
        )
    return pd.concat(tables, ignore_index=True)


def missing(
    store: FeatureStore, folder: Path, device: torch.device
) -> dict[str, dict[str, dict[str, float]]]:
    """The summary of the test parts with each modality taken away, ``without_audio`` and so on.

    Empty for a model of one modality. Parameters are those of :func:`test_folds`.
    """
    modalities = Classifier.load(models(folder)[0].path).settings.modalities
    if len(modalities) == 1:
        return {}
    return {
        f"without_{name}": summary(by_fold(test_folds(store, folder, device, name)))
        for name in modalities
    }
