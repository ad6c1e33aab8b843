"""Checking a feature store: that its files are as they were written, and belong together."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np

from pipeline.features.checking import UNREADABLE, check, compare
from pipeline.features.stream import Stream
from pipeline.store import truncation
from pipeline.store.reading import TABLE, DamagedStoreError, open_checked
from pipeline.system import hashing

_GROUPS = ("utterances", "labels")


def verify(path: Path) -> list[str]:
    """Every fault of a store, or of one stream file, as a line; empty if it is sound.

    Lines name streams, datasets and utterances. Of a truncated file the rest is read.

    Parameters
    ----------
    path
        A folder, a packed store, or a stream file.

    Raises
    ------
    StoreError
        As :func:`pipeline.store.reading.open_checked`, but not for a file that is only cut off.
    """
    if not path.is_dir():
        return _verify_file(path)
    faults = _verify_file(path / TABLE)
    if faults:
        return faults
    with open_checked(path / TABLE) as file:
        ids = file["utterances/utterance"].asstr()[:].tolist()
        listed = json.loads(file.attrs["streams"])
    for modality, recorded in listed.items():
        for name, sha256 in recorded.items():
            stream = path / modality / f"{name}.h5"
            if not stream.exists():
                faults.append(f"{stream}: is missing")
                continue
            faults += _verify_file(stream, ids, sha256)
    return faults


def _verify_file(path: Path, ids: list[str] | None = None, sha256: str = "") -> list[str]:
    try:
        file = open_checked(path)
    except DamagedStoreError:
        if not (cut := truncation.missing(path)):
            raise
        faults = [
            f"{path.name}: is truncated: its last {cut} of {truncation.size(path)} bytes are lost"
        ]
        try:
            with truncation.padded(path) as file:
                return faults + _faults(path, file, ids, sha256)
        except UNREADABLE:
            return [*faults, f"{path.name}: nothing of the rest can be read"]
    with file:
        return _faults(path, file, ids, sha256)


def _faults(path: Path, file: h5py.File, ids: list[str] | None, sha256: str) -> list[str]:
    try:
        if "streams" in file.attrs:
            return _check_table(file)
        stream = Stream(path.stem, file)
        faults = check(stream, ids).faults
        if not faults and sha256 and stream.sha256 != sha256:
            faults = [f"{path.stem}: is not the stream that {TABLE} was made with"]
        return faults
    except UNREADABLE as error:
        return [f"{path.name}: cannot be read: {error}"]


def _check_table(file: h5py.File) -> list[str]:
    """Faults of utterances and labels, and of the streams of a packed store."""
    try:
        ids = file["utterances/utterance"].asstr()[:].tolist()
    except UNREADABLE as error:
        return [f"utterances/utterance: cannot be read: {error}"]
    faults, groups = [], {}
    if len(ids) != len(set(ids)):
        faults.append("utterances/utterance: names one twice")
    for name in _GROUPS:
        try:
            group = file[name]
            columns = [column for column in group if column != hashing.CHECKSUMS]
            wrong = [column for column in columns if len(group[column]) != len(ids)]
            faults += [
                f"{name}/{column}: {len(group[column])} rows for {len(ids)} utterances"
                for column in wrong
            ]
            if not wrong:
                faults += compare(group, name, ids, np.arange(len(ids) + 1), columns).faults
            groups[name] = hashing.recorded(group)
        except UNREADABLE as error:
            faults.append(f"{name}: cannot be read: {error}")
    try:
        if not faults and hashing.recorded(file) != hashing.whole(file, groups):
            return ["attributes: not as written"]
        listed = json.loads(file.attrs["streams"])
        if set(file) > set(_GROUPS):  # packed
            for modality, recorded in listed.items():
                for name, sha256 in recorded.items():
                    faults += _check_packed(file, modality, name, ids, sha256)
    except UNREADABLE as error:
        faults.append(f"attributes: cannot be read: {error}")
    return faults


def _check_packed(
    file: h5py.File, modality: str, name: str, ids: list[str], sha256: str
) -> list[str]:
    group = file.get(f"{modality}/{name}")
    if group is None:
        return [f"{name}: is missing"]
    stream = Stream(name, group)
    faults = check(stream, ids).faults
    if not faults and stream.sha256 != sha256:
        faults = [f"{name}: is not the stream that the store was made with"]
    return faults
