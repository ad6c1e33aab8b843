"""One stream of features in an HDF5 file; values are read on access.

A stream is a stream file (schema version 3) or a group of a packed store, with these datasets::

    values       [sum of T, D] float32 or float16, or [sum of T, L, D] of several layers; [sum of T]
                 int32 token ids; or [N, P] float32
    offsets      [N + 1] int64; utterance i is values[offsets[i]:offsets[i + 1]]; sequences only
    times        [sum of T] float64, seconds from the start of the utterance to the middle of a step
    tokens       [sum of T] int32, rows of the vocabulary
    vocabulary   [V] strings          vectors  [V, D] float32, the vectors of token ids
    names        [P] strings, the names of the values of an utterance
    utterances   [N] ids, in the order of the utterance table
    dialogs      [K] ids, consecutive; sizes  [K] int64, the number of utterances of each
    keys         [K] SHA-256 of all that determines the values of a dialog
    problems     [n] strings; problem_rows [n] int64, the utterance of each problem
    crc32        [N] uint32, checksum of each utterance's rows
    attributes   schema_version; extractor; parameters, identity, provenance (JSON); include_text;
                 layers, the number of each of the L layers (JSON); only of several layers;
                 sources, a digest of the rows of the utterance table and the hashes of the media

Each dataset and the whole stream have an attribute ``sha256``. An utterance without features has no
steps, or a row of NaN. A stream without text has no tokens and no vocabulary.
"""

from __future__ import annotations

import json
import mmap
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import h5py
import numpy as np

from pipeline.features import hashing

SCHEMA_VERSION = 3
"""The version of stream files and stores."""

ALIGNED = ("times", "tokens", "values")
"""Datasets with rows per utterance; all other datasets are shared by all utterances."""


