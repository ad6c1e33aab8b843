"""Nested values, such as parameters, compared key by key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_ABSENT = "absent"


class Difference(NamedTuple):
    """A key, joined with dots, and its two values as JSON; ``absent`` where there is none."""

    key: str
    first: str
    second: str


def differences(first: Any, second: Any) -> list[Difference]:
    """Where two nested mappings differ, sorted by key."""
    flat = dict(_flatten(first)), dict(_flatten(second))
    pairs = {key: [found.get(key, _ABSENT) for found in flat] for key in flat[0] | flat[1]}
    return [Difference(key, *pairs[key]) for key in sorted(pairs) if len(set(pairs[key])) > 1]


def _flatten(values: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, json.dumps(values, sort_keys=True, default=str)
