"""Utterances of a feature store as padded batches; memory is bounded by the batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline import params
from pipeline.store import FeatureStore, Statistics, StoreError, Stream

_POOL = 16  # batches whose utterances are sorted by length together


@dataclass(frozen=True)
class Batch:
    """Some utterances, padded to the longest: a batch as the models take it.

    Attributes
    ----------
    sequences
        By stream [B, T, D] float32 or [B, T] int64 token ids; T is at least 1.
    lengths
        By stream [B] int64; 0 where an utterance has nothing of it.
    joined
        By stream [B, P] float32: values of the whole utterance.
    """

    sequences: dict[str, Tensor]
    lengths: dict[str, Tensor]
    joined: dict[str, Tensor]

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch(
            *(
                {name: tensor.to(device) for name, tensor in group.items()}
                for group in (self.sequences, self.lengths, self.joined)
            )
        )

    def without(self, streams: Collection[str]) -> Batch:
        """The batch as if no utterance had anything of some streams."""
        lengths = {
            name: torch.zeros_like(n) if name in streams else n for name, n in self.lengths.items()
        }
        return Batch(self.sequences, lengths, self.joined)


class Examples:
    """What a model reads of a store: sequence streams, cut at the most steps, and joined values.

    Attributes
    ----------
    streams
        The sequence streams of the model's modalities, by name.
    lengths
        [N] steps of each utterance up to the cut, by stream.
    joined
        The utterance-level streams that are joined to a modality, by name.

    Raises
    ------
    StoreError
        If a stream is missing or of the wrong kind; the message names the stream and parameter.
    """

    def __init__(
        self, store: FeatureStore, settings: params.Model, max_steps: params.MaxSteps
    ) -> None:
        self.streams: dict[str, Stream] = {}
        self.lengths: dict[str, np.ndarray] = {}
        self.joined: dict[str, Stream] = {}
        for modality in settings.modalities:
            for name in settings.streams.names(modality):
                stream = store.stream(name)
                if not stream.is_sequence:
                    raise StoreError(
                        f"{store.path}: model.streams.{modality} is {name}, which has one row an "
                        "utterance; set it to a stream with steps"
                    )
                self.streams[name] = stream
                self.lengths[name] = np.minimum(stream.lengths, max_steps[modality])
        if settings.prosody is not None:
            stream = store.stream(settings.prosody)
            if stream.is_sequence:
                raise StoreError(
                    f"{store.path}: model.prosody is {stream.name}, which has steps; set it to a "
                    "stream with one row an utterance, or to null"
                )
            self.joined[stream.name] = stream

    @property
    def identities(self) -> dict[str, dict[str, Any]]:
        """What decides which features each stream holds; see :attr:`Stream.identity`."""
        return {name: stream.identity for name, stream in (self.streams | self.joined).items()}

    @property
    def checksums(self) -> dict[str, np.ndarray]:
        """[N] uint32 of the values of each utterance, by stream."""
        return {name: stream.checksums for name, stream in (self.streams | self.joined).items()}

    @property
    def widths(self) -> dict[str, int]:
        """Values a step, or of joined streams an utterance, by stream."""
        return {name: stream.width for name, stream in (self.streams | self.joined).items()}

    @property
    def vocabularies(self) -> dict[str, int]:
        """Vocabulary sizes of the streams that hold token ids."""
        return {
            name: len(stream.vectors) for name, stream in self.streams.items() if stream.has_tokens
        }

    def sequence(self, name: str, index: int) -> np.ndarray:
        """[T, D] or [T], one utterance's steps of a stream up to the cut."""
        return self.streams[name][index][: self.lengths[name][index]]

    def batch(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """The utterances at `indices` of the store, padded with zeros."""
        sequences, lengths = {}, {}
        for name, stream in self.streams.items():
            dtype = np.int64 if stream.has_tokens else np.float32
            sequences[name] = padded([self.sequence(name, index) for index in indices], dtype)
            lengths[name] = torch.from_numpy(self.lengths[name][indices].astype(np.int64))
        joined = {
            name: torch.from_numpy(np.stack([stream[index] for index in indices]))
            for name, stream in self.joined.items()
        }
        return Batch(sequences, lengths, joined)

    def order(self, indices: np.ndarray) -> np.ndarray:
        """`indices` sorted by the length of the longest stream, ties by index."""
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

    def statistics(self, name: str, indices: np.ndarray) -> Statistics:
        """Those of a stream over the steps up to the cut, of the utterances at `indices`."""
        return (self.streams | self.joined)[name].statistics(indices, self.lengths.get(name))


def padded(arrays: Sequence[np.ndarray], dtype: npt.DTypeLike) -> Tensor:
    """Arrays [T, D] or [T] as one tensor [B, T, D] or [B, T], zeros at the end; T at least 1."""
    steps = max(1, *(len(array) for array in arrays))
    values = np.zeros((len(arrays), steps, *arrays[0].shape[1:]), dtype)
    for row, array in zip(values, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(values)


def _cut(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
