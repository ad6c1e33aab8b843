"""One stream of features as it lies in HDF5; values are read when they are asked for.

A stream file (schema version 3) is one such stream, and so is a group of a packed store::

    values       [sum of T, D] float32 or float16; [sum of T] int32 token ids; or [N, P] float32
    offsets      [N + 1] int64; utterance i is values[offsets[i]:offsets[i + 1]]; only with steps
    times        [sum of T] float64, seconds in the utterance: the middle of what a step sees
    tokens       [sum of T] int32, rows of the vocabulary
    vocabulary   [V] strings          vectors  [V, D] float32, which token ids stand for
    names        [P] strings, what each value of an utterance is
    utterances   [N] ids, in the order of the utterance table
    dialogs      [K] ids, consecutive; sizes  [K] int64, utterances of each
    keys         [K] SHA-256 of all that decides the values of a dialog
    problems     [n] strings; problem_rows [n] int64, the utterances that they are of
    crc32        [N] uint32, checksum of each utterance's rows
    attributes   schema_version; extractor; parameters, identity, provenance (JSON); include_text;
                 sources, a digest of what it was made of: rows of the table, hashes of the media

Each dataset and the whole have an attribute ``sha256``. An utterance that has nothing of the stream
has no step, or a row of NaN. Without text there are no tokens and no vocabulary.
"""

from __future__ import annotations

import json
import mmap
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import h5py
import numpy as np

from pipeline.features import hashing

SCHEMA_VERSION = 3
"""Of stream files and stores."""

ALIGNED = ("times", "tokens", "values")
"""Datasets with rows of utterances; the others hold for all utterances."""


class Statistics(NamedTuple):
    """Of each value of a stream the mean [D] and the standard deviation [D], float64."""

    mean: np.ndarray
    deviation: np.ndarray

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """(values - mean) / deviation of [..., D], as float32."""
        return ((values - self.mean) / self.deviation).astype(np.float32)


