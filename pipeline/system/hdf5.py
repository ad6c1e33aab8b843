"""Reading and writing of HDF5 files.

Files are written completely before they are renamed to their final path, and the same content gives
the same bytes. HDF5's own locks are not used: they fail on file systems without locks, and are not
needed, since a complete file never changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from pipeline.system.filesystem import lock, replacing

_BLOCK = 1 << 22  # bytes


def rows_per_block(dataset: h5py.Dataset) -> int:
    """Rows of a dataset to read at once, so that memory does not grow with the file."""
    row = dataset.dtype.itemsize * math.prod(dataset.shape[1:])
    return max(1, _BLOCK // max(row, 1))


def reading(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, without a lock.

    Raises
    ------
    OSError
        With an ``errno`` if the system cannot read the file; without one if it is no HDF5 file, is
        damaged, or is open in this process for writing or with a lock.
    """
    return h5py.File(path, "r", locking=False)


@contextmanager
def writing(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file, which replaces `path` once it is complete, and is locked until then."""
    with replacing(path) as partial, h5py.File(partial, "w", locking=False) as file:
        lock(file.id.get_vfd_handle())
        yield file


def remove_remains(path: Path) -> None:
    """Delete the incomplete files of `path` that killed runs have left.

    A run that is still writing has its file locked. On a file system without locks nothing is
    deleted, since the two cases cannot be distinguished.
    """
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        try:
            with partial.open("r+b") as file:
                if lock(file):
                    partial.unlink(missing_ok=True)
                else:
                    print(f"{partial}: delete it unless another run is writing {path.name}")
        except (BlockingIOError, FileNotFoundError, PermissionError):
            continue  # another run is writing it or has just ended, or it is another user's


def write_strings(file: h5py.File, name: str, values: Sequence[str]) -> None:
    """Write strings of a fixed length; files with HDF5's variable-length strings vary in bytes."""
    encoded = [str(value).encode() for value in values]
    longest = max((len(value) for value in encoded), default=0)
    dtype = h5py.string_dtype("utf-8", length=max(longest, 1))
    file[name] = np.array(encoded, dtype=dtype)
