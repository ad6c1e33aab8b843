"""Utterances of a feature store as items and padded batches.

:class:`StoreDataset` is a PyTorch dataset. Each process opens the store when it reads its first
item, so that the dataset can be used in worker processes, forked or spawned. Only the utterance
table and the items that are being read are in memory.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from pipeline.corpus.labels import Scheme
from pipeline.corpus.labels import scheme as labels_of
from pipeline.features.stream import Statistics, Stream
from pipeline.store.batches import Batch, DialogBatch, Item, Sizes, collate
from pipeline.store.reading import FeatureStore, StoreError

_POOL = 16  # the most batches that are sorted by length together
_POOLS = 4

FEWEST_UTTERANCES = 10
"""Fewest utterances of a speaker with statistics of their own; fewer give a poor deviation."""


class StoreDataset(Dataset[Item]):
    """Utterances of a feature store, in the order of the store.

    Parameters
    ----------
    store
        The store or its path. An open store must stay open as long as the dataset is used.
    streams
        The streams to read; None for all.
    scheme
        The label scheme: the name of one of the corpus's schemes, a mapping from its codes to class
        names, or a :class:`pipeline.corpus.labels.Scheme`. Utterances without a class are left out.
        None for no labels.
    utterances
        Ids of the utterances to use, such as the training part of a fold; None for all.
    max_steps
        The number of steps after which sequences are truncated, for all streams or by stream; None
        for no truncation.
    by_speaker
        Whether batches have the statistics of each utterance's speaker.

    Attributes
    ----------
    utterances
        Ids of the items.
    labels
        [items] int64 class indices, -1 without a scheme.
    lengths
        [items] int64 by stream, for sequences, after truncation.

    Raises
    ------
    StoreError
        If the store cannot be used, or has no such stream or utterance.
    """

    def __init__(
        self,
        store: FeatureStore | str | Path,
        streams: Sequence[str] | None = None,
        *,
        scheme: Scheme | str | dict[str, str] | None = None,
        utterances: Sequence[str] | None = None,
        max_steps: int | Mapping[str, int] | None = None,
        by_speaker: bool = False,
    ) -> None:
        opened = store if isinstance(store, FeatureStore) else FeatureStore(store)
        self.path = opened.path
        self._opened: tuple[int, FeatureStore] | None = (os.getpid(), opened)
        self.streams = [opened.stream(name).name for name in streams or opened.streams]
        self.max_steps = max_steps
        table = opened.utterances
        if isinstance(scheme, str | dict):
            scheme = labels_of(scheme, opened.description)
        ids = table["utterance"].tolist()
        unknown = sorted(set(utterances or ()) - set(ids))
        if unknown:
            raise StoreError(f"{self.path}: has no utterance {unknown[0]} ({len(unknown)} unknown)")
        labels = np.full(len(ids), -1) if scheme is None else scheme.of(table)
        keep = np.full(len(ids), True) if utterances is None else np.isin(ids, list(utterances))
        if scheme is not None:
            keep &= labels >= 0
        self._rows = np.flatnonzero(keep)
        self.by_speaker = by_speaker
        self._speakers, _ = pd.factorize(table["speaker"])
        self._of_speakers: dict[tuple[str, int], np.ndarray] = {}
        self.utterances: list[str] = [ids[row] for row in self._rows]
        self.labels: np.ndarray = labels[self._rows]
        self.lengths: dict[str, np.ndarray] = {
            name: np.minimum(stream.lengths[self._rows], self._limit(name))
            for name in self.streams
            if (stream := self.stream(name)).is_sequence
        }

    def _limit(self, stream: str) -> int:
        limit = (
            self.max_steps.get(stream) if isinstance(self.max_steps, Mapping) else self.max_steps
        )
        return np.iinfo(np.int64).max if limit is None else limit

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Item:
        """Read the item at `index`, which may be negative."""
        row = int(self._rows[index])
        arrays = {}
        for name in self.streams:
            stream = self.stream(name)
            array = stream[row]
            if name in self.lengths:
                array = array[: self.lengths[name][index]]
            arrays[name] = array.astype(np.int64 if stream.has_tokens else np.float32, copy=False)
        return {
            "utterance": self.utterances[index],
            "label": int(self.labels[index]),
            "streams": arrays,
            "lengths": {name: int(n[index]) for name, n in self.lengths.items()},
        }

    def stream(self, name: str) -> Stream:
        """One of its streams, opened in this process."""
        return self._store.stream(name)

    def modality(self, name: str) -> str:
        """The modality of a stream, a group of ``params.yaml``."""
        return self._store.modality(name)

    @property
    def _store(self) -> FeatureStore:
        # HDF5 handles cannot be used in a forked child of the process that opened them
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), FeatureStore(self.path))
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        """The state for pickling, without open files."""
        return {**self.__dict__, "_opened": None}

    @property
    def identities(self) -> dict[str, dict[str, Any]]:
        """The identity of each stream; see :attr:`Stream.identity`."""
        return {name: self.stream(name).identity for name in self.streams}

    @property
    def extractors(self) -> dict[str, dict[str, Any]]:
        """By stream, all that extracts it from another recording, for JSON.

        These are ``modality``, ``extractor`` and ``parameters``, and of token ids the
        ``vocabulary``, if the store has text.
        """
        specified = {}
        for name in self.streams:
            stream = self.stream(name)
            specified[name] = {
                "modality": self.modality(name),
                "extractor": stream.group.attrs["extractor"],
                "parameters": stream.parameters,
            }
            if stream.has_tokens and "vocabulary" in stream.group:
                specified[name]["vocabulary"] = stream.vocabulary
        return specified

    @property
    def checksums(self) -> dict[str, np.ndarray]:
        """By stream [items] uint32, one checksum per item."""
        return {name: self.stream(name).checksums[self._rows] for name in self.streams}

    @property
    def widths(self) -> dict[str, int]:
        """The number of values per step or utterance, by stream."""
        return {name: self.stream(name).width for name in self.streams}

    @property
    def vocabularies(self) -> dict[str, int]:
        """Vocabulary sizes of the streams of token ids."""
        return {
            name: len(self.stream(name).vectors)
            for name in self.streams
            if self.stream(name).has_tokens
        }

    @property
    def sizes(self) -> Sizes:
        """What a model of these streams is built from."""
        joined = [name for name in self.streams if name not in self.lengths]
        layers = {name: own for name in self.streams if (own := self.stream(name).layers)}
        return Sizes(self.widths, self.vocabularies, joined, layers)

    def batch(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """The items at `indices` as one batch."""
        batch = collate([self[index] for index in indices])
        if not self.by_speaker:
            return batch
        standardised = [name for name in self.streams if not self.stream(name).has_tokens]
        of_speakers = {
            name: torch.from_numpy(np.stack([self._of_speaker(name, index) for index in indices]))
            for name in standardised
        }
        return replace(batch, of_speakers=of_speakers)

    def input(self, indices: Sequence[int] | np.ndarray) -> Batch | DialogBatch:
        """What a model reads to classify the items at `indices`."""
        return self.batch(indices)

    def steps(self, indices: np.ndarray, size: int) -> int:
        """The number of batches of :meth:`shuffled`."""
        return math.ceil(len(indices) / size)

    def _of_speaker(self, name: str, index: int) -> np.ndarray:
        """Statistics over all utterances of an item's speaker, or NaN; see :class:`Batch`."""
        speaker = int(self._speakers[self._rows[index]])
        if (name, speaker) not in self._of_speakers:
            stream = self.stream(name)
            rows = np.flatnonzero((self._speakers == speaker) & ~stream.missing)
            values = np.full((2, *self.sizes.row(name)), np.nan, np.float32)
            if len(rows) >= FEWEST_UTTERANCES:
                values[:] = self._statistics(name, rows)
            self._of_speakers[name, speaker] = values
        return self._of_speakers[name, speaker]

    def order(self, indices: np.ndarray) -> np.ndarray:
        """`indices`, sorted by the length of the longest stream, and then by index."""
        none = np.zeros(len(indices), np.int64)  # of utterance-level streams alone
        longest = np.max([none, *(n[indices] for n in self.lengths.values())], axis=0)
        return indices[np.lexsort((indices, longest))]

    def shuffled(
        self, indices: np.ndarray, size: int, random: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Yield random batches of similar length: shuffled pools of items are sorted and split.

        There are at least four pools, or one per batch: a pool of all items would give the same
        batches in each epoch.
        """
        mixed = random.permutation(indices)
        pool_size = size * min(_POOL, max(1, len(indices) // (size * _POOLS)))
        batches = [batch for pool in split(mixed, pool_size) for batch in self.in_order(pool, size)]
        for number in random.permutation(len(batches)):
            yield batches[number]

    def in_order(self, indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield batches of similar length, in a fixed order."""
        return split(self.order(indices), size)

    def by_batch(
        self, indices: np.ndarray, size: int, function: Callable[[Any], np.ndarray]
    ) -> np.ndarray:
        """Apply a function to the input of batches; its rows in the order of `indices`."""
        row_of: dict[int, np.ndarray] = {}
        for chosen in self.in_order(indices, size):
            row_of.update(zip(chosen.tolist(), function(self.input(chosen)), strict=True))
        return np.array([row_of[index] for index in indices.tolist()])

    def statistics(self, name: str, indices: np.ndarray) -> Statistics:
        """Statistics of a stream over the items at `indices`, after truncation."""
        return self._statistics(name, self._rows[indices])

    def _statistics(self, name: str, rows: np.ndarray) -> Statistics:
        stream = self.stream(name)
        lengths = stream.lengths
        if name in self.lengths:
            lengths = np.minimum(lengths, self._limit(name))
        return stream.statistics(rows, lengths)


def standardisation(normalise: str, speakers: Mapping[str, int]) -> str:
    """How ``model.normalise`` standardises features, in words for people.

    `speakers` are the numbers of ``all`` speakers of a store, and of those with too ``few``
    utterances for statistics of their own.
    """
    if normalise == "training":
        return "features standardised by the training part"
    text = "features standardised by speaker, over all utterances of each and without labels"
    if speakers["few"]:
        text += f"; for {speakers['few']} of {speakers['all']} speakers, who have fewer than "
        text += f"{FEWEST_UTTERANCES} utterances, by the training part"
    return text


def split(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield `size` indices at a time, in their order."""
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
