"""What a stage depends on must not change while it runs.

DVC reads parameters, code and tables when a stage ends, and records them as those it ran with. An
edit in between would give a lock that says what did not run, and DVC would bring the wrong outputs
back from its cache later. So a stage looks at all of it when it starts and when it ends, and fails
if it is not the same: of a stage that fails DVC records nothing.

A dependency of more than 4 MiB is compared by sizes and modification times, any other by content,
so that saving a file as it was is no change. The corpus is not looked at: it may be large and far
away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import InputError
from pipeline.system import graph
from pipeline.system.filesystem import sha256, unreadable
from pipeline.system.values import differences

CODE = ("embedded", "pipeline", "stages")  # folders

IGNORED = ("__pycache__", "*.pyc", ".*.sw?", ".#*", "*~")
"""Names of what is no part of a folder, as in ``.dvcignore``."""

_LARGE = 1 << 22  # bytes of a dependency
_SHOWN = 10  # changes named in a message

Contents = dict[str, str]
"""What the content of each file is known by."""


class ChangedError(InputError):
    """What a stage depends on changed while it ran; the message names all of it."""


class State(NamedTuple):
    """What a stage depends on at one moment."""

    parameters: dict[str, Any]
    files: Contents


@contextmanager
def during(command: str, code: Contents) -> Iterator[None]:
    """Run a stage, and see to it that nothing changes meanwhile that it depends on.

    Parameters
    ----------
    command
        The stage's; of a command that is no stage's nothing is looked at.
    code
        The :func:`contents` of :data:`CODE` before the stage imported any of it.

    Raises
    ------
    ChangedError
        At the end of a stage that ended well.
    """
    stage = graph.find(command)
    if stage is None:
        yield
        return
    before = _state(stage, code)
    yield
    after = _state(stage, contents(CODE))
    edited = [
        f"{key} was {old}, is {new}"
        for key, old, new in differences(before.parameters, after.parameters)
    ]
    files = [file for file, _, _ in differences(before.files, after.files)]
    lines = [*edited, *(f"{file} was edited, added or deleted" for file in files)]
    if not lines:
        return
    if len(lines) > _SHOWN:
        lines[_SHOWN:] = [f"and {len(lines) - _SHOWN} more"]
    remedy = f"run `dvc repro {stage.name}` again"
    if not files:  # parameters are read once, at the start
        remedy += f"; or undo the edit, and `dvc commit --force {stage.name}` keeps what was made"
    changes = "\n  ".join(lines)
    raise ChangedError(
        f"{stage.name}: what it depends on changed while it ran, so DVC records nothing of it:\n"
        f"  {changes}\n{remedy}"
    )


def _state(stage: graph.Stage, code: Contents) -> State:
    """The state now; `code` is that of all stages."""
    parameters = {
        f"{file}: {key}": graph.at(graph.read(file), key) for file, key in stage.parameters
    }
    listed = set(stage.dependencies)
    own = {
        file: content
        for file, content in code.items()
        if not listed.isdisjoint((Path(file), *Path(file).parents))
    }
    others = [path for path in listed if path.parts[0] not in CODE]
    return State(parameters, own | contents(others))


def contents(dependencies: Iterable[str | Path]) -> Contents:
    """All files of some dependencies, which are files, or folders; none of a missing one.

    Raises
    ------
    InputError
        If the system does not let read one.
    """
    found: Contents = {}
    for dependency in dependencies:
        try:
            about = {file: file.stat() for file in _files(Path(dependency))}
        except OSError as error:
            raise InputError(unreadable(Path(error.filename or dependency), error)) from error
        large = sum(stat.st_size for stat in about.values()) > _LARGE
        for file, stat in about.items():
            known = f"{stat.st_size} {stat.st_mtime_ns}" if large else sha256(file)
            found[file.as_posix()] = known
    return found


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        for inner in sorted(path.iterdir()):
            if not any(fnmatch(inner.name, pattern) for pattern in IGNORED):
                yield from _files(inner)
    elif path.exists():
        yield path
