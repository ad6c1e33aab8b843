"""Hashes of HDF5 groups, recorded when a group is written and compared when it is verified.

A group has datasets with rows per utterance, and datasets that are shared by all utterances. The
SHA-256 of each dataset and of the whole group shows whether it is damaged; the CRC-32 of each
utterance shows which rows are.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import h5py
import numpy as np

from pipeline.system.hdf5 import rows_per_block

CHECKSUMS = "crc32"
"""The name of the dataset of checksums, one per utterance over all its rows, [N] uint32."""

EMPTY = np.bytes_("0" * 64)  # of the length of a hash, which later overwrites it in place
_UNREADABLE = (OSError, RuntimeError)  # errors of h5py for bytes that cannot be read


@dataclass(frozen=True)
class Contents:
    """The hashes of a group.

    Attributes
    ----------
    datasets
        SHA-256 of each dataset's type, shape and values; None if it cannot be read.
    crc32
        [N] uint32, the checksum of each utterance over all its rows.
    unreadable
        Indices of the utterances with rows that cannot be read.
    """

    datasets: dict[str, str | None]
    crc32: np.ndarray
    unreadable: set[int]


class Hasher:
    """Computes the hashes of a group while it is written or read.

    Rows of the same utterances are passed dataset by dataset, in the order of the names of the
    datasets, so that the checksum of an utterance covers all its rows.
    """

    def __init__(self, utterances: int) -> None:
        self.crc32 = np.zeros(utterances, np.uint32)
        self._hashes: dict[str, Any] = {}

    def start(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        """Begin a dataset whose rows follow."""
        self._hashes[name] = hashlib.sha256(f"{dtype.str} {shape}".encode())

    def feed(self, name: str, block: np.ndarray, rows: np.ndarray, first: int) -> None:
        """Add the next rows of a dataset.

        Parameters
        ----------
        block
            All rows of some consecutive utterances.
        rows
            [n + 1] offsets of the rows of these n utterances, which may start at any number.
        first
            Index of the first of these utterances.
        """
        data = np.ascontiguousarray(block).reshape(-1).view(np.uint8).data
        self._hashes[name].update(data)
        size = block.nbytes // max(len(block), 1)
        for index, (start, stop) in enumerate(pairwise(rows), first):
            part = data[(start - rows[0]) * size : (stop - rows[0]) * size]
            self.crc32[index] = zlib.crc32(part, int(self.crc32[index]))

    def whole(self, name: str, dataset: np.ndarray) -> None:
        """Add a dataset that is shared by all utterances."""
        self.start(name, dataset.dtype, dataset.shape)
        self._hashes[name].update(np.ascontiguousarray(dataset).data)

    @property
    def datasets(self) -> dict[str, str]:
        """SHA-256 of each dataset."""
        return {name: sha256.hexdigest() for name, sha256 in self._hashes.items()}


def contents(group: h5py.Group, rows: np.ndarray, aligned: Collection[str]) -> Contents:
    """Read a group completely and hash it.

    Parameters
    ----------
    rows
        [N + 1] offsets of the rows of each utterance.
    aligned
        Names of the datasets that have rows per utterance.
    """
    hasher = Hasher(len(rows) - 1)
    unreadable: set[int] = set()
    damaged: set[str] = set()
    for name in sorted(set(group) - {CHECKSUMS}):
        dataset = group[name]
        if name not in aligned:
            try:
                hasher.whole(name, dataset[()])
            except _UNREADABLE:
                damaged.add(name)
            continue
        hasher.start(name, dataset.dtype, dataset.shape)
        for first, last in _runs(rows, rows_per_block(dataset)):
            try:
                block = dataset[rows[first] : rows[last]]
                hasher.feed(name, block, rows[first : last + 1], first)
            except _UNREADABLE:
                damaged.add(name)
                for index in range(first, last):
                    bounds = rows[index : index + 2]
                    try:
                        hasher.feed(name, dataset[bounds[0] : bounds[1]], bounds, index)
                    except _UNREADABLE:
                        unreadable.add(index)
    return Contents(hasher.datasets | dict.fromkeys(damaged), hasher.crc32, unreadable)


def _runs(rows: np.ndarray, number: int) -> Iterator[tuple[int, int]]:
    """Split the utterances into runs of at most `number` rows each, or of one longer utterance."""
    first = 0
    while first < len(rows) - 1:
        last = int(np.searchsorted(rows, rows[first] + number, "right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last


def prepare(group: h5py.Group, utterances: int) -> None:
    """Create placeholders for the hashes of a group."""
    for item in (group, *(group[name] for name in sorted(group))):
        item.attrs["sha256"] = EMPTY
    group[CHECKSUMS] = np.zeros(utterances, np.uint32)


def record(group: h5py.Group, datasets: Mapping[str, str | None], crc32: np.ndarray) -> None:
    """Replace the placeholders by hashes; the group must not change afterwards."""
    for name, sha256 in datasets.items():
        group[name].attrs.modify("sha256", np.bytes_(sha256 or ""))
    group[CHECKSUMS][:] = crc32
    group.attrs.modify("sha256", np.bytes_(whole(group, datasets)))


def recorded(item: h5py.HLObject) -> str:
    """The recorded hash of a dataset, a group or a file; empty if there is none."""
    return bytes(item.attrs.get("sha256", b"")).decode("ascii", "replace")


def whole(group: h5py.Group, datasets: Mapping[str, str | None]) -> str:
    """The hash of a group, over its attributes and the hashes of its datasets."""
    attributes = {
        name: value if isinstance(value, str) else int(value)
        for name, value in group.attrs.items()
        if name != "sha256"
    }
    return digest({"attributes": attributes, "datasets": dict(datasets)})


def digest(value: object) -> str:
    """SHA-256 of a value as JSON, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
