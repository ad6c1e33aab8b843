"""What stages depend on, as their files say: as much of DVC's language as this project uses.

To ask DVC itself would take longer than some stages do.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.params import read_yaml
from pipeline.system.filesystem import sha256

FILES = (Path("dvc.yaml"), Path("embedded/dvc.yaml"), Path("comparison/dvc.yaml"))

_PARAMETERS = "params.yaml"
_CORPUS = "${corpus.root}"

Values = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """A stage and what it depends on.

    Attributes
    ----------
    name
        As DVC takes it: ``train``, ``comparison/dvc.yaml:row@amh-1``.
    parameters
        Parameter files, and a key of each: of one value or of a group.
    dependencies
        Files and folders, but those of the corpus.
    """

    name: str
    parameters: list[tuple[Path, str]]
    dependencies: list[Path]


def find(command: str) -> Stage | None:
    """The stage with this command; None where no file has one, or says it in another way than ours.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    for file in filter(Path.is_file, FILES):
        raw = read(file)
        known = _known(file, raw.get("vars", []))
        for name, definition, own in _definitions(raw["stages"], known):
            values = known | own
            text = definition.get("cmd")
            if isinstance(text, str) and _fill(text, values) == command:
                place = f"{file.as_posix()}:" if file.parent.name else ""
                return _stage(f"{place}{name}", definition, values, file.parent)
    return None


def read(file: Path) -> Any:
    """The values of a YAML file, which is read once as long as its content is the same.

    Raises
    ------
    InputError
        If it cannot be read or is no YAML file.
    """
    return _read(file, sha256(file))


@functools.cache
def _read(file: Path, content: str) -> Any:
    return read_yaml(file)


def at(values: Any, key: str) -> Any:
    """The value at a key joined with dots; None where there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _known(file: Path, names: list[str]) -> Values:
    """The values of ``params.yaml`` beside a file, and of the files or groups of its ``vars``."""
    known: Values = {}
    for name in (_PARAMETERS, *(name for name in names if isinstance(name, str))):
        path, _, groups = name.partition(":")
        source = _place(file.parent / path)
        found = read(source) if source.is_file() else None
        if isinstance(found, dict):
            known |= {group: found.get(group) for group in groups.split(",")} if groups else found
    return known


def _definitions(stages: Values, known: Values) -> Iterator[tuple[str, Values, Values]]:
    """Name and definition of each stage, and the values that are its own: `key` and `item`."""
    for name, definition in stages.items():
        yield name, definition, {}
        each = definition.get("foreach")
        items = at(known, each.strip("${}")) if isinstance(each, str) else None
        for key, item in items.items() if isinstance(items, dict) else ():
            yield f"{name}@{key}", definition["do"], {"key": key, "item": item}


def _fill(text: str, values: Values) -> str:
    """Put values in the place of ``${...}``; where there is none, DVC does not start the stage."""
    return re.sub(r"\$\{(.+?)\}", lambda match: str(at(values, match[1])), text)


def _stage(name: str, definition: Values, values: Values, folder: Path) -> Stage:
    folder /= definition.get("wdir", "")
    parameters = []
    for entry in definition.get("params", []):
        keys = entry if isinstance(entry, dict) else {_PARAMETERS: [entry]}
        parameters += [
            (_place(folder / file), _fill(key, values)) for file, own in keys.items() for key in own
        ]
    dependencies = [
        _place(folder / _fill(path, values))
        for path in definition.get("deps", [])
        if not path.startswith(_CORPUS)
    ]
    return Stage(name, parameters, dependencies)


def _place(path: Path) -> Path:
    """The path without ``..``; as DVC reads it, also where folders are links."""
    return Path(os.path.normpath(path))
