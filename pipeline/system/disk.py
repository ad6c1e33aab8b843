"""Room on the disk: asked for before a large file is written, and reported where it runs out."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from pipeline import InputError

# no space, a quota that is used up, a file larger than the file system or a limit allows
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FullDiskError(InputError):
    """A disk has no room for what is to be written."""


@contextmanager
def reserved(file: h5py.File, size: int) -> Iterator[None]:
    """Set `size` bytes of the disk aside for a new HDF5 file while it is filled.

    HDF5 must never meet a full disk: it cannot close a file that it cannot write, and ends the
    whole process. Its file is therefore given its blocks first; those it leaves unused are freed
    at the end. The bytes written are the same as without.

    Raises
    ------
    OSError
        If there is no room, before anything has been written.
    """
    path = Path(file.filename)
    reserve(path, size)
    yield
    file.flush()
    os.truncate(path, file.id.get_filesize())


def reserve(path: Path, size: int) -> None:
    """Give the existing file `path` at least `size` bytes on the disk; see at least that they are.

    Raises
    ------
    OSError
        If there is no room; the file is then as it was.
    """
    with path.open("r+b") as file:
        before = os.fstat(file.fileno()).st_size
        if not hasattr(os, "posix_fallocate"):  # macOS, Windows: look instead
            if shutil.disk_usage(path.parent).free < size - before:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            return
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            os.ftruncate(file.fileno(), before)
            # some file systems cannot set blocks aside
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise


@contextmanager
def full_disk_reported(path: Path, needed: int, remedy: str) -> Iterator[None]:
    """Turn an error of a full disk while `path` is written into one that says what is needed.

    Parameters
    ----------
    path
        File or folder that is written; its own folder exists.
    needed
        Bytes that the work still needs on that disk.
    remedy
        What to do once there is room.

    Raises
    ------
    FullDiskError
        In place of an OSError for want of space; any other error passes.
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
    """Return `size` bytes in the largest decimal unit that leaves a whole part."""
    value = float(size)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"
