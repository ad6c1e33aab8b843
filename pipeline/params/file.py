"""Reading and writing of YAML 1.2, and messages for invalid parameters."""

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
    """An invalid parameter file; the message names each invalid key and what is allowed."""


def read_yaml(path: Path) -> Any:
    """Read a YAML 1.2 file, as DVC does.

    With ``-S``, DVC writes small numbers as ``5e-05`` into ``params.yaml``. That is a number in
    YAML 1.2 and a string in YAML 1.1, the version that PyYAML reads.

    Raises
    ------
    ParamsError
        If the file cannot be read, or is not valid YAML; the message names the line.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: is not UTF-8 text: {error.reason}") from error
    except (YAMLError, ValueError) as error:  # an impossible date is a ValueError
        raise ParamsError(f"{path}: is not valid YAML: {error}") from error


def as_yaml(values: dict[str, Any]) -> str:
    """Parameters as YAML text, for :func:`read_yaml`."""
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 100
    yaml.dump(values, text)
    return text.getvalue()


def describe(fault: dict[str, Any], group: type[BaseModel], where: list[str]) -> str:
    """One error of a pydantic report as a line: key, error, what is allowed.

    `group` is the class that was validated, and `where` its key in the file.
    """
    # pydantic adds the member of a union that it tried, such as dict[str,str], to the location
    location = [part for part in fault["loc"] if "[" not in str(part) and part != "constrained-str"]
    key = ".".join(str(part) for part in (*where, *location))
    if fault["type"] == "extra_forbidden":
        return unknown_key(key, _keys_of(group, location[:-1]))
    if fault["type"] == "missing":
        return f"{key}: is missing"
    message = fault["msg"].removeprefix("Value error, ")
    value = "" if fault["type"] == "value_error" else f", got {fault['input']!r}"
    return f"{key + ': ' if key else ''}{message}{value}"


def unknown_key(key: str, allowed: Sequence[str]) -> str:
    """The message for a key, joined with dots, whose last part is none of the allowed ones."""
    near = difflib.get_close_matches(key.rpartition(".")[2], allowed, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"{key}: no such key{hint}; allowed are {', '.join(allowed)}"


def _keys_of(group: type[BaseModel], location: list[Any]) -> list[str]:
    """The keys of the group at `location` within `group`."""
    for part in location:
        group = group.model_fields[part].annotation  # type: ignore[assignment]
    return list(group.model_fields)
