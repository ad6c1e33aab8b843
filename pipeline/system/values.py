"""Numbers in text, brief errors, and comparison of nested values such as parameters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_ABSENT = "absent"

Difference = tuple[str, str, str]
"""A key, joined with dots, and its two values as JSON; ``absent`` if there is no such key."""


def is_number(text: str | bytes) -> bool:
    """Whether Python reads the text as a number, which need not be finite."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def brief(error: Exception) -> str:
    """The first line of an error's message, or its type; for errors of other libraries."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]


def differences(first: Any, second: Any) -> list[Difference]:
    """The keys at which two nested mappings differ, sorted."""
    left, right = dict(_flatten(first)), dict(_flatten(second))
    values = {key: (left.get(key, _ABSENT), right.get(key, _ABSENT)) for key in left | right}
    return [(key, old, new) for key, (old, new) in sorted(values.items()) if old != new]


def _flatten(values: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, json.dumps(values, sort_keys=True, default=str)
