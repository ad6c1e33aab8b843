"""A check that the dependencies of a stage do not change while the stage runs.

DVC hashes parameters, code and tables when a stage ends, and records them as what the stage ran
with. After an edit during the run its lock would be wrong, and DVC would later restore the wrong
outputs from its cache. So each stage compares its dependencies at its start and at its end, and
fails if they differ; DVC records nothing for a stage that fails.

A dependency of more than 4 MiB is compared by sizes and modification times, any other by content,
so that saving a file without a change is no difference. The corpus is not compared, since it may be
large and on a network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pipeline import InputError
from pipeline.params import read_yaml
from pipeline.system import graph
from pipeline.system.filesystem import sha256, unreadable
from pipeline.system.values import differences

CODE = ("embedded", "pipeline", "stages")  # folders

IGNORED = ("__pycache__", "*.pyc", ".*.sw?", ".#*", "*~")
"""Patterns of ignored names, as in ``.dvcignore``."""

_LARGE = 1 << 22  # bytes of a dependency
_SHOWN = 10  # changes named in a message

Contents = dict[str, str]
"""The SHA-256 of each file, or its size and time of modification."""


class ChangedError(InputError):
    """A dependency of a stage changed while it ran; the message names all changes."""


@contextmanager
def during(command: str, code: Contents) -> Iterator[None]:
    """Check that the dependencies of a stage do not change while the body runs.

    Parameters
    ----------
    command
        The command of the stage; for a command of no stage nothing is checked.
    code
        The :func:`contents` of :data:`CODE` before the stage imported any module.

    Raises
    ------
    ChangedError
        If one has changed, after a body that raised no error.
    """
    stage = graph.find(command)
    if stage is None:
        yield
        return
    parameters, files = _parameters(stage), _files(stage, code)
    yield
    lines = [
        f"{key} was {old}, is {new}"
        for key, old, new in differences(parameters, _parameters(stage))
    ]
    edited = differences(files, _files(stage, contents(CODE)))
    lines += [f"{file} was edited, added or deleted" for file, _, _ in edited]
    if not lines:
        return
    if len(lines) > _SHOWN:
        lines[_SHOWN:] = [f"and {len(lines) - _SHOWN} more"]
    remedy = f"run `dvc repro {stage.name}` again"
    if not edited:  # a stage reads its parameters once, at its start
        remedy += f"; or undo the edit and keep the outputs by `dvc commit --force {stage.name}`"
    changes = "\n  ".join(lines)
    raise ChangedError(
        f"{stage.name}: what it depends on changed while it ran, so DVC records nothing of it:\n"
        f"  {changes}\n{remedy}"
    )


def _parameters(stage: graph.Stage) -> dict[str, Any]:
    values = {file: read_yaml(file) for file, _ in stage.parameters}
    return {f"{file}: {key}": graph.at(values[file], key) for file, key in stage.parameters}


def _files(stage: graph.Stage, code: Contents) -> Contents:
    """The contents of the stage's dependencies; `code` are those of all stages."""
    listed = set(stage.dependencies)
    own = {
        file: content
        for file, content in code.items()
        if not listed.isdisjoint((Path(file), *Path(file).parents))
    }
    return own | contents(path for path in listed if path.parts[0] not in CODE)


def contents(dependencies: Iterable[str | Path]) -> Contents:
    """The contents of all files in some dependencies: files or folders, which may be missing.

    Raises
    ------
    InputError
        If a file or folder cannot be read.
    """
    known: Contents = {}
    for dependency in dependencies:
        try:
            stats = {file: file.stat() for file in _walk(Path(dependency))}
        except OSError as error:
            raise InputError(unreadable(Path(error.filename or dependency), error)) from error
        large = sum(stat.st_size for stat in stats.values()) > _LARGE
        for file, stat in stats.items():
            by_time = f"{stat.st_size} {stat.st_mtime_ns}"
            known[file.as_posix()] = by_time if large else sha256(file)
    return known


def _walk(path: Path) -> Iterator[Path]:
    if path.is_dir():
        for inner in sorted(path.iterdir()):
            if not any(fnmatch(inner.name, pattern) for pattern in IGNORED):
                yield from _walk(inner)
    elif path.exists():
        yield path
