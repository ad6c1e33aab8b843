"""Batches of utterances, padded to the longest one: the input of models."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class Item(TypedDict):
    """One utterance.

    ``utterance`` is its id; ``label`` its class index, or -1 without a scheme; ``streams`` its
    arrays by stream, [T, D] float32 ([T, L, D] of several layers), [T] int64 token ids or [P]
    float32; ``lengths`` the number of steps T by stream, for sequences.
    """

    utterance: str
    label: int
    streams: dict[str, np.ndarray]
    lengths: dict[str, int]


@dataclass(frozen=True)
class Batch:
    """A batch of utterances, padded with zeros to the longest one: the input of models.

    Attributes
    ----------
    utterances
        [B] ids.
    labels
        [B] int64 class indices, -1 without a scheme.
    sequences
        By stream [B, T, D] float32, [B, T, L, D] of several layers, or [B, T] int64 token ids; T is
        at least 1.
    lengths
        By stream [B] int64, the number of steps; 0 for an utterance without features.
    joined
        By utterance-level stream [B, P] float32; NaN for an utterance without features.
    of_speakers
        By stream [B, 2, D] or [B, 2, L, D] float32, the mean and standard deviation over the
        utterances of each utterance's speaker; NaN for a speaker of too few. Empty unless they are
        asked for.
    """

    utterances: list[str]
    labels: Tensor
    sequences: dict[str, Tensor]
    lengths: dict[str, Tensor]
    joined: dict[str, Tensor]
    of_speakers: dict[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> Batch:
        moved = {
            group: {name: tensor.to(device) for name, tensor in getattr(self, group).items()}
            for group in ("sequences", "lengths", "joined", "of_speakers")
        }
        return Batch(self.utterances, self.labels.to(device), **moved)

    def without(self, streams: Collection[str]) -> Batch:
        """The batch as if no utterance had features of some streams, for ablations."""
        lengths = {
            name: torch.zeros_like(n) if name in streams else n for name, n in self.lengths.items()
        }
        joined = {
            name: torch.full_like(values, torch.nan) if name in streams else values
            for name, values in self.joined.items()
        }
        return replace(self, lengths=lengths, joined=joined)


@dataclass(frozen=True)
class Window:
    """Neighbours of utterances in their dialogs, in one direction, and at last the utterances.

    Attributes
    ----------
    rows
        [B, T] int64, places among the utterances of a batch; any behind `lengths`.
    lengths
        [B] int64, at least 1.
    same_speaker
        [B, T] float32, 1 where the speaker is that of the utterance itself, else 0.
    """

    rows: Tensor
    lengths: Tensor
    same_speaker: Tensor

    def last(self) -> Tensor:
        """[B] int64, the places of the utterances themselves."""
        return self.rows.gather(1, self.lengths[:, None] - 1)[:, 0]

    def to(self, device: torch.device | str) -> Window:
        return Window(*(each.to(device) for each in (self.rows, self.lengths, self.same_speaker)))


@dataclass(frozen=True)
class DialogBatch:
    """Utterances to classify with their neighbours: the input of models with context.

    Attributes
    ----------
    targets
        The utterances to classify, in batches of similar length.
    others
        Those that are context alone, likewise. No gradient flows to them.
    windows
        Of the utterances to classify, in their order; one for each direction. Rows count all
        utterances, part after part.
    """

    targets: list[Batch]
    others: list[Batch]
    windows: list[Window]

    def to(self, device: torch.device | str) -> DialogBatch:
        return DialogBatch(
            [part.to(device) for part in self.targets],
            [part.to(device) for part in self.others],
            [window.to(device) for window in self.windows],
        )

    def without(self, streams: Collection[str]) -> DialogBatch:
        """As :meth:`Batch.without`, also of the neighbours."""
        return DialogBatch(
            [part.without(streams) for part in self.targets],
            [part.without(streams) for part in self.others],
            self.windows,
        )


@dataclass(frozen=True)
class Sizes:
    """Sizes of streams, from which a model is built.

    Attributes
    ----------
    widths
        Number of features of each stream, per step or per utterance.
    vocabularies
        Vocabulary size of each stream of token ids.
    joined
        The utterance-level streams.
    layers
        The layers of each stream of several layers.
    """

    widths: dict[str, int]
    vocabularies: dict[str, int]
    joined: list[str]
    layers: dict[str, list[int]] = field(default_factory=dict)

    def row(self, name: str) -> tuple[int, ...]:
        """The shape of a step of a stream: (D,), or (L, D) of several layers."""
        own = self.layers.get(name)
        return (len(own), self.widths[name]) if own else (self.widths[name],)


def collate(items: Sequence[Item]) -> Batch:
    """Combine items into one batch; T is at least 1, also if all sequences are empty."""
    first = items[0]
    sequences, joined = {}, {}
    for name, example in first["streams"].items():
        arrays = [item["streams"][name] for item in items]
        if name in first["lengths"]:
            sequences[name] = padded(arrays, example.dtype)
        else:
            joined[name] = torch.from_numpy(np.stack(arrays))
    lengths = {
        name: torch.tensor([item["lengths"][name] for item in items]) for name in first["lengths"]
    }
    labels = torch.tensor([item["label"] for item in items])
    return Batch([item["utterance"] for item in items], labels, sequences, lengths, joined)


def padded(arrays: Sequence[np.ndarray], dtype: npt.DTypeLike) -> Tensor:
    """Pad arrays [T, ...] with zeros to one tensor [B, T, ...]; T is at least 1."""
    steps = max(1, *(len(array) for array in arrays))
    values = np.zeros((len(arrays), steps, *arrays[0].shape[1:]), dtype)
    for row, array in zip(values, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(values)
