"""Finished work that outlives the run that did it: dialogs of a running extraction, trained models.

DVC deletes the outputs of a stage before it runs the stage again, and records them only once it has
ended. So what took long is kept beside them, in ``data/interim/kept``, under a key of all that
decides it. A run that starts again takes over what has its key.
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
    """A folder of results by name; each file is key, checksum and content.

    Attributes
    ----------
    folder
        Nothing but this class writes into it.
    """

    folder: Path

    def path(self, name: str) -> Path:
        """The file of a result."""
        return self.folder / f"{name}{_ENDING}"

    def save(self, name: str, key: str, content: bytes | memoryview) -> None:
        """Replace what is kept under a name; a kill leaves the former whole.

        Parameters
        ----------
        key
            A SHA-256 in hexadecimal digits, of all that decides the result.

        Raises
        ------
        FullDiskError
            If there is no room for it; what was kept before stays.
        """
        path = self.path(name)
        remedy = f"make room and start again: all that is finished is kept in {self.folder}"
        with (
            full_disk_reported(path, len(content), remedy),
            replacing(path) as partial,
            partial.open("wb") as file,
        ):
            file.write(bytes.fromhex(key))
            file.write(hashlib.sha256(content).digest())
            file.write(content)

    def load(self, name: str, key: str) -> memoryview | None:
        """What is kept under a name; None for nothing, another key, or what the disk has damaged.

        Raises
        ------
        InputError
            If the system does not let read it, since it is not to be computed again.
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
                f"{unreadable(path, error)}; or delete it, and it is computed again"
            ) from error
        return memoryview(content) if hashlib.sha256(content).digest() == checksum else None

    def forget(self, present: Collection[str]) -> None:
        """Delete all but the results of the names that are given."""
        if self.folder.is_dir():
            names = {self.path(name) for name in present}
            for path in self.folder.iterdir():
                if path not in names and path.is_file():
                    path.unlink()
            if not any(self.folder.iterdir()):
                self.folder.rmdir()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other runs away from a folder of kept results, where there are locks.

    Raises
    ------
    InputError
        If another run writes there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as file:
        try:
            if not lock(file):
                print(f"{folder}: has no lock here; let no other run write it")
        except BlockingIOError:
            raise InputError(
                f"{folder}: another run is writing it; wait until that has ended, then start again"
            ) from None
        yield


def publish(names: Collection[str], kept: Path, output: Path) -> None:
    """Give each kept file a second name in `output`, and delete what else is in both folders."""
    for path in output.iterdir():
        if path.name not in names:
            path.unlink()
    for name in names:
        link(kept / name, output / name)
    for path in kept.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in names and not path.name.startswith("."):
            path.unlink()  # what begins with a dot is the lock, or of a run that may be alive


def share(kept: Path, output: Path) -> None:
    """Let kept files be hard links to the outputs of the same content.

    They are already if DVC has linked its cache; where it has copied, they would lie there twice.
    """
    for path in kept.iterdir():
        recorded = output / path.name
        both = path.is_file() and recorded.is_file() and not path.samefile(recorded)
        if both and filecmp.cmp(path, recorded, shallow=False):
            link(recorded, path)


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where there are no hard links."""
    if target.exists() and target.samefile(source):
        return  # to rename one name of a file to another does nothing
    with replacing(target) as partial:
        try:
            os.link(source, partial)
        except (AttributeError, OSError):  # of the system, or of the file system
            shutil.copyfile(source, partial)
