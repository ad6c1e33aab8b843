"""Results that are kept between runs: extracted dialogs and trained models.

DVC deletes the outputs of a stage before it runs the stage again. So results that take long to
compute are also kept outside of the outputs, in ``data/interim/kept``, with a key: a digest of all
that determines the result. A later run reuses a result that has the key it needs.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline import InputError
from pipeline.system.disk import full_disk_reported
from pipeline.system.filesystem import lock, replacing, unreadable

_DIGEST = 32  # bytes of a SHA-256
_ENDING = ".kept"
_LOCK = ".lock"


@dataclass(frozen=True)
class Kept:
    """A folder of kept results; each file consists of key, checksum and content.

    Attributes
    ----------
    folder
        Only this class writes into it.
    """

    folder: Path

    def path(self, name: str) -> Path:
        return self.folder / f"{name}{_ENDING}"

    def save(self, name: str, key: str, content: bytes | memoryview) -> None:
        """Write or replace a result; if the process is killed meanwhile, the old one is kept.

        Parameters
        ----------
        key
            SHA-256, in hexadecimal digits, of all that determines the result.

        Raises
        ------
        FullDiskError
            If there is too little disk space; the old result is kept.
        """
        path = self.path(name)
        remedy = f"free disk space and start again; finished results are kept in {self.folder}"
        with (
            full_disk_reported(path, len(content), remedy),
            replacing(path) as partial,
            partial.open("wb") as file,
        ):
            file.write(bytes.fromhex(key))
            file.write(hashlib.sha256(content).digest())
            file.write(content)

    def load(self, name: str, key: str) -> memoryview | None:
        """The result of this name and key; None if there is none, or if its checksum is wrong.

        Raises
        ------
        InputError
            If the file cannot be read, so that an expensive result is not computed again unasked.
        """
        path = self.path(name)
        try:
            with path.open("rb") as file:
                if file.read(_DIGEST) != bytes.fromhex(key):
                    return None
                checksum, content = file.read(_DIGEST), file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(
                f"{unreadable(path, error)}; or delete it, to compute it again"
            ) from error
        return memoryview(content) if hashlib.sha256(content).digest() == checksum else None

    def forget(self, present: Collection[str]) -> None:
        """Delete all results except those of the names in `present`."""
        if self.folder.is_dir():
            names = {self.path(name) for name in present}
            for path in self.folder.iterdir():
                if path not in names and path.is_file():
                    path.unlink()
            if not any(self.folder.iterdir()):
                self.folder.rmdir()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder of kept results against other runs, if the file system has locks.

    Raises
    ------
    InputError
        If another run has locked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as file:
        try:
            if not lock(file):
                print(
                    f"{folder}: the file system has no locks; start no other run that writes here"
                )
        except BlockingIOError:
            raise InputError(
                f"{folder}: another run is writing it; wait until it has ended, and start again"
            ) from None
        yield


def publish(names: Collection[str], kept: Path, output: Path) -> None:
    """Link the kept files of these names into `output`; delete all other files in both folders."""
    for path in output.iterdir():
        if path.name not in names:
            path.unlink()
    for name in names:
        link(kept / name, output / name)
    for path in kept.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in names and not path.name.startswith("."):
            path.unlink()  # names with a dot are the lock and partial files of another run


def share(kept: Path, output: Path) -> None:
    """Replace kept files by hard links to outputs with the same content.

    If DVC has copied the outputs from its cache, they would otherwise use the disk space twice.
    """
    for path in kept.iterdir():
        other = output / path.name
        separate = path.is_file() and other.is_file() and not path.samefile(other)
        if separate and filecmp.cmp(path, other, shallow=False):
            link(other, path)


def link(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy where hard links are not supported."""
    if target.exists() and target.samefile(source):
        return  # a rename of one hard link to another does nothing
    with replacing(target) as partial:
        try:
            os.link(source, partial)
        except (AttributeError, OSError):  # not supported by the system, or by the file system
            shutil.copyfile(source, partial)
