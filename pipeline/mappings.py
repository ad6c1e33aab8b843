"""Nested mappings of plain values: how two of them differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


def differences(first: Any, second: Any) -> list[str]:
    """A line for each key whose value differs: ``a.b: first / second``, values as JSON."""
    left, right = dict(_flatten(first)), dict(_flatten(second))
    return [
        f"{key}: {left.get(key, 'absent')} / {right.get(key, 'absent')}"
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]


def _flatten(values: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Keys of nested mappings joined with dots, and their values as JSON."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, json.dumps(values, sort_keys=True)
