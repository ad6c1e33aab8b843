"""What the file system says and gives: the meaning of its errors, whole files, and locks."""

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

# as some network file systems answer, such as NFS and Lustre mounted without locks
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

_RIGHTS = "ask its owner for the right to it and to all folders above it"
_REMEDIES = {
    errno.ENOENT: "if it is an output of a stage, `dvc repro` makes it",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EISDIR: "a file is needed there",
    errno.EIO: "its disk or network fails; once that is mended start again, or copy the file anew",
    errno.ESTALE: "its server has moved or lost it; mount the file system again",
    errno.EMFILE: "allow more open files with `ulimit -n`",
}


def unreadable(path: Path, error: OSError) -> str:
    """What to tell of a file that the system does not let read: the system's reason and a remedy.

    It says nothing of what the file holds, since nobody has seen that.
    """
    return f"{path}: cannot be read: {_reason(error)}"


def refused(error: OSError) -> str:
    """What to tell of an error with a file's name where nobody knows what the file was to be."""
    return f"{error.filename}: {_reason(error)}"


def _reason(error: OSError) -> str:
    """The system's reason and what to do."""
    # libraries written in Rust give the reason in the message only
    reason = os.strerror(error.errno) if error.errno else str(error)
    remedy = _REMEDIES.get(error.errno or 0, "start again once the system allows it")
    return f"{reason}; {remedy}"


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits.

    Raises
    ------
    InputError
        If the system does not let read it.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(unreadable(path, error)) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file or folder to; it gets its name once it is whole.

    What was there under that name is never opened, but replaced: it may be a hard link to DVC's
    cache, and somebody may be reading it. Upon an error it stays, and what was written is removed.

    Parameters
    ----------
    path
        The name to replace; its folder is made. A folder of that name must be empty.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    _remove(partial)  # of a process of the same number that was killed
    try:
        yield partial
        partial.replace(path)
    finally:
        _remove(partial)


def write_text(path: Path, text: str) -> None:
    """Replace a text file; UTF-8 and line ends of one kind on every system."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Replace a CSV file with the columns of a table; the same table, the same bytes."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n", encoding="utf-8")


def _remove(path: Path) -> None:
    """Delete a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def lock(file: int | IO) -> bool:
    """Lock an open file, or descriptor, against other processes until it is closed.

    The system ends the lock even for a killed process.

    Parameters
    ----------
    file
        Open for writing, which NFS needs.

    Returns
    -------
    bool
        False where the system or the file system has no locks, so that nothing is kept away.

    Raises
    ------
    BlockingIOError
        If another process has locked it.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError as error:  # what some NFS servers answer
        raise BlockingIOError(error.errno, error.strerror) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True
