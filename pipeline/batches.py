"""Utterances of a feature store as padded batches; memory is bounded by the batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline import params
from pipeline.store import FeatureStore, StoreError, Stream

_POOL = 8  # batches whose utterances are sorted by length together


@dataclass(frozen=True)
class Batch:
    """Some utterances, padded to the longest: a batch as the models take it.

    Attributes
    ----------
    sequences
        By modality [B, T, D] float32 or [B, T] int64 token ids; T is at least 1.
    lengths
        By modality [B] int64.
    """

    sequences: dict[str, Tensor]
    lengths: dict[str, Tensor]

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch(
            {name: tensor.to(device) for name, tensor in self.sequences.items()},
            {name: tensor.to(device) for name, tensor in self.lengths.items()},
        )


class Examples:
    """What a model reads of a store: one sequence stream a modality, cut at the most steps.

    Raises
    ------
    StoreError
        If a stream is missing or has no steps; the message names the stream and parameter.
    """

    def __init__(
        self, store: FeatureStore, settings: params.Model, max_steps: params.MaxSteps
    ) -> None:
        self.streams: dict[str, Stream] = {}
        self.lengths: dict[str, np.ndarray] = {}
        for name in settings.modalities:
            stream = store.stream(settings.streams[name])
            if not stream.is_sequence:
                raise StoreError(
                    f"{store.path}: model.streams.{name} is {stream.name}, which has one row an "
                    "utterance; set it to a stream with steps"
                )
            self.streams[name] = stream
            self.lengths[name] = np.minimum(stream.lengths, max_steps[name])

    @property
    def widths(self) -> dict[str, int]:
        """Values a step, by modality."""
        return {name: stream.width for name, stream in self.streams.items()}

    @property
    def vocabularies(self) -> dict[str, int]:
        """Vocabulary sizes of the modalities whose stream holds token ids."""
        return {
            name: len(stream.vocabulary)
            for name, stream in self.streams.items()
            if stream.has_tokens
        }

    def sequence(self, modality: str, index: int) -> np.ndarray:
        """[T, D] or [T], one utterance's steps up to the cut."""
        return self.streams[modality][index][: self.lengths[modality][index]]

    def batch(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """The utterances at `indices` of the store, padded with zeros."""
        sequences, lengths = {}, {}
        for name, stream in self.streams.items():
            n = self.lengths[name][indices]
            shape: tuple[int, ...] = (len(n), max(int(n.max()), 1))
            if stream.has_tokens:
                padded = np.zeros(shape, np.int64)
            else:
                padded = np.zeros((*shape, stream.width), np.float32)
            for row, index in enumerate(indices):
                padded[row, : n[row]] = self.sequence(name, index)
            sequences[name] = torch.from_numpy(padded)
            lengths[name] = torch.from_numpy(n.astype(np.int64))
        return Batch(sequences, lengths)

    def order(self, indices: np.ndarray) -> np.ndarray:
        """`indices` sorted by the length of the longest modality, ties by index."""
        longest = np.max([n[indices] for n in self.lengths.values()], axis=0)
        return indices[np.lexsort((indices, longest))]

    def shuffled(
        self, indices: np.ndarray, size: int, random: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Random batches of like length: pools of a shuffle are sorted, cut, and mixed again."""
        mixed = random.permutation(indices)
        batches = [
            batch
            for start in range(0, len(mixed), _POOL * size)
            for batch in _cut(self.order(mixed[start : start + _POOL * size]), size)
        ]
        for number in random.permutation(len(batches)):
            yield batches[number]

    def in_order(self, indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Batches of like length, always the same."""
        return _cut(self.order(indices), size)

    def statistics(self, modality: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [D] over all steps of the utterances at `indices`.

        Two passes in float64, one utterance at a time; a value that never varies gets deviation 1.
        """
        steps = max(int(self.lengths[modality][indices].sum()), 1)
        width = self.streams[modality].width
        mean, square = np.zeros(width), np.zeros(width)
        for index in indices:
            mean += self.sequence(modality, index).sum(axis=0, dtype=np.float64) / steps
        for index in indices:
            square += np.square(self.sequence(modality, index) - mean).sum(axis=0) / steps
        deviation = np.sqrt(square)
        return mean, np.where(deviation > 1e-6 * (1 + np.abs(mean)), deviation, 1.0)


def _cut(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
