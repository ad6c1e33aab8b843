"""Predictions of trained models on the test parts of their folds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from pipeline import InputError
from pipeline.evaluation.metrics import by_fold, summary
from pipeline.evaluation.trained import models
from pipeline.models.classifier import Classifier
from pipeline.store import FeatureStore
from pipeline.store.batches import Batch, DialogBatch
from pipeline.store.dataset import StoreDataset

BATCH = 32  # utterances; does not affect results


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
    """[n, classes] float64 probabilities of the utterances at `indices`, in this order.

    The streams `without` are removed from every utterance.
    """
    classifier.eval()

    def probabilities(batch: Batch | DialogBatch) -> np.ndarray:
        logits = classifier(batch.to(device).without(without))
        return logits.cpu().double().softmax(dim=1).numpy()  # MPS has no float64

    return dataset.by_batch(indices, batch_size, probabilities)


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
    """The ids of the utterances with the lowest probability of the true class, lowest first.

    Probabilities are means over seeds; ties are sorted by id.
    """
    probabilities = predictions.filter(regex="^p_")
    places = probabilities.columns.get_indexer(pd.Index("p_" + predictions["true"]))
    true = probabilities.to_numpy()[np.arange(len(predictions)), places]
    means = predictions.assign(probability=true).groupby("utterance")["probability"].mean()
    return means.sort_index().sort_values(kind="stable").index[:number].tolist()


def test_folds(
    store: FeatureStore, folder: Path, device: torch.device, without: str | None = None
) -> pd.DataFrame:
    """Predictions of each trained model on its test part.

    Parameters
    ----------
    store
        The feature store that the models were trained on.
    folder
        The output of the stage `train`: the models and ``folds.csv``.
    device
        Where to compute.
    without
        A modality that is removed from every test utterance.

    Raises
    ------
    InputError
        If there is no model, a model cannot be read, or its probabilities of an utterance are not
        finite.
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
        removed = classifier.settings.read_of(without) if without else []
        probabilities = predict(classifier, dataset, indices, BATCH, device, without=removed)
        names = rows["utterance"].tolist()
        if not (finite := np.isfinite(probabilities).all(axis=1)).all():
            raise InputError(
                f"{path}: its probabilities of {names[int(np.argmin(finite))]}"
                f"{f' without {without}' if without else ''} are not finite; lower "
                "train.learning_rate and train it again with `dvc repro --force --single-item "
                "train`"
            )
        tables.append(
            predictions_table(names, truth, probabilities, classifier.classes, fold=fold, seed=seed)
        )
    return pd.concat(tables, ignore_index=True)


def missing(
    store: FeatureStore, folder: Path, device: torch.device
) -> dict[str, dict[str, dict[str, float]]]:
    """The summary of the test parts with each modality removed: ``without_audio`` and so on.

    Empty for a model of one modality. Parameters are those of :func:`test_folds`.
    """
    modalities = Classifier.load(models(folder)[0].path).settings.modalities
    if len(modalities) == 1:
        return {}
    return {
        f"without_{name}": summary(by_fold(test_folds(store, folder, device, name)))
        for name in modalities
    }
