"""Writing of stream files: values are checked and hashed while they are written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline import InputError
from pipeline.features import hashing
from pipeline.features.stream import SCHEMA_VERSION
from pipeline.system.disk import full_disk_reported, reserved
from pipeline.system.hdf5 import remove_remains, write_strings, writing

CHUNK = 256 * 1024
"""Bytes per chunk of compressed values."""

_OVERHEAD = 4096  # most bytes that HDF5 uses per dataset: headers, attributes, indices

Arrays = Mapping[str, np.ndarray]
Column = tuple[np.dtype, tuple[int, ...]]  # type and shape of one row


class StreamError(InputError):
    """Invalid values; the message names the stream, the utterance and the remedy."""


@dataclass(frozen=True)
class Header:
    """All content of a stream file except the rows of utterances.

    Attributes
    ----------
    attributes
        ``extractor`` (its name), and the JSON values ``parameters``, ``identity``, ``provenance``.
    utterances
        [N] ids.
    lengths
        [N] int64, the number of steps of each utterance; 1 in an utterance-level stream.
    columns
        Type and shape of a row of ``values`` and, if the stream has them, ``times`` and ``tokens``.
    dialogs
        The number of utterances of each dialog, in the order of the utterances.
    keys
        SHA-256 of all that determines the values of a dialog; empty if unknown.
    problems
        Row of the utterance and reason, for each utterance with missing or truncated features.
    state
        ``vocabulary``, ``vectors`` or ``names``, if the stream has them.
    is_sequence
        Whether utterances are sequences of steps.
    dtype, compression
        Type and compression of the values of steps.
    include_text
        Whether tokens and vocabulary are written.
    """

    attributes: Mapping[str, Any]
    utterances: Sequence[str]
    lengths: np.ndarray
    columns: Mapping[str, Column]
    dialogs: Mapping[str, int]
    keys: Sequence[str]
    problems: Sequence[tuple[int, str]] = ()
    state: Arrays = field(default_factory=dict)
    is_sequence: bool = True
    dtype: str = "float32"
    compression: str = "none"
    include_text: bool = True

    def layout(self) -> dict[str, Column]:
        """Type and shape of each dataset with rows per utterance, sorted by name."""
        total = int(self.lengths.sum())
        datasets = {}
        for name, (dtype, row) in sorted(self.columns.items()):
            large = name == "values" and self.is_sequence and dtype.kind == "f"
            if self.keeps(name):
                datasets[name] = (np.dtype(self.dtype) if large else dtype, (total, *row))
        return datasets

    def keeps(self, name: str) -> bool:
        """Whether a dataset is written; tokens and vocabulary are text."""
        return self.include_text or name not in ("tokens", "vocabulary")

    def size(self) -> int:
        """An upper limit of the size of the file, in bytes."""
        rows = sum(dtype.itemsize * math.prod(shape) for dtype, shape in self.layout().values())
        strings = [
            *(self.utterances, list(self.dialogs), self.keys),
            [reason for _, reason in self.problems],
            *(array.tolist() for array in self.state.values() if array.dtype.kind in "UO"),
        ]
        texts = sum(
            len(text) * max((len(str(s).encode()) for s in text), default=1) for text in strings
        )
        numbers = sum(a.nbytes for a in self.state.values() if a.dtype.kind not in "UO")
        numbers += 12 * len(self.utterances) + 8 * (len(self.dialogs) + len(self.problems))
        attributes = 2 * len(json.dumps(dict(self.attributes)))
        datasets = len(self.columns) + len(self.state) + 9
        return rows + texts + numbers + attributes + _OVERHEAD * datasets + rows // 200


def write(path: Path, header: Header, parts: Iterable[Arrays]) -> None:
    """Write a stream file; the same content gives the same bytes.

    Parameters
    ----------
    path
        The file, which is replaced once the new one is complete.
    parts
        The columns of all utterances in order, some utterances at a time; only one part is in
        memory.

    Raises
    ------
    StreamError
        If a value is not finite or too large for its type, or a token is not in the vocabulary.
    FullDiskError
        If there is too little disk space; this is checked before anything is written.
    """
    remove_remains(path)
    needed = header.size()
    remedy = "free disk space and start again; finished dialogs are kept"
    with (
        full_disk_reported(path, needed, remedy),
        writing(path) as file,
        reserved(file, needed),
    ):
        hasher = _prepare(file, header)
        rows = np.concatenate([[0], np.cumsum(header.lengths)])
        row = first = 0
        for part in parts:
            last = int(np.searchsorted(rows, row + len(part["values"]), "right")) - 1
            last = max(last, first)
            bounds = rows[first : last + 1]
            for name, (dtype, _) in header.layout().items():
                values, wrong, fault = _stored(header, name, part[name], dtype)
                if wrong.any():
                    row = bounds[0] + int(np.argmax(wrong))
                    where = header.utterances[int(np.searchsorted(rows, row, "right")) - 1]
                    raise StreamError(f"{path.stem}/{name}: utterance {where} has {fault}")
                file[name][bounds[0] : bounds[-1]] = values
                hasher.feed(name, values, bounds, first)
            row, first = int(bounds[-1]), last
        hashing.record(file, hasher.datasets, hasher.crc32)


def as_text(value: Any) -> str:
    """An attribute as it is written: text as it is, other values as JSON."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _prepare(file: h5py.File, header: Header) -> hashing.Hasher:
    """Write everything except the rows of utterances, and create their datasets.

    All metadata comes before the rows, so that the beginning of a truncated file can be read.
    """
    file.attrs["schema_version"] = SCHEMA_VERSION
    file.attrs["include_text"] = int(header.include_text)
    for name, value in sorted(header.attributes.items()):
        file.attrs[name] = as_text(value)
    strings: dict[str, Sequence[str]] = {
        "utterances": header.utterances,
        "dialogs": list(header.dialogs),
        "keys": header.keys,
        "problems": [reason for _, reason in header.problems],
    }
    numbers = {
        "sizes": np.array(list(header.dialogs.values()), np.int64),
        "problem_rows": np.array([row for row, _ in header.problems], np.int64),
    }
    if header.is_sequence:
        numbers["offsets"] = np.concatenate([[0], np.cumsum(header.lengths)]).astype(np.int64)
    for name, array in header.state.items():
        if header.keeps(name) and array.dtype.kind in "UO":
            strings[name] = array.tolist()
        elif header.keeps(name):
            numbers[name] = array
    for name in sorted(strings):
        write_strings(file, name, strings[name])
    for name in sorted(numbers):
        file[name] = numbers[name]
    hasher = hashing.Hasher(len(header.utterances))
    for name in sorted(file):
        hasher.whole(name, file[name][()])
    for name, (dtype, shape) in header.layout().items():
        options = _chunks(header, dtype, shape) if name == "values" else {}
        file.create_dataset(name, shape, dtype, **options)
        hasher.start(name, dtype, shape)
    hashing.prepare(file, len(header.utterances))
    return hasher


