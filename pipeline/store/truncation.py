"""Reading of truncated HDF5 files, which HDF5 itself does not open.

The superblock at the start of a file contains the size of the file: "HDF5 File Format
Specification", section "Disk Format: Level 0A - Format Signature and Superblock", version 0.
"""

from __future__ import annotations

import io
from pathlib import Path

import h5py

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_END_OF_FILE = slice(40, 48)  # with addresses of 8 bytes


def size(path: Path) -> int:
    """Size in bytes of the file when it was complete; 0 if its superblock is not of version 0."""
    with path.open("rb") as file:
        head = file.read(_END_OF_FILE.stop)
    if len(head) < _END_OF_FILE.stop or head[:9] != _SIGNATURE + b"\0" or head[13] != 8:
        return 0
    return int.from_bytes(head[_END_OF_FILE], "little")


def missing(path: Path) -> int:
    """Bytes that are missing at the end of the file; 0 if there is no such file."""
    return max(0, size(path) - path.stat().st_size) if path.is_file() else 0


def padded(path: Path) -> h5py.File:
    """Open a truncated file as if the missing bytes were zeros.

    Raises
    ------
    OSError
        If the rest is not a readable HDF5 file.
    """
    return h5py.File(_Padded(path), "r")


class _Padded(io.FileIO):
    """A file followed by zeros up to its original size."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._size = size(path)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            offset, whence = self._size + offset, io.SEEK_SET
        return super().seek(offset, whence)

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")
        read = 0
        while more := super().readinto(view[read:]):
            read += more
        view[read:] = bytes(len(view) - read)
        return len(view)
