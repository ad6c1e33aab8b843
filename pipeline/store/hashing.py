"""Hashes of a store's content, recorded when it is written and compared when it is verified.

SHA-256 tells whether a dataset, a group or the whole store is as it was written; a CRC-32 an
utterance and group tells where it is not. A store's identity tells whether two were made of the
same, wherever that was.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import h5py
import numpy as np

from pipeline.hdf5 import rows_a_block

ALIGNED = ("values", "times", "tokens")
"""Datasets of a stream with rows of utterances; the others hold for all utterances."""

_EMPTY = np.bytes_("0" * 64)  # of fixed length, so that a hash replaces it where it lies


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

    @property
    def sha256(self) -> str:
        """Hash of the names and hashes of all datasets."""
        return _digest(self.datasets)


def prepare(file: h5py.File, utterances: int) -> None:
    """Make room for the hashes of all that is in `file`."""
    for name in sorted(file):
        group = file[name]
        for item in (group, *(group[dataset] for dataset in sorted(group))):
            item.attrs["sha256"] = _EMPTY
        group["crc32"] = np.zeros(utterances, np.uint32)
    file.attrs["sha256"] = _EMPTY


def record(file: h5py.File) -> None:
    """Fill in the hashes; nothing may be written afterwards."""
    groups = {}
    for name in sorted(file):
        group = file[name]
        found = contents(group, len(group["crc32"]))
        for dataset, sha256 in found.datasets.items():
            group[dataset].attrs.modify("sha256", np.bytes_(sha256))
        group["crc32"][:] = found.crc32
        groups[name] = found.sha256
        group.attrs.modify("sha256", np.bytes_(found.sha256))
    file.attrs.modify("sha256", np.bytes_(whole(file, groups)))


def recorded(item: h5py.HLObject) -> str:
    """The hash recorded in a dataset, a group or a file; empty if there is none."""
    return bytes(item.attrs.get("sha256", b"")).decode("ascii", "replace")


def whole(file: h5py.File, groups: Mapping[str, str]) -> str:
    """Hash of a store's attributes and of its groups' hashes."""
    attributes = {
        name: value if isinstance(value, str) else int(value)
        for name, value in file.attrs.items()
        if name != "sha256"
    }
    return _digest({"attributes": attributes, "groups": dict(groups)})


def identity(file: h5py.File) -> str:
    """Digest of all that decides what a store holds, the same on every processor.

    That is the utterance table, the votes, the values of streams made elsewhere, and of the others
    the identities of their extractors and the versions of libraries. The values that were computed
    do not count, since their last bits differ between processors; nor does a version's build
    (``+cpu``). The text does by its digest, so that a store without text has the same identity.
    """
    extractors = json.loads(file.attrs["extractors"])
    table = file["utterances"]
    taken_over = {
        "votes",
        *(found["external"] for found in extractors.values() if "external" in found),
    }
    decisive = {
        "extractors": [_deciding(extractors[name]) for name in sorted(extractors)],
        "types": {
            name: group["values"].dtype.str for name, group in file.items() if "values" in group
        },
        "utterances": {
            name: recorded(table[name]) for name in sorted(set(table) - {"crc32", "text"})
        },
        "streams": {name: recorded(file[name]) for name in sorted(taken_over & set(file))},
    }
    return _digest(decisive)


def _deciding(extractor: dict[str, Any]) -> Any:
    """What a modality says of itself, without what depends on the machine."""
    if not all(isinstance(s, dict) and "identity" in s for s in extractor.values()):
        return extractor  # made elsewhere, or before streams had identities
    return {
        name: [
            stream["identity"],
            stream["utterances"],
            {
                library: version.partition("+")[0]
                for library, version in stream["provenance"]["versions"].items()
            },
        ]
        for name, stream in extractor.items()
    }


def contents(group: h5py.Group, utterances: int) -> Contents:
    """Read all of a group whose layout is sound and hash it."""
    is_table = group.name == "/utterances"
    rows = group["offsets"][:] if "offsets" in group else np.arange(utterances + 1)
    crc32 = np.zeros(utterances, np.uint32)
    unreadable: set[int] = set()
    datasets: dict[str, str | None] = {}
    for name in sorted(set(group) - {"crc32"}):
        dataset = group[name]
        found = hashlib.sha256(f"{dataset.dtype.str} {dataset.shape}".encode())
        if is_table or name in ALIGNED:
            lost = _hash_rows(dataset, rows, found.update, crc32)
            unreadable |= lost
            datasets[name] = None if lost else found.hexdigest()
            continue
        try:
            found.update(np.ascontiguousarray(dataset[()]).data)
            datasets[name] = found.hexdigest()
        except (OSError, RuntimeError):
            datasets[name] = None
    return Contents(datasets, crc32, unreadable)


def _hash_rows(
    dataset: h5py.Dataset, rows: np.ndarray, update: Callable, crc32: np.ndarray
) -> set[int]:
    """Hash a dataset, continue each utterance's checksum, return the utterances that are lost."""
    lost = set()
    for first, last in _runs(rows, rows_a_block(dataset)):
        try:
            _hash_block(dataset, rows[first : last + 1], update, crc32[first:last])
        except (OSError, RuntimeError):
            for index in range(first, last):
                try:
                    dataset[rows[index] : rows[index + 1]]
                except (OSError, RuntimeError):
                    lost.add(index)
    return lost


def _hash_block(
    dataset: h5py.Dataset, rows: np.ndarray, update: Callable, crc32: np.ndarray
) -> None:
    block = np.ascontiguousarray(dataset[rows[0] : rows[-1]])
    data = block.reshape(-1).view(np.uint8).data
    update(data)
    size = block.nbytes // max(len(block), 1)
    for index, (start, stop) in enumerate(pairwise(rows)):
        part = data[(start - rows[0]) * size : (stop - rows[0]) * size]
        crc32[index] = zlib.crc32(part, int(crc32[index]))


def _runs(rows: np.ndarray, number: int) -> Iterator[tuple[int, int]]:
    """First and last utterance (excluded) of runs of at most `number` rows, or of one utterance."""
    first = 0
    while first < len(rows) - 1:
        last = int(np.searchsorted(rows, rows[first] + number, "right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