@dataclass(frozen=True)
class Stream:
    """One stream; `group` is its file or its group of a packed store."""

    name: str
    group: h5py.Group

    @cached_property
    def is_sequence(self) -> bool:
        """Whether utterances have steps, as opposed to one row each."""
        return "offsets" in self.group

    @cached_property
    def has_tokens(self) -> bool:
        """Whether the values are token ids into a table of vectors."""
        return "vectors" in self.group

    @property
    def width(self) -> int:
        """Values per step; of token ids those of their vectors."""
        return int(self.group["vectors" if self.has_tokens else "values"].shape[1])

    @property
    def identity(self) -> dict[str, Any]:
        """What decides which features these are, as JSON; the same on every processor.

        It is that of the extractor, and of token ids also a digest of the vectors that they stand
        for.
        """
        found = dict(json.loads(self.group.attrs["identity"]))
        if self.has_tokens:
            found["vectors"] = hashing.recorded(self.group["vectors"])
        return found

    @property
    def parameters(self) -> dict[str, Any]:
        """Those of its extractor, and of the modality that it depends on."""
        return dict(json.loads(self.group.attrs["parameters"]))

    @property
    def sha256(self) -> str:
        """Hash of all content and attributes, as recorded when it was written."""
        return hashing.recorded(self.group)

    @property
    def checksums(self) -> np.ndarray:
        """[N] uint32, of each utterance's rows, as recorded when the stream was written."""
        return self.group[hashing.CHECKSUMS][:]

    @property
    def utterances(self) -> list[str]:
        """Ids of the utterances."""
        return self.group["utterances"].asstr()[:].tolist()

    @property
    def problems(self) -> dict[str, list[str]]:
        """What is missing or cut, by utterance."""
        found: dict[str, list[str]] = {}
        ids = self.utterances
        reasons = self.group["problems"].asstr()[:].tolist()
        for row, reason in zip(self.group["problem_rows"][:].tolist(), reasons, strict=True):
            found.setdefault(ids[row], []).append(reason)
        return found

    @property
    def names(self) -> list[str]:
        """What each value of an utterance-level stream is."""
        return self.group["names"].asstr()[:].tolist()

    @cached_property
    def offsets(self) -> np.ndarray:
        """[N + 1] int64; of an utterance-level stream 0 to N."""
        if self.is_sequence:
            return self.group["offsets"][:]
        return np.arange(len(self.group["values"]) + 1)

    @property
    def lengths(self) -> np.ndarray:
        """[N] int64, steps of each utterance."""
        return np.diff(self.offsets)

    @property
    def missing(self) -> np.ndarray:
        """[N] bool, the utterances that have nothing of the stream."""
        if self.is_sequence:
            return self.lengths == 0
        return np.isnan(self.group["values"][:]).all(axis=1)

    def __getitem__(self, index: int) -> np.ndarray:
        """Values of one utterance: [T, D] float32, [T] int32 token ids, or [P] float32."""
        values = self.aligned("values", index)
        return values.astype(np.float32, copy=False) if values.dtype.kind == "f" else values

    def numbers(self, index: int) -> np.ndarray:
        """[T, D] or [P] float32 of one utterance; of token ids their vectors."""
        return self.vectors[self[index]] if self.has_tokens else self[index]

    def statistics(self, indices: np.ndarray, lengths: np.ndarray | None = None) -> Statistics:
        """Mean and standard deviation over all steps of the utterances at `indices`.

        Two passes in float64, one utterance at a time. A value that never varies gets deviation 1.
        Utterances that have nothing of the stream do not count.

        Parameters
        ----------
        indices
            Rows of the store.
        lengths
            [N] how many steps of each utterance of the store count, the first ones; None: all.
        """
        lengths = self.lengths if lengths is None else lengths
        if not self.is_sequence:
            lengths = np.where(self.missing, 0, lengths)
        steps = max(int(lengths[indices].sum()), 1)
        mean, square = np.zeros(self.width), np.zeros(self.width)
        for index in indices:
            mean += self._steps(index, lengths).sum(axis=0, dtype=np.float64) / steps
        for index in indices:
            square += np.square(self._steps(index, lengths) - mean).sum(axis=0) / steps
        deviation = np.sqrt(square)
        varies = deviation > 1e-6 * (1 + np.abs(mean))
        return Statistics(mean, np.where(varies, deviation, 1.0))

    def _steps(self, index: int, lengths: np.ndarray) -> np.ndarray:
        """[T, D], the steps of one utterance that count; of an utterance-level stream one."""
        return np.atleast_2d(self.numbers(index))[: lengths[index]]

    def aligned(self, name: str, index: int) -> np.ndarray:
        """Steps of one utterance from any step-aligned dataset, such as ``times``."""
        rows = self._rows(name)
        if not self.is_sequence:
            return np.array(rows[index])
        index = range(len(self.offsets) - 1)[index]  # as of any sequence, from the end too
        return np.array(rows[self.offsets[index] : self.offsets[index + 1]])

    def _rows(self, name: str) -> np.ndarray | h5py.Dataset:
        if name not in self._opened:
            self._opened[name] = _mapped(self.group[name])
        return self._opened[name]

    @cached_property
    def _opened(self) -> dict[str, np.ndarray | h5py.Dataset]:
        return {}

    def words(self, index: int) -> list[str]:
        """What each step of one utterance is called.

        Its token; where the store holds no text ``#`` and the token's id; where it holds no ids
        either, or the stream has none, ``#`` and the step's number from 0.
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
        """The string of each token id; only where the store holds text."""
        return self.group["vocabulary"].asstr()[:].tolist()

    @cached_property
    def vectors(self) -> np.ndarray:
        """[V, D] float32, the vector of each token id."""
        return self.group["vectors"][:]


def _mapped(dataset: h5py.Dataset) -> np.ndarray | h5py.Dataset:
    """The dataset as an array in the file's own pages, where its layout allows; else itself.

    A slice of such an array takes microseconds, one through HDF5 takes a hundred of them.
    """
    file = dataset.file
    offset = dataset.id.get_offset()  # None unless its bytes lie in one piece
    if offset is None or file.mode != "r" or file.driver != "sec2":
        return dataset
    # by HDF5's own descriptor, since the path may name another file by now
    pages = mmap.mmap(file.id.get_vfd_handle(), 0, access=mmap.ACCESS_READ)
    values = np.frombuffer(pages, dataset.dtype, dataset.size, offset)
    return values.reshape(dataset.shape)
