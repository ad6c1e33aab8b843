"""How this project writes HDF5: whole files only, the same bytes for the same content."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

SCHEMA_VERSION = 1  # of each modality's file; the feature store has its own

_BLOCK = 1 << 22  # bytes


def bytes_a_row(dataset: h5py.Dataset, dtype: np.dtype | None = None) -> int:
    """Bytes of a row of a dataset, in its own type or in another."""
    return (dtype or dataset.dtype).itemsize * math.prod(dataset.shape[1:])


def rows_a_block(dataset: h5py.Dataset) -> int:
    """Rows that are copied, checked or hashed at a time; memory does not grow with the file."""
    return max(1, _BLOCK // max(bytes_a_row(dataset), 1))


@contextmanager
def writing(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file to fill, seen under `path` only once it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with h5py.File(partial, "w") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_strings(file: h5py.File, name: str, values: Sequence[str]) -> None:
    """Write strings with one fixed length, since HDF5's variable ones are not reproducible."""
    encoded = [str(value).encode() for value in values]
    longest = max((len(value) for value in encoded), default=0)
    dtype = h5py.string_dtype("utf-8", length=max(longest, 1))
    file[name] = np.array(encoded, dtype=dtype)