class Statistics(NamedTuple):
    """Mean and standard deviation of each value of a stream, float64; [D], or [L, D] of layers."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, mean: np.ndarray, deviation: np.ndarray) -> Statistics:
        """The standard deviation of a constant value is set to 1."""
        varies = deviation > 1e-6 * (1 + np.abs(mean))
        return cls(mean, np.where(varies, deviation, 1.0))

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """(values - mean) / deviation of steps, as float32."""
        return ((values - self.mean) / self.deviation).astype(np.float32)


@dataclass(frozen=True)
class Stream:
    """One stream; `group` is its file, or its group in a packed store."""

    name: str
    group: h5py.Group
    _opened: dict[str, np.ndarray | h5py.Dataset] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def is_sequence(self) -> bool:
        """Whether utterances are sequences of steps; otherwise they have one row each."""
        return "offsets" in self.group

    @cached_property
    def has_tokens(self) -> bool:
        """Whether the values are token ids, rows of a table of vectors."""
        return "vectors" in self.group

    @property
    def width(self) -> int:
        """Number of values per step or utterance; for token ids, the size of their vectors."""
        return int(self.group["vectors" if self.has_tokens else "values"].shape[-1])

    @property
    def layers(self) -> list[int]:
        """The layers of the network in values [sum of T, L, D]; empty for [sum of T, D]."""
        return list(json.loads(self.group.attrs.get("layers", "[]")))

    @property
    def identity(self) -> dict[str, Any]:
        """All that determines the features, the same on every processor.

        This is the identity of the extractor, and for token ids also a digest of their vectors.
        """
        identity = dict(json.loads(self.group.attrs["identity"]))
        if self.has_tokens:
            identity["vectors"] = hashing.recorded(self.group["vectors"])
        return identity

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the extractor, and those of its modality that it reads."""
        return dict(json.loads(self.group.attrs["parameters"]))

    @property
    def sha256(self) -> str:
        """Hash of all content and attributes, as recorded when the stream was written."""
        return hashing.recorded(self.group)

    @property
    def checksums(self) -> np.ndarray:
        """[N] uint32, one per utterance, as recorded when the stream was written."""
        return self.group[hashing.CHECKSUMS][:]

    @property
    def utterances(self) -> list[str]:
        return self.group["utterances"].asstr()[:].tolist()

    @property
    def problems(self) -> dict[str, list[str]]:
        """What is missing or truncated, by utterance."""
        problems: dict[str, list[str]] = {}
        ids = self.utterances
        reasons = self.group["problems"].asstr()[:].tolist()
        for row, reason in zip(self.group["problem_rows"][:].tolist(), reasons, strict=True):
            problems.setdefault(ids[row], []).append(reason)
        return problems

    @property
    def names(self) -> list[str]:
        """The names of the values of an utterance-level stream."""
        return self.group["names"].asstr()[:].tolist()

    @cached_property
    def offsets(self) -> np.ndarray:
        """[N + 1] int64; 0 to N for an utterance-level stream."""
        if self.is_sequence:
            return self.group["offsets"][:]
        return np.arange(len(self.group["values"]) + 1)

    @property
    def lengths(self) -> np.ndarray:
        """[N] int64, the number of steps of each utterance."""
        return np.diff(self.offsets)

    @property
    def missing(self) -> np.ndarray:
        """[N] bool, whether an utterance has no features."""
        if self.is_sequence:
            return self.lengths == 0
        return np.isnan(self.group["values"][:]).all(axis=1)

    def __getitem__(self, index: int) -> np.ndarray:
        """Values of one utterance: [T, D] or [T, L, D] float32, [T] int32 ids, or [P] float32."""
        values = self.aligned("values", index)
        return values.astype(np.float32, copy=False) if values.dtype.kind == "f" else values

    def numbers(self, index: int) -> np.ndarray:
        """[T, D], [T, L, D] or [P] float32 of one utterance; the vectors in place of token ids."""
        return self.vectors[self[index]] if self.has_tokens else self[index]

    def statistics(self, indices: np.ndarray, lengths: np.ndarray | None = None) -> Statistics:
        """Mean and standard deviation over all steps of the utterances at `indices`.

        They are computed in float64 and two passes. The standard deviation of a constant value is
        set to 1. Utterances without features are left out.

        Parameters
        ----------
        indices
            Rows of the store.
        lengths
            [N] number of steps of each utterance to use, from its first one; None for all.
        """
        lengths = self.lengths if lengths is None else lengths
        if not self.is_sequence:
            lengths = np.where(self.missing, 0, lengths)
        steps = max(int(lengths[indices].sum()), 1)
        row = (len(self.layers), self.width) if self.layers else (self.width,)
        mean, square = np.zeros(row), np.zeros(row)
        for index in indices:
            mean += self._steps(index, lengths).sum(axis=0, dtype=np.float64) / steps
        for index in indices:
            square += np.square(self._steps(index, lengths) - mean).sum(axis=0) / steps
        return Statistics.of(mean, np.sqrt(square))

    def _steps(self, index: int, lengths: np.ndarray) -> np.ndarray:
        """[T, D] or [T, L, D], the first steps of an utterance; one row of an utterance level."""
        return np.atleast_2d(self.numbers(index))[: lengths[index]]

    def aligned(self, name: str, index: int) -> np.ndarray:
        """The rows of one utterance in one of the datasets :data:`ALIGNED`."""
        if name not in self._opened:
            self._opened[name] = _mapped(self.group[name])
        rows = self._opened[name]
        if not self.is_sequence:
            return np.array(rows[index])
        index = range(len(self.offsets) - 1)[index]  # allows negative indices
        return np.array(rows[self.offsets[index] : self.offsets[index + 1]])

    def words(self, index: int) -> list[str]:
        """A label for each step of one utterance: its token.

        Without text it is ``#`` and the token id; without token ids ``#`` and the number of the
        step, from 0.
        """
        dataset = "values" if self.has_tokens else "tokens"
        if dataset in self.group:
            ids = self.aligned(dataset, index)
        else:
            ids = np.arange(len(self.aligned("values", index)))
        if "vocabulary" in self.group:
            return [self.vocabulary[token] for token in ids]
        return [f"#{number}" for number in ids]

    @cached_property
    def vocabulary(self) -> list[str]:
        """The token of each id; only in a store with text."""
        return self.group["vocabulary"].asstr()[:].tolist()

    @cached_property
    def vectors(self) -> np.ndarray:
        """[V, D] float32, the vector of each token id."""
        return self.group["vectors"][:]


def _mapped(dataset: h5py.Dataset) -> np.ndarray | h5py.Dataset:
    """The dataset, mapped into memory if it is contiguous; otherwise the dataset itself.

    A slice of a mapped array takes microseconds, and about 100 times as long through HDF5.
    """
    file = dataset.file
    offset = dataset.id.get_offset()  # None unless it is contiguous
    if offset is None or file.mode != "r" or file.driver != "sec2":
        return dataset
    # by HDF5's file descriptor, since the file at this path may have been replaced
    pages = mmap.mmap(file.id.get_vfd_handle(), 0, access=mmap.ACCESS_READ)
    values = np.frombuffer(pages, dataset.dtype, dataset.size, offset)
    return values.reshape(dataset.shape)
