"""The parameters and dependencies of stages, read from the ``dvc.yaml`` files of this project.

Only the part of DVC's syntax that this project uses is supported. To import DVC for this would take
longer than some stages run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.params import read_yaml

FILES = (Path("dvc.yaml"), Path("embedded/dvc.yaml"), Path("comparison/dvc.yaml"))

_PARAMETERS = "params.yaml"
_CORPUS = "${corpus.root}"

Values = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """A stage with its parameters and dependencies.

    Attributes
    ----------
    name
        Its name on DVC's command line: ``train``, ``comparison/dvc.yaml:row@amh-1``.
    parameters
        Pairs of a parameter file and a key in it, of one value or of a group.
    dependencies
        Files and folders, without those of the corpus.
    """

    name: str
    parameters: list[tuple[Path, str]]
    dependencies: list[Path]


def find(command: str) -> Stage | None:
    """The stage that has this command; None if there is none.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    for file in filter(Path.is_file, FILES):
        raw = read_yaml(file)
        shared = _variables(file, raw.get("vars", []))
        for name, definition, own in _definitions(raw["stages"], shared):
            values = shared | own
            text = definition.get("cmd")
            if isinstance(text, str) and _fill(text, values) == command:
                place = f"{file.as_posix()}:" if file.parent.name else ""
                return _stage(f"{place}{name}", definition, values, file.parent)
    return None


def at(values: Any, key: str) -> Any:
    """The value at a key, joined with dots; None if there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _variables(file: Path, names: list[str]) -> Values:
    """The values of the ``params.yaml`` beside a stage file, and of the files in its ``vars``."""
    variables: Values = {}
    for name in (_PARAMETERS, *(name for name in names if isinstance(name, str))):
        path, _, groups = name.partition(":")
        source = _normalised(file.parent / path)
        values = read_yaml(source) if source.is_file() else None
        if isinstance(values, dict) and groups:
            values = {group: values.get(group) for group in groups.split(",")}
        variables |= values if isinstance(values, dict) else {}
    return variables


def _definitions(stages: Values, variables: Values) -> Iterator[tuple[str, Values, Values]]:
    """Yield the name and definition of each stage, and its variables `key` and `item`."""
    for name, definition in stages.items():
        yield name, definition, {}
        each = definition.get("foreach")
        items = at(variables, each.strip("${}")) if isinstance(each, str) else None
        for key, item in items.items() if isinstance(items, dict) else ():
            yield f"{name}@{key}", definition["do"], {"key": key, "item": item}


def _fill(text: str, values: Values) -> str:
    """Replace each ``${key}`` by its value; DVC does not start a stage that lacks one."""
    return re.sub(r"\$\{(.+?)\}", lambda match: str(at(values, match[1])), text)


def _stage(name: str, definition: Values, values: Values, folder: Path) -> Stage:
    folder /= definition.get("wdir", "")
    parameters = []
    for entry in definition.get("params", []):
        keys = entry if isinstance(entry, dict) else {_PARAMETERS: [entry]}
        parameters += [
            (_normalised(folder / file), _fill(key, values))
            for file, own in keys.items()
            for key in own
        ]
    dependencies = [
        _normalised(folder / _fill(path, values))
        for path in definition.get("deps", [])
        if not path.startswith(_CORPUS)
    ]
    return Stage(name, parameters, dependencies)


def _normalised(path: Path) -> Path:
    """The path without ``..``, without following links, as DVC does it."""
    return Path(os.path.normpath(path))
