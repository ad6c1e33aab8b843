"""Comparison of two feature stores."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.features import hashing
from pipeline.features.stream import ALIGNED, Stream
from pipeline.store.reading import FeatureStore
from pipeline.system.values import differences

_NAMED = 3  # utterances named in a line


def compare(a: Path, b: Path) -> list[str]:
    """All differences of two stores, one per line; empty if their content is the same.

    They are differences in attributes (such as parameters and versions), utterances, columns of the
    table, and streams, with the number of utterances and the largest difference of a value.

    Raises
    ------
    StoreError
        If one of them cannot be used.
    """
    with FeatureStore(a) as first, FeatureStore(b) as second:
        if first.sha256 == second.sha256:
            return []
        return [
            *_compare_attributes(first, second),
            *_compare_utterances(first, second),
            *_compare_streams(first, second),
        ]


def _compare_attributes(first: FeatureStore, second: FeatureStore) -> Iterator[str]:
    for key, here, there in differences(_attributes(first), _attributes(second)):
        yield f"{key}: {here} / {there}"


def _attributes(store: FeatureStore) -> dict[str, Any]:
    attributes: dict[str, Any] = {"corpus": store.corpus, "categories": store.categories}
    for name in store.streams:
        own = store.stream(name).group.attrs
        attributes[name] = {
            "include_text": bool(own["include_text"]),
            **{key: json.loads(own[key]) for key in ("parameters", "provenance")},
        }
    return attributes


def _compare_utterances(first: FeatureStore, second: FeatureStore) -> Iterator[str]:
    tables = [store.utterances.set_index("utterance") for store in (first, second)]
    for here, there, table in (("first", "second", tables), ("second", "first", tables[::-1])):
        only = table[0].index.difference(table[1].index).tolist()
        if only:
            yield f"utterances: {_some(only)} in the {here} store and not in the {there}"
    yield from _only("utterances/", *(table.columns for table in tables))
    common = tables[0].index.intersection(tables[1].index)
    for column in tables[0].columns.intersection(tables[1].columns).sort_values():
        left, right = (table[column].loc[common] for table in tables)
        differs = (left != right) & ~(left.isna() & right.isna())
        if differs.any():
            yield f"utterances/{column}: differs in {_some(common[differs].tolist())}"


def _compare_streams(first: FeatureStore, second: FeatureStore) -> Iterator[str]:
    pairs = [
        (name, row, second.row_of[name])
        for name, row in first.row_of.items()
        if name in second.row_of
    ]
    yield from _only("", first.streams, second.streams)
    for name in sorted({*first.streams} & {*second.streams}):
        a, b = first.stream(name), second.stream(name)
        if a.sha256 != b.sha256:
            yield from _compare_stream(a, b, pairs)
    left, right = (store.votes for store in (first, second))
    differing = [
        name
        for name, i, j in pairs
        if first.categories == second.categories and not np.array_equal(left[i], right[j])
    ]
    if differing:
        yield f"votes: differ in {_some(differing)}"


def _compare_stream(a: Stream, b: Stream, pairs: list[tuple[str, int, int]]) -> Iterator[str]:
    if a.is_sequence != b.is_sequence or a.width != b.width or a.has_tokens != b.has_tokens:
        yield f"{a.name}: {_kind(a)} / {_kind(b)}"
        return
    yield from _only(f"{a.name}/", a.group, b.group)
    for name in sorted(set(a.group) & set(b.group) & {"names", "vectors", "vocabulary"}):
        left, right = a.group[name], b.group[name]
        if hashing.recorded(left) != hashing.recorded(right):
            yield f"{a.name}/{name}: differs ({len(left)} / {len(right)} rows)"
    for name in ALIGNED:
        if name in a.group and name in b.group:
            yield from _compare_rows(a, b, name, pairs)


def _only(prefix: str, first: Iterable[str], second: Iterable[str]) -> Iterator[str]:
    only_first = set(first) - set(second)
    for name in sorted(only_first | (set(second) - set(first))):
        yield f"{prefix}{name}: only in the {'first' if name in only_first else 'second'} store"


def _kind(stream: Stream) -> str:
    if stream.has_tokens:
        return "token ids"
    return f"{stream.width} values per {'step' if stream.is_sequence else 'utterance'}"


def _compare_rows(
    a: Stream, b: Stream, name: str, pairs: list[tuple[str, int, int]]
) -> Iterator[str]:
    types = [stream.group[name].dtype.name for stream in (a, b)]
    if types[0] != types[1]:
        yield f"{a.name}/{name}: {types[0]} / {types[1]}"
    lengths, values, largest, where = [], [], 0.0, ""
    for utterance, i, j in pairs:
        x, y = a.aligned(name, i), b.aligned(name, j)
        if x.shape != y.shape:
            lengths.append(utterance)
        elif not np.array_equal(x, y, equal_nan=x.dtype.kind == "f"):
            values.append(utterance)
            distance = float(np.nan_to_num(np.abs(x.astype(np.float64) - y)).max())
            if distance > largest:
                largest, where = distance, utterance
    if lengths:
        yield f"{a.name}/{name}: the number of steps differs in {_some(lengths)}"
    if values:
        difference = f"; the largest difference is {largest:.3g}, in {where}"
        is_id = a.group[name].dtype.kind in "iu"
        yield f"{a.name}/{name}: differs in {_some(values)}{'' if is_id else difference}"


def _some(names: list[str]) -> str:
    """The number of utterances, and the ids of the first ones."""
    shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return f"{len(names)} utterance{'s' if len(names) > 1 else ''} ({shown})"
