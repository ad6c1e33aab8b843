"""Utterances with their neighbours in the dialog: the input of models with context."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from pipeline.store.batches import DialogBatch, Window
from pipeline.store.dataset import StoreDataset, split
from pipeline.store.reading import FeatureStore

_PART = 16  # utterances of a batch that are padded together
_LONG = 2  # times the batch size: a dialog with more utterances to classify is divided


class DialogDataset(StoreDataset):
    """All utterances of a store, each with a window of its dialog.

    The order in a dialog is that of the corpus: by the start of the utterances, or by their
    numbers. All utterances are context, also those without a label.

    Parameters
    ----------
    store, streams, max_steps, by_speaker
        See :class:`~pipeline.store.dataset.StoreDataset`.
    window
        The most utterances before an utterance, and after it, that it is classified with.
    future
        Whether it is also classified with those after it.
    """

    def __init__(
        self,
        store: FeatureStore,
        streams: Sequence[str],
        *,
        max_steps: int | Mapping[str, int] | None = None,
        by_speaker: bool = False,
        window: int,
        future: bool,
    ) -> None:
        super().__init__(store, streams, max_steps=max_steps, by_speaker=by_speaker)
        self.window, self.future = window, future
        table = store.utterances
        dialogs, _ = pd.factorize(table["dialog"])
        # items by dialog and by order in it; the place of each item there, and of its dialog
        self._sequence = np.lexsort((table["order"], dialogs))
        self._place = np.argsort(self._sequence)
        in_sequence = dialogs[self._sequence]
        self._first = np.searchsorted(in_sequence, dialogs)
        self._end = np.searchsorted(in_sequence, dialogs, side="right")

    def neighbours(self, index: int) -> list[np.ndarray]:
        """The items of an item's windows: the past and itself; the future backwards and itself."""
        place = self._place[index]
        past = self._sequence[max(self._first[index], place - self.window) : place + 1]
        if not self.future:
            return [past]
        future = self._sequence[place : min(self._end[index], place + self.window + 1)]
        return [past, future[::-1]]

    def input(self, indices: Sequence[int] | np.ndarray) -> DialogBatch:
        """The items at `indices` with their windows."""
        windows = list(zip(*(self.neighbours(int(index)) for index in indices), strict=True))
        items = np.unique(np.concatenate([row for rows in windows for row in rows]))
        items = self.order(items)
        row_of = np.full(len(self), -1)
        row_of[items] = np.arange(len(items))
        return DialogBatch(
            [self.batch(part) for part in split(items, _PART)],
            [self._padded([row_of[row] for row in rows], items) for rows in windows],
        )

    def _padded(self, rows: Sequence[np.ndarray], items: np.ndarray) -> Window:
        lengths = np.array([len(row) for row in rows])
        padded = np.zeros((len(rows), lengths.max()), np.int64)
        for target, row in zip(padded, rows, strict=True):
            target[: len(row)] = row
        speakers = self._speakers[items][padded]
        own = speakers[np.arange(len(rows)), lengths - 1]
        same = (speakers == own[:, None]).astype(np.float32)
        return Window(*(torch.from_numpy(array) for array in (padded, lengths, same)))

    def steps(self, indices: np.ndarray, size: int) -> int:
        return min(math.ceil(len(indices) / size), len(self._units(indices, size)))

    def shuffled(
        self, indices: np.ndarray, size: int, random: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Yield random batches of whole dialogs, with about `size` items each.

        Dialogs in random order go to the batch that is smallest so far.
        """
        units = self._units(indices, size)
        batches: list[list[np.ndarray]] = [[] for _ in range(self.steps(indices, size))]
        sizes = np.zeros(len(batches), np.int64)
        for number in random.permutation(len(units)):
            smallest = int(sizes.argmin())
            batches[smallest].append(units[number])
            sizes[smallest] += len(units[number])
        for batch in batches:
            yield np.concatenate(batch)

    def in_order(self, indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield batches of consecutive items of dialogs."""
        return split(indices[np.argsort(self._place[indices], kind="stable")], size)

    def _units(self, indices: np.ndarray, size: int) -> list[np.ndarray]:
        """The items of each dialog; those of a long dialog in several equal parts."""
        ordered = indices[np.argsort(self._place[indices], kind="stable")]
        starts = np.flatnonzero(np.diff(self._first[ordered], prepend=-1))
        return [
            part
            for dialog in np.split(ordered, starts[1:])
            for part in np.array_split(dialog, math.ceil(len(dialog) / (_LONG * size)))
        ]