def _chunks(header: Header, dtype: np.dtype, shape: tuple[int, ...]) -> dict[str, Any]:
    if header.compression == "none" or not header.is_sequence or not math.prod(shape):
        return {}
    rows = CHUNK // (dtype.itemsize * math.prod(shape[1:]))
    chunks = (min(max(1, rows), shape[0]), *shape[1:])
    return {"chunks": chunks, "compression": header.compression, "shuffle": True}


def _stored(
    header: Header, name: str, rows: np.ndarray, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray, str]:
    """Convert rows to their stored type; also return which rows are invalid, and why."""
    with np.errstate(over="ignore"):  # reported below
        values = rows.astype(dtype, copy=False)
    if dtype.kind in "iu":
        table = header.state["vectors" if name == "values" else "vocabulary"]
        return values, (rows < 0) | (rows >= len(table)), "a token outside the vocabulary"
    flat = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    wrong = ~np.isfinite(flat).all(axis=1)
    if not header.is_sequence:  # a row of NaN is an utterance without features
        wrong &= ~np.isnan(flat).all(axis=1)
    elif not wrong.any():
        wrong = np.isinf(values.reshape(flat.shape)).any(axis=1)
        return values, wrong, f"a value too large for {dtype}; set the stream's dtype to float32"
    return values, wrong, "a value that is not finite"
