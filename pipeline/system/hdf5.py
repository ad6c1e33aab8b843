"""How this project reads and writes HDF5.

It writes whole files only, the same bytes for the same content. HDF5's own locks are not used: they
are an error on file systems that have none, and no whole file changes while it is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from pipeline.system.filesystem import lock, replacing

SCHEMA_VERSION = 1  # of each modality's file; the feature store has its own

_BLOCK = 1 << 22  # bytes


def bytes_a_row(dataset: h5py.Dataset, dtype: np.dtype | None = None) -> int:
    """Bytes of a row of a dataset, in its own type or in another."""
    return (dtype or dataset.dtype).itemsize * math.prod(dataset.shape[1:])


def rows_a_block(dataset: h5py.Dataset) -> int:
    """Rows that are copied, checked or hashed at a time; memory does not grow with the file."""
    return max(1, _BLOCK // max(bytes_a_row(dataset), 1))


def reading(path: Path) -> h5py.File:
    """Open a whole HDF5 file; no lock is asked for.

    Raises
    ------
    OSError
        With an ``errno`` where the system does not let read it; without, where it is no HDF5 file,
        is damaged, or :func:`is_open_otherwise`.
    """
    return h5py.File(path, "r", locking=False)


def is_open_otherwise(error: OSError) -> bool:
    """Whether a file could not be opened since this process has it open for writing or locked."""
    return any(text in str(error) for text in ("already open", "flag values don't match"))


@contextmanager
def writing(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file to fill, seen under `path` only once it is whole; locked until then."""
    with replacing(path) as partial, h5py.File(partial, "w", locking=False) as file:
        lock(file.id.get_vfd_handle())
        yield file


def remove_remains(path: Path) -> None:
    """Delete what killed runs left of :func:`writing` `path`; those that still run have it locked.

    Where the file system has no locks nothing is deleted, since the two are not told apart there.
    """
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        try:
            with partial.open("r+b") as file:
                if lock(file):
                    partial.unlink(missing_ok=True)
                else:
                    print(f"{partial}: delete it unless another run is writing {path.name}")
        except (BlockingIOError, FileNotFoundError, PermissionError):
            continue  # another run is writing it, or has just ended, or is another user's


def write_strings(file: h5py.File, name: str, values: Sequence[str]) -> None:
    """Write strings with one fixed length, since HDF5's variable ones are not reproducible."""
    encoded = [str(value).encode() for value in values]
    longest = max((len(value) for value in encoded), default=0)
    dtype = h5py.string_dtype("utf-8", length=max(longest, 1))
    file[name] = np.array(encoded, dtype=dtype)
