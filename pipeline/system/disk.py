"""Disk space: reserved before a large file is written, and reported when there is too little."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from pipeline import InputError

# disk full, quota exceeded, file too large for the file system or for a limit of the process
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FullDiskError(InputError):
    """There is not enough disk space."""


@contextmanager
def reserved(file: h5py.File, size: int) -> Iterator[None]:
    """Reserve `size` bytes of disk space for a new HDF5 file while it is written.

    HDF5 aborts the whole process if it cannot write a file that it has to close. So its blocks are
    allocated first, and unused ones are freed at the end. The content of the file does not change.

    Raises
    ------
    OSError
        If there is too little space; nothing has been written then.
    """
    path = Path(file.filename)
    reserve(path, size)
    yield
    file.flush()
    os.truncate(path, file.id.get_filesize())


def reserve(path: Path, size: int) -> None:
    """Allocate at least `size` bytes for the existing file `path`.

    Where the system cannot allocate them, the free space of the disk is checked instead.

    Raises
    ------
    OSError
        If there is too little space; the file keeps its size.
    """
    with path.open("r+b") as file:
        before = os.fstat(file.fileno()).st_size
        if not hasattr(os, "posix_fallocate"):  # macOS, Windows
            if shutil.disk_usage(path.parent).free < size - before:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            return
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            os.ftruncate(file.fileno(), before)
            # some file systems cannot allocate blocks in advance
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise


@contextmanager
def full_disk_reported(path: Path, needed: int, remedy: str) -> Iterator[None]:
    """Raise a :class:`FullDiskError` if the disk is full while `path` is written.

    Parameters
    ----------
    path
        File or folder that is written, in an existing folder.
    needed
        Bytes that are needed, for the message.
    remedy
        What the user can do, for the message.

    Raises
    ------
    FullDiskError
        In place of an OSError about disk space; other errors are not changed.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise FullDiskError(
            f"{path}: {os.strerror(error.errno)}; about {readable(needed)} are needed and "
            f"{readable(shutil.disk_usage(path.parent).free)} are free; {remedy}"
        ) from error


def readable(size: int) -> str:
    """`size` bytes in a decimal unit, such as ``1.5 MB``."""
    value = float(size)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"
