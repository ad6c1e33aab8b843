"""Utterances with their neighbours in the dialog: the input of models with context."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from pipeline.store.batches import DialogBatch, Window
from pipeline.store.dataset import StoreDataset, split
from pipeline.store.reading import FeatureStore

_OVERHEAD = 18  # fixed cost of a step of a GRU, in utterances (measured with 200 units)
_LONG = 4  # times the batch size: a dialog with more utterances to classify is divided


class Neighbours:
    """The windows of utterances in their dialogs.

    Parameters
    ----------
    dialogs, order, speakers
        [N] of each utterance: its dialog, its position in it, and its speaker. Utterances of one
        position are in the order in which they are given.
    window
        The most utterances before an utterance, and after it, that are its context.
    future
        Whether those after it are.

    Attributes
    ----------
    place
        [N] places of the utterances, dialog by dialog, in the order of each.
    first, end
        [N] places of the first utterance of each utterance's dialog, and behind the last one.
    """

    def __init__(
        self,
        dialogs: Sequence[str],
        order: Sequence[int],
        speakers: Sequence[str],
        *,
        window: int,
        future: bool,
    ) -> None:
        self.window, self.future = window, future
        self._speakers, _ = pd.factorize(np.asarray(speakers, object))
        numbers, _ = pd.factorize(np.asarray(dialogs, object))
        self._sequence = np.lexsort((np.asarray(order), numbers))
        self.place = np.argsort(self._sequence)
        in_sequence = numbers[self._sequence]
        self.first = np.searchsorted(in_sequence, numbers)
        self.end = np.searchsorted(in_sequence, numbers, side="right")

    def of(self, index: int) -> list[np.ndarray]:
        """The windows of an utterance: the past and itself; the future backwards and itself."""
        place = self.place[index]
        past = self._sequence[max(self.first[index], place - self.window) : place + 1]
        if not self.future:
            return [past]
        future = self._sequence[place : min(self.end[index], place + self.window + 1)]
        return [past, future[::-1]]

    def windows(self, indices: Iterable[int]) -> tuple[np.ndarray, list[Window]]:
        """The utterances in any window, sorted, and the windows; their rows count the former."""
        ragged = list(zip(*map(self.of, indices), strict=True))
        every = np.unique(np.concatenate([row for rows in ragged for row in rows]))
        return every, [self._window(rows, every) for rows in ragged]

    def _window(self, rows: Sequence[np.ndarray], every: np.ndarray) -> Window:
        lengths = np.array([len(row) for row in rows])
        padded = np.full((len(rows), lengths.max()), every[0])
        for target, row in zip(padded, rows, strict=True):
            target[: len(row)] = row
        own = np.array([row[-1] for row in rows])
        same = self._speakers[padded] == self._speakers[own][:, None]
        return Window(
            torch.from_numpy(np.searchsorted(every, padded)),
            torch.from_numpy(lengths),
            torch.from_numpy(same.astype(np.float32)),
        )


class DialogDataset(StoreDataset):
    """All utterances of a store, each with a window of its dialog.

    The order in a dialog is that of the corpus: by the start of the utterances, or by their
    numbers. All utterances are context, also those without a label.

    Parameters
    ----------
    store, streams, max_steps, by_speaker
        See :class:`~pipeline.store.dataset.StoreDataset`.
    window, future
        See :class:`Neighbours`.
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
        columns = [store.utterances[name].tolist() for name in ("dialog", "order", "speaker")]
        self.neighbours = Neighbours(*columns, window=window, future=future)

    def input(self, indices: Sequence[int] | np.ndarray) -> DialogBatch:
        """The items at `indices` with their windows."""
        items, windows = self.neighbours.windows(map(int, indices))
        is_target = np.isin(items, indices)
        targets, others = (self._parts(items[own]) for own in (is_target, ~is_target))
        places = np.argsort(np.searchsorted(items, np.concatenate([*targets, *others])))
        rows = torch.from_numpy(places)
        return DialogBatch(
            [self.batch(part) for part in targets],
            [self.batch(part) for part in others],
            [replace(window, rows=rows[window.rows]) for window in windows],
        )

    def _parts(self, items: np.ndarray) -> list[np.ndarray]:
        """Divide items by length into the parts that take the least time to encode together."""
        ordered = self.order(items)
        longest = np.max([own[ordered] for own in self.lengths.values()], axis=0, initial=1)
        least, starts = np.zeros(len(items) + 1), np.zeros(len(items) + 1, np.int64)
        for end in range(1, len(items) + 1):
            sizes = end - np.arange(end)
            times = least[:end] + longest[end - 1] * (sizes + _OVERHEAD)
            starts[end] = times.argmin()
            least[end] = times.min()
        parts, end = [], len(items)
        while end:
            parts.append(ordered[starts[end] : end])
            end = starts[end]
        return parts[::-1]

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
        return split(indices[np.argsort(self.neighbours.place[indices], kind="stable")], size)

    def _units(self, indices: np.ndarray, size: int) -> list[np.ndarray]:
        """The items of each dialog; those of a long dialog in several equal parts."""
        ordered = indices[np.argsort(self.neighbours.place[indices], kind="stable")]
        starts = np.flatnonzero(np.diff(self.neighbours.first[ordered], prepend=-1))
        return [
            part
            for dialog in np.split(ordered, starts[1:])
            for part in np.array_split(dialog, math.ceil(len(dialog) / (_LONG * size)))
        ]
