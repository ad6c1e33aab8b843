"""The attention weights of each hop on every test utterance, and statistics of them.

Layout of the file (an HDF5 file, schema version 1)::

    /utterances/id, emotion, predicted    N strings: the test utterances, sorted by id
    /utterances/fold                      [N] the fold whose model was used
    /hop-<n>/values                       [sum of T] float32: the weights of hop n, n from 1
    /hop-<n>/offsets                      [N + 1] int64, where utterances start and end in values
    /hop-<n> attributes                   target (the modality), streams (JSON, in reading order)
    attributes                            schema_version, seed (of the models)

The weights of an utterance sum to one; an utterance without the modality has no weights. With
several seeds, the models of the first seed are used. For a model without hops, the file contains
only the utterances.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from pipeline.evaluation import prediction, trained
from pipeline.models.classifier import Classifier
from pipeline.store import FeatureStore
from pipeline.store.dataset import StoreDataset
from pipeline.system.hdf5 import reading, write_strings, writing

SCHEMA = 1


@torch.inference_mode()
def of_utterance(
    classifier: Classifier, dataset: StoreDataset, index: int
) -> list[tuple[str, np.ndarray]]:
    """Return for each hop its target and its weights [T] over the steps of one utterance."""
    return _of_batch(classifier, dataset, np.array([index]), torch.device("cpu"))[0]


def _of_batch(
    classifier: Classifier, dataset: StoreDataset, indices: np.ndarray, device: torch.device
) -> list[list[tuple[str, np.ndarray]]]:
    """As :func:`of_utterance`, for each of several utterances."""
    classifier.eval()
    _, weights = classifier(dataset.batch(indices).to(device), attention=True)
    hops = [
        (target, values.float().cpu().numpy(), _lengths(classifier, dataset, target, indices))
        for target, values in zip(classifier.model.targets, weights, strict=True)
    ]
    return [
        [(target, values[row, : lengths[row]]) for target, values, lengths in hops]
        for row in range(len(indices))
    ]


def _lengths(
    classifier: Classifier, dataset: StoreDataset, target: str, indices: np.ndarray
) -> np.ndarray:
    """[n] numbers of steps of a modality, over all its streams."""
    names = classifier.settings.streams.names(target)
    return np.sum([dataset.lengths[name][indices] for name in names], axis=0)


@torch.inference_mode()
def write(
    store: FeatureStore,
    folder: Path,
    predictions: pd.DataFrame,
    output: Path,
    device: torch.device,
) -> None:
    """Write the attention of all hops on all test utterances.

    Parameters
    ----------
    store
        The feature store.
    folder
        The output of the stage `train`.
    predictions
        Those of all test parts, from :func:`pipeline.evaluation.prediction.test_folds`.
    output
        An HDF5 file; appears only when it is complete.
    device
        Where to compute.
    """
    found = trained.models(folder)
    seed = found[0].seed
    # each utterance once, by the first fold that tests it
    rows = predictions[predictions["seed"] == seed].drop_duplicates("utterance")
    rows = rows.sort_values("utterance", ignore_index=True)
    places = rows["utterance"].map(store.row_of).to_numpy()
    with writing(output) as file:
        file.attrs["schema_version"] = SCHEMA
        file.attrs["seed"] = seed
        for name, column in (("id", "utterance"), ("emotion", "true"), ("predicted",) * 2):
            write_strings(file, f"utterances/{name}", rows[column].tolist())
        file["utterances/fold"] = rows["fold"].to_numpy(np.int64)
        hops: list[tuple[h5py.Dataset, np.ndarray]] | None = None
        for model in tqdm([m for m in found if m.seed == seed], desc="attention", unit="model"):
            classifier = Classifier.load(model.path).to(device)
            dataset = classifier.dataset(store)
            if hops is None:
                hops = _create(file, classifier, dataset, places)
            own = np.flatnonzero(rows["fold"] == model.fold)
            row_of = dict(zip(places[own].tolist(), own.tolist(), strict=True))
            for indices in dataset.in_order(places[own], prediction.BATCH):
                utterances = _of_batch(classifier, dataset, indices, device)
                for index, utterance in zip(indices.tolist(), utterances, strict=True):
                    for (values, offsets), (_, weights) in zip(hops, utterance, strict=True):
                        start = offsets[row_of[index]]
                        values[start : start + len(weights)] = weights


def _create(
    file: h5py.File, classifier: Classifier, dataset: StoreDataset, places: np.ndarray
) -> list[tuple[h5py.Dataset, np.ndarray]]:
    """Create the groups of the hops; returns the empty values and the offsets of each hop."""
    hops = []
    for number, target in enumerate(classifier.model.targets, start=1):
        lengths = _lengths(classifier, dataset, target, places)
        group = file.create_group(f"hop-{number}")
        group.attrs["target"] = target
        group.attrs["streams"] = json.dumps(classifier.settings.streams.names(target))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        group["offsets"] = offsets
        values = group.create_dataset("values", (int(offsets[-1]),), np.float32)
        hops.append((values, offsets))
    return hops


def statistics(path: Path) -> pd.DataFrame:
    """Mean entropy and position of the attention of each hop, in total and by emotion.

    Columns: hop; target; emotion (a class, or ``all``); utterances, those of two steps or more;
    ``entropy``, the mean of H(a) / log T, from 0 (one step) to 1 (uniform); ``position``, the mean
    of sum_i a_i (i + 0.5) / T, the centre of attention from 0 (start) to 1 (end).
    """
    rows = []
    for hop, target, emotions, weights in _hops(path):
        figures = pd.DataFrame(
            [
                {
                    "emotion": emotion,
                    "entropy": -(a * np.log(np.maximum(a, 1e-30))).sum() / np.log(len(a)),
                    "position": (a * (np.arange(len(a)) + 0.5)).sum() / len(a),
                }
                for emotion, a in zip(emotions, weights, strict=True)
                if len(a) > 1
            ]
        )
        for emotion, group in _groups(figures):
            rows.append(
                {
                    "hop": hop,
                    "target": target,
                    "emotion": emotion,
                    "utterances": len(group),
                    "entropy": group["entropy"].mean(),
                    "position": group["position"].mean(),
                }
            )
    columns = ["hop", "target", "emotion", "utterances", "entropy", "position"]
    return pd.DataFrame(rows, columns=columns)


def profile(path: Path, bins: int = 10) -> pd.DataFrame:
    """The attention of each hop over the relative time of the utterance, as a histogram.

    Columns: hop; target; emotion (a class, or ``all``); bin, from 0; weight, the mean over the
    utterances that have the modality. The weight of a step is divided among the bins by overlap.
    """
    rows = []
    edges = np.linspace(0, 1, bins + 1)
    for hop, target, emotions, weights in _hops(path):
        shares = [np.diff(np.interp(edges, *_cumulative(a))) for a in weights if len(a)]
        present = [emotion for emotion, a in zip(emotions, weights, strict=True) if len(a)]
        figures = pd.DataFrame(shares).assign(emotion=present)
        rows += [
            (hop, target, emotion, number, group[number].mean())
            for emotion, group in _groups(figures)
            for number in range(bins)
        ]
    return pd.DataFrame(rows, columns=["hop", "target", "emotion", "bin", "weight"])


def _cumulative(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Relative times from 0 to 1, and the cumulative attention at each."""
    times = np.arange(len(weights) + 1) / len(weights)
    return times, np.concatenate([[0], np.cumsum(weights, dtype=np.float64)])


def _groups(figures: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """All rows, then the rows of each emotion."""
    if figures.empty:
        return []
    by_emotion = [(str(name), group) for name, group in figures.groupby("emotion")]
    return [("all", figures), *by_emotion]


def _hops(path: Path) -> Iterator[tuple[int, str, list[str], list[np.ndarray]]]:
    """Number, target, emotions and weights of each hop of a file."""
    with reading(path) as file:
        emotions = file["utterances/emotion"].asstr()[:].tolist()
        for number in range(1, len(file)):
            group = file[f"hop-{number}"]
            values, offsets = group["values"][:].astype(np.float64), group["offsets"][:]
            weights = [values[a:b] for a, b in pairwise(offsets)]
            yield number, str(group.attrs["target"]), emotions, weights
