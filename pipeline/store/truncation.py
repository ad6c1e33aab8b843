"""Reading what is left of an HDF5 file that has been cut short, which HDF5 itself refuses to do.

The superblock at the start of a file holds its size: "HDF5 File Format Specification", section
"Disk Format: Level 0A - Format Signature and Superblock", version 0.
"""

from __future__ import annotations

import io
from pathlib import Path

import h5py

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_END_OF_FILE = slice(40, 48)  # with addresses of 8 bytes


def size(path: Path) -> int:
    """Bytes that the file had when it was written; 0 if it is not in the form that h5py writes."""
    with path.open("rb") as file:
        head = file.read(_END_OF_FILE.stop)
    if len(head) < _END_OF_FILE.stop or head[:9] != _SIGNATURE + b"\0" or head[13] != 8:
        return 0
    return int.from_bytes(head[_END_OF_FILE], "little")


def missing(path: Path) -> int:
    """Bytes that are cut off the end of the file; 0 if there is no such file."""
    return max(0, size(path) - path.stat().st_size) if path.is_file() else 0


def padded(path: Path) -> h5py.File:
    """Open a truncated file with zeros in place of what is lost.

    Raises
    ------
    OSError
        If what is left is no readable HDF5 file.
    """
    return h5py.File(_Padded(path), "r")


class _Padded(io.RawIOBase):
    """A file followed by zeros up to its former size."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._size = size(path)
        self._position = 0

    def close(self) -> None:
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), max(0, self._size - self._position))
        self._file.seek(self._position)
        data = self._file.read(wanted)
        view[: len(data)] = data
        view[len(data) : wanted] = bytes(wanted - len(data))
        self._position += wanted
        return wanted
