"""Files: messages for errors of the system, atomic replacement, and locks."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pipeline import InputError

if TYPE_CHECKING:
    import pandas as pd

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# errors of network file systems without locks, such as NFS or Lustre mounted without them
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

_RIGHTS = "ask its owner for access to it and to all folders above it"
_REMEDIES = {
    errno.ENOENT: "if it is an output of a stage, `dvc repro` makes it",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EISDIR: "it must be a file, not a folder",
    errno.EIO: "its disk or network has failed; repair it and start again, or copy the file again",
    errno.ESTALE: "its server has moved or lost it; mount the file system again",
    errno.EMFILE: "allow more open files with `ulimit -n`",
}


def unreadable(path: Path, error: OSError) -> str:
    """The message for a file that the system cannot read: the reason and a remedy."""
    return f"{path}: cannot be read: {_reason(error)}"


def refused(error: OSError) -> str:
    """The message for an error of the system that names a file."""
    return f"{error.filename}: {_reason(error)}"


def _reason(error: OSError) -> str:
    # libraries written in Rust set no errno and give the reason in the message
    reason = os.strerror(error.errno) if error.errno else str(error)
    remedy = _REMEDIES.get(error.errno or 0, "solve this and start again")
    return f"{reason}; {remedy}"


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(unreadable(path, error)) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path for a file or folder, which is renamed to `path` once it is complete.

    An existing `path` is never opened for writing: it may be a hard link to DVC's cache, or another
    process may be reading it. If an error occurs, it is kept, and the temporary file is deleted.

    Parameters
    ----------
    path
        The file or folder to replace; its parent folder is created. An existing folder must be
        empty.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    _remove(partial)  # left by a killed process with the same id
    try:
        yield partial
        partial.replace(path)
    finally:
        _remove(partial)


def write_text(path: Path, text: str) -> None:
    """Replace a text file, in UTF-8, with Unix line ends on every system."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Replace a CSV file with a table; the same table gives the same bytes on every system."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n", encoding="utf-8")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def lock(file: int | IO) -> bool:
    """Lock an open file against other processes until it is closed.

    The system releases the lock also when the process is killed.

    Parameters
    ----------
    file
        A file or its descriptor, open for writing, as NFS requires.

    Returns
    -------
    bool
        False if the system or the file system has no locks; the file is not locked then.

    Raises
    ------
    BlockingIOError
        If another process has locked it.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError as error:  # some NFS servers answer this
        raise BlockingIOError(error.errno, error.strerror) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True
