"""Checking a feature store: its layout, its values, and that its content is as it was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from pipeline.hdf5 import rows_a_block
from pipeline.store import hashing, truncation
from pipeline.store.reading import DamagedStoreError, Stream, open_checked

_NAMED = 5  # utterances named in a fault

# what h5py raises, as found by damaging files
_UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)


def verify(path: Path) -> list[str]:
    """Every fault of a store, or of one modality's file, as a line; empty if it is sound.

    A line names stream, dataset and utterances. Hashes are compared where they are recorded, which
    every store has and a modality's file has not. Of a truncated file the rest is read.

    Raises
    ------
    StoreError
        As :func:`pipeline.store.open_checked`, but not for a file that is only cut off.
    """
    try:
        file = open_checked(path)
    except DamagedStoreError:
        if not (cut := truncation.missing(path)):
            raise
        faults = [
            f"the file is truncated: its last {cut} of {truncation.size(path)} bytes are lost"
        ]
        try:
            with truncation.padded(path) as file:
                return faults + _faults(file, hashed=True)
        except _UNREADABLE:
            return [*faults, "nothing of the rest can be read"]
    with file:
        return _faults(file, hashed="extractor" not in file.attrs)


def check(file: h5py.File) -> list[str]:
    """Faults of the layout and the values of an open file; no hash is compared."""
    return _faults(file, hashed=False)


def _faults(file: h5py.File, *, hashed: bool) -> list[str]:
    try:
        ids = file["utterances/id"].asstr()[:].tolist()
    except KeyError:
        return ["utterances/id is missing"]
    except _UNREADABLE as error:
        return [f"utterances/id: cannot be read: {error}"]
    faults = []
    if ids != sorted(set(ids)):
        faults.append("utterances/id: not unique and sorted")
    groups: dict[str, str] = {}
    for name in ["utterances", *sorted(set(file) - {"utterances"})]:
        try:
            faults += _check_group(file[name], ids, groups if hashed else None)
        except _UNREADABLE as error:
            faults.append(f"{name}: cannot be read: {error}")
    if hashed and not faults:
        faults += _check_whole(file, groups)
    return faults


def _check_group(group: h5py.Group, ids: list[str], groups: dict[str, str] | None) -> list[str]:
    """Faults of the table or of a stream; adds its hash to `groups`, if that is given."""
    name = group.name.strip("/")
    if name == "utterances":
        faults = [
            f"{name}/{column}: {len(dataset)} rows for {len(ids)} utterances"
            for column, dataset in group.items()
            if len(dataset) != len(ids)
        ]
    else:
        faults = _check_layout(Stream(name, group), ids)
    if faults:
        return faults
    if name != "utterances":
        faults = _check_values(Stream(name, group), ids)
    if groups is None:
        return faults
    found = hashing.contents(group, len(ids))
    groups[name] = found.sha256
    return faults + _check_hashes(group, name, found, ids)


def _check_layout(stream: Stream, ids: list[str]) -> list[str]:
    if "values" not in stream.group:
        return [f"{stream.name}: has no values"]
    faults = []
    if stream.is_sequence:
        offsets = stream.offsets
        if len(offsets) != len(ids) + 1 or offsets[0] != 0 or (np.diff(offsets) < 0).any():
            return [f"{stream.name}/offsets: not {len(ids) + 1} values rising from 0"]
        rows = int(offsets[-1])
    else:
        rows = len(ids)
        names = stream.group.get("names")
        if names is not None and len(names) != stream.width:
            faults.append(f"{stream.name}/names: {len(names)} names for {stream.width} values")
    for name in hashing.ALIGNED:
        if name in stream.group and len(stream.group[name]) != rows:
            faults.append(f"{stream.name}/{name}: {len(stream.group[name])} rows, not {rows}")
    vocabulary = stream.group.get("vocabulary")
    if stream.has_tokens and vocabulary is not None and len(vocabulary) != len(stream.vectors):
        faults.append(
            f"{stream.name}/vocabulary: {len(vocabulary)} strings for {len(stream.vectors)} vectors"
        )
    return faults


def _check_values(stream: Stream, ids: list[str]) -> list[str]:
    """Values must be finite, token ids must be in the vocabulary."""
    faults = []
    if stream.has_tokens and not np.isfinite(stream.vectors).all():
        row = int(np.argmin(np.isfinite(stream.vectors).all(axis=1)))
        faults.append(f"{stream.name}/vectors: a value that is not finite in row {row}")
    for name in hashing.ALIGNED:
        if name not in stream.group:
            continue
        dataset = stream.group[name]
        is_wrong, what = _rule(stream, dataset)
        step = rows_a_block(dataset)
        for start in range(0, len(dataset), step):
            try:
                bad = is_wrong(dataset[start : start + step])
            except (OSError, RuntimeError):
                faults.append(f"{stream.name}/{name}: some of it cannot be read")
                break
            if bad.any():
                row = start + int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))
                utterance = ids[np.searchsorted(stream.offsets, row, "right") - 1]
                faults.append(f"{stream.name}/{name}: {what} in utterance {utterance}")
                break
    return faults


def _rule(stream: Stream, dataset: h5py.Dataset) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """What no value of a dataset may be, and its name."""
    if dataset.dtype.kind not in "iu":
        return lambda block: ~np.isfinite(block), "a value that is not finite"
    # a stream may have its vectors without its vocabulary, where the store holds no text
    size = len(stream.group["vectors" if stream.has_tokens else "vocabulary"])
    return lambda block: (block < 0) | (block >= size), "a token outside the vocabulary"


def _check_hashes(
    group: h5py.Group, name: str, found: hashing.Contents, ids: list[str]
) -> list[str]:
    """Compare what a group holds with the hashes recorded in it."""
    changed = [
        key
        for key, sha256 in found.datasets.items()
        if sha256 is None or sha256 != hashing.recorded(group[key])
    ]
    which = ", ".join(f"{name}/{key}" for key in changed)
    if "crc32" not in group or len(group["crc32"]) != len(ids):
        return [f"{name}/crc32: not {len(ids)} checksums"]
    faults = []
    if found.unreadable:
        faults.append(f"{which}: cannot be read in {_some(found.unreadable, ids)}")
    differing = set(np.flatnonzero(group["crc32"][:] != found.crc32).tolist()) - found.unreadable
    if differing:
        # the checksums are a dataset like any other, and can be what is damaged
        faults.append(f"{which or f'{name}/crc32'}: not as written in {_some(differing, ids)}")
    elif changed and not faults:
        faults.append(f"{which}: not as written")
    if not faults and hashing.recorded(group) != found.sha256:
        faults.append(f"{name}: a dataset is missing or added, or the group's hash is damaged")
    return faults


def _some(indices: set[int], ids: list[str]) -> str:
    """The first utterances' names and how many more there are."""
    names = [ids[index] for index in sorted(indices)]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    plural = "s" if len(names) > 1 else ""
    return f"utterance{plural} {', '.join(names[:_NAMED])}{more}"


def _check_whole(file: h5py.File, groups: dict[str, str]) -> list[str]:
    try:
        if hashing.recorded(file) != hashing.whole(file, groups):
            return ["attributes: not as written, or a stream is missing or added"]
    except _UNREADABLE as error:
        return [f"attributes: cannot be read: {error}"]
    return []
