"""A feature store as a PyTorch dataset, for any training code.

Each process opens the file for itself when it reads the first item, so the dataset works with
worker processes, forked or spawned; memory holds what is being read and the table of utterances.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.batches import padded
from pipeline.corpus.labels import Scheme
from pipeline.corpus.labels import scheme as labels_of
from pipeline.store import FeatureStore, StoreError


class Item(TypedDict):
    """One utterance.

    ``utterance`` is its id; ``label`` its class index, -1 without a scheme; ``streams`` its arrays
    by stream name, [T, D] float32, [T] int64 token ids or [P] float32; ``lengths`` T by the name of
    each stream that has steps.
    """

    utterance: str
    label: int
    streams: dict[str, np.ndarray]
    lengths: dict[str, int]


class Padded(TypedDict):
    """A batch: as :class:`Item`, with a first axis [B] and steps padded with zeros."""

    utterance: list[str]
    label: Tensor
    streams: dict[str, Tensor]
    lengths: dict[str, Tensor]


class StoreDataset(Dataset[Item]):
    """Utterances of a feature store, in its order.

    Parameters
    ----------
    path
        The store.
    streams
        Which streams to read; None reads all.
    scheme
        Gives each item its label and leaves out utterances without a class: one of the corpus's by
        name, a mapping from its codes to class names, or a :class:`pipeline.corpus.labels.Scheme`.
    utterances
        Ids to keep, such as the training part of a fold; None keeps all.
    max_steps
        The most steps of a sequence; later ones are cut. None keeps all.

    Raises
    ------
    StoreError
        If the store cannot be used, or lacks a stream or an utterance.
    """

    def __init__(
        self,
        path: str | Path,
        streams: Sequence[str] | None = None,
        *,
        scheme: Scheme | str | dict[str, str] | None = None,
        utterances: Sequence[str] | None = None,
        max_steps: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.max_steps = max_steps
        with FeatureStore(self.path) as store:
            self.streams = [store.stream(name).name for name in streams or store.streams]
            table = store.utterances
            if isinstance(scheme, str | dict):
                scheme = labels_of(scheme, store.description)
        ids = table["utterance"].tolist()
        unknown = sorted(set(utterances or ()) - set(ids))
        if unknown:
            raise StoreError(f"{self.path}: has no utterance {unknown[0]} ({len(unknown)} unknown)")
        labels = np.full(len(ids), -1) if scheme is None else scheme.of(table)
        keep = np.full(len(ids), True) if utterances is None else np.isin(ids, list(utterances))
        if scheme is not None:
            keep &= labels >= 0
        self._rows = np.flatnonzero(keep)
        self.utterances: list[str] = [ids[row] for row in self._rows]
        self.labels: np.ndarray = labels[self._rows]
        self._opened: tuple[int, FeatureStore] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Item:
        """Read the item at `index`; a negative one counts from the end."""
        store, row = self._store(), int(self._rows[index])
        arrays, lengths = {}, {}
        for name in self.streams:
            stream = store.stream(name)
            array = stream[row]
            if stream.is_sequence:
                array = array[: self.max_steps]
                lengths[name] = len(array)
            arrays[name] = array.astype(np.int64 if stream.has_tokens else np.float32)
        return {
            "utterance": self.utterances[index],
            "label": int(self.labels[index]),
            "streams": arrays,
            "lengths": lengths,
        }

    def _store(self) -> FeatureStore:
        # HDF5 handles must not be used in a child of the process that opened them
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), FeatureStore(self.path))
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        """The dataset without its open file, as spawned workers take it."""
        return {**self.__dict__, "_opened": None}


def collate(items: Sequence[Item]) -> Padded:
    """Items as one batch, sequences padded with zeros to the longest: [B, T, D] or [B, T].

    T is at least 1, so that a batch of empty utterances has the shape of any other.
    """
    first = items[0]
    streams = {}
    for name, example in first["streams"].items():
        arrays = [item["streams"][name] for item in items]
        if name not in first["lengths"]:
            streams[name] = torch.from_numpy(np.stack(arrays))
        else:
            streams[name] = padded(arrays, example.dtype)
    return {
        "utterance": [item["utterance"] for item in items],
        "label": torch.tensor([item["label"] for item in items]),
        "streams": streams,
        "lengths": {
            name: torch.tensor([item["lengths"][name] for item in items])
            for name in first["lengths"]
        },
    }
