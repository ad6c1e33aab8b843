"""Parameter files: YAML read and written by version 1.2 of the language, and faults in words."""

from __future__ import annotations

import difflib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline import InputError


class ParamsError(InputError):
    """A parameter file that cannot be used; the message names the key and what is allowed."""


def read_yaml(path: Path) -> Any:
    """Read a YAML file as DVC does, by version 1.2 of the language.

    DVC rewrites ``params.yaml`` for ``-S``, and a small number becomes ``5e-05`` in it. That is a
    number in YAML 1.2 and a string in YAML 1.1, which PyYAML reads.

    Raises
    ------
    ParamsError
        If the file cannot be read or is not valid YAML; names the line.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: is not UTF-8 text: {error.reason}") from error
    except (YAMLError, ValueError) as error:  # such as a date that is none
        raise ParamsError(f"{path}: is not valid YAML: {error}") from error


def as_yaml(values: dict[str, Any]) -> str:
    """Parameters as YAML text that :func:`read_yaml` reads."""
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 100
    yaml.dump(values, text)
    return text.getvalue()


def describe(fault: dict[str, Any], group: type[BaseModel], where: list[str]) -> str:
    """One fault of a pydantic report as a line: key, fault, what is allowed.

    `group` is what was validated, and `where` its own key.
    """
    # pydantic adds the tried member of a union, such as dict[str,str], to the location
    location = [part for part in fault["loc"] if "[" not in str(part) and part != "constrained-str"]
    key = ".".join(str(part) for part in (*where, *location))
    if fault["type"] == "extra_forbidden":
        return unknown_key(key, _keys_of(group, location[:-1]))
    if fault["type"] == "missing":
        return f"{key}: is missing"
    message = fault["msg"].removeprefix("Value error, ")
    given = "" if fault["type"] == "value_error" else f", got {fault['input']!r}"
    return f"{key + ': ' if key else ''}{message}{given}"


def unknown_key(key: str, known: Sequence[str]) -> str:
    """A fault as a line: `key`, joined with dots, is none of those that its group knows."""
    near = difflib.get_close_matches(key.rpartition(".")[2], known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"{key}: no such key{hint}; known here: {', '.join(known)}"


def _keys_of(group: type[BaseModel], location: list[Any]) -> list[str]:
    """The keys that the group at `location` of another knows."""
    for part in location:
        group = group.model_fields[part].annotation  # type: ignore[assignment]
    return list(group.model_fields)
