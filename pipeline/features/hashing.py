"""Hashes of HDF5 groups, recorded when they are written and compared when they are verified.

A group holds datasets with rows of utterances, and others that hold for all of them. SHA-256 tells
whether a dataset or the whole group is as it was written; a CRC-32 per utterance tells where it is
not.
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
"""The dataset with the checksum of each utterance's rows, [N] uint32."""

EMPTY = np.bytes_("0" * 64)  # of fixed length, so that a hash replaces it where it lies
_LOST = (OSError, RuntimeError)  # what h5py raises for bytes that cannot be read


@dataclass(frozen=True)
class Contents:
    """What a group holds, as hashes.

    Attributes
    ----------
    datasets
        SHA-256 of each dataset's type, shape and values; None of one that cannot be read.
    crc32
        [N] uint32, checksum of each utterance's rows.
    unreadable
        Indices of the utterances of which some rows cannot be read.
    """

    datasets: dict[str, str | None]
    crc32: np.ndarray
    unreadable: set[int]


class Hasher:
    """Hashes of a group while it is written or read.

    Rows of utterances are fed dataset by dataset in the order of their names, for the same
    utterances, so that each checksum runs over all of them.
    """

    def __init__(self, utterances: int) -> None:
        self.crc32 = np.zeros(utterances, np.uint32)
        self._found: dict[str, Any] = {}

    def start(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        """Begin a dataset whose rows are fed later."""
        self._found[name] = hashlib.sha256(f"{dtype.str} {shape}".encode())

    def feed(self, name: str, block: np.ndarray, rows: np.ndarray, first: int) -> None:
        """Take in the next rows of a dataset.

        Parameters
        ----------
        block
            Whole rows of utterances `first` and later.
        rows
            [n + 1], where the rows of each of these n utterances begin and end; from any start.
        """
        data = np.ascontiguousarray(block).reshape(-1).view(np.uint8).data
        self._found[name].update(data)
        size = block.nbytes // max(len(block), 1)
        for index, (start, stop) in enumerate(pairwise(rows), first):
            part = data[(start - rows[0]) * size : (stop - rows[0]) * size]
            self.crc32[index] = zlib.crc32(part, int(self.crc32[index]))

    def whole(self, name: str, dataset: np.ndarray) -> None:
        """Take in a dataset that holds for all utterances."""
        self.start(name, dataset.dtype, dataset.shape)
        self._found[name].update(np.ascontiguousarray(dataset).data)

    @property
    def datasets(self) -> dict[str, str]:
        """SHA-256 of each dataset."""
        return {name: found.hexdigest() for name, found in self._found.items()}


def contents(group: h5py.Group, rows: np.ndarray, aligned: Collection[str]) -> Contents:
    """Read all of a group and hash it.

    Parameters
    ----------
    rows
        [N + 1], where the rows of each utterance begin and end.
    aligned
        Names of the datasets that have such rows.
    """
    hasher = Hasher(len(rows) - 1)
    unreadable: set[int] = set()
    damaged: set[str] = set()
    for name in sorted(set(group) - {CHECKSUMS}):
        dataset = group[name]
        try:
            if name not in aligned:
                hasher.whole(name, dataset[()])
                continue
        except _LOST:
            damaged.add(name)
            continue
        hasher.start(name, dataset.dtype, dataset.shape)
        for first, last in _runs(rows, rows_per_block(dataset)):
            try:
                block = dataset[rows[first] : rows[last]]
                hasher.feed(name, block, rows[first : last + 1], first)
            except _LOST:
                damaged.add(name)
                for index in range(first, last):
                    bounds = rows[index : index + 2]
                    try:
                        hasher.feed(name, dataset[bounds[0] : bounds[1]], bounds, index)
                    except _LOST:
                        unreadable.add(index)
    found: dict[str, str | None] = {**hasher.datasets, **dict.fromkeys(damaged)}
    return Contents(found, hasher.crc32, unreadable)


def _runs(rows: np.ndarray, number: int) -> Iterator[tuple[int, int]]:
    """First and last utterance (excluded) of runs of at most `number` rows, or of one utterance."""
    first = 0
    while first < len(rows) - 1:
        last = int(np.searchsorted(rows, rows[first] + number, "right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last


def prepare(group: h5py.Group, utterances: int) -> None:
    """Make room for the hashes of all that is in a group."""
    for item in (group, *(group[name] for name in sorted(group))):
        item.attrs["sha256"] = EMPTY
    group[CHECKSUMS] = np.zeros(utterances, np.uint32)


def record(group: h5py.Group, datasets: Mapping[str, str | None], crc32: np.ndarray) -> None:
    """Fill in the hashes of a group; nothing may be written into it afterwards."""
    for name, sha256 in datasets.items():
        group[name].attrs.modify("sha256", np.bytes_(sha256 or ""))
    group[CHECKSUMS][:] = crc32
    group.attrs.modify("sha256", np.bytes_(whole(group, datasets)))


def recorded(item: h5py.HLObject) -> str:
    """The hash recorded in a dataset, a group or a file; empty if there is none."""
    return bytes(item.attrs.get("sha256", b"")).decode("ascii", "replace")


def whole(group: h5py.Group, datasets: Mapping[str, str | None]) -> str:
    """Hash of the attributes of a group and of the hashes of what is in it."""
    attributes = {
        name: value if isinstance(value, str) else int(value)
        for name, value in group.attrs.items()
        if name != "sha256"
    }
    return digest({"attributes": attributes, "datasets": dict(datasets)})


def digest(value: object) -> str:
    """SHA-256 of a value as JSON, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
