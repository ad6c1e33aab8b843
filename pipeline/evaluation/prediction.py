"""Predictions of trained models on the test parts of their folds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from pipeline import InputError, params
from pipeline.evaluation.metrics import by_fold, summary
from pipeline.models.classifier import Classifier
from pipeline.store import FeatureStore
from pipeline.store.batches import StoreDataset
from pipeline.system.filesystem import unreadable
from pipeline.system.values import differences

BATCH = 32  # utterances classified at a time; no result depends on it

TRAINED_WITH = {"labels", "split", "model", "train"}
"""The groups of parameters that decide, with the store, what the models are."""

_SHOWN = 3  # differences named in a message


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
        rows = logits.cpu().double().softmax(dim=1).numpy()  # a GPU may have no float64
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
    """One row per utterance: id, fold, seed, true, predicted, and one probability per class."""
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
    """Predictions of each trained model on its test part.

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
