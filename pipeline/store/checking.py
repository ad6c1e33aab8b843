"""Verification of a feature store: its files are unchanged and belong together."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np

from pipeline.features import hashing
from pipeline.features.checking import UNREADABLE, check, compare
from pipeline.features.stream import Stream
from pipeline.store import truncation
from pipeline.store.reading import TABLE, DamagedStoreError, open_checked

_GROUPS = ("utterances", "labels")


def verify(path: Path) -> list[str]:
    """All faults of a store or a stream file, one per line; empty if it is sound.

    Lines name streams, datasets and utterances. The readable part of a truncated file is checked.

    Parameters
    ----------
    path
        A folder, a packed store, or a stream file.

    Raises
    ------
    StoreError
        As :func:`pipeline.store.reading.open_checked`, but not for a truncated file.
    """
    if not path.is_dir():
        return _verify_file(path)
    if faults := _verify_file(path / TABLE):
        return faults
    with open_checked(path / TABLE) as file:
        ids = file["utterances/utterance"].asstr()[:].tolist()
        listed = json.loads(file.attrs["streams"])
    for modality, recorded in listed.items():
        for name, sha256 in recorded.items():
            stream = path / modality / f"{name}.h5"
            if stream.exists():
                faults += _verify_file(stream, ids, sha256)
            else:
                faults.append(f"{stream}: is missing")
    return faults


def _verify_file(path: Path, ids: list[str] | None = None, sha256: str = "") -> list[str]:
    try:
        file = open_checked(path)
    except DamagedStoreError:
        if not (cut := truncation.missing(path)):
            raise
        total = truncation.size(path)
        fault = f"{path.name}: is truncated: its last {cut} of {total} bytes are lost"
        try:
            with truncation.padded(path) as file:
                return [fault, *_faults(path, file, ids, sha256)]
        except UNREADABLE:
            return [fault, f"{path.name}: nothing of the rest can be read"]
    with file:
        return _faults(path, file, ids, sha256)


def _faults(path: Path, file: h5py.File, ids: list[str] | None, sha256: str) -> list[str]:
    try:
        if "streams" in file.attrs:
            return _check_table(file)
        return _check_stream(Stream(path.stem, file), ids, sha256)
    except UNREADABLE as error:
        return [f"{path.name}: cannot be read: {error}"]


def _check_stream(stream: Stream, ids: list[str] | None, sha256: str) -> list[str]:
    faults = check(stream, ids).faults
    if not faults and sha256 and stream.sha256 != sha256:
        faults = [f"{stream.name}: is not the stream that the store was made with"]
    return faults


def _check_table(file: h5py.File) -> list[str]:
    """Faults of utterances and labels, and of the streams of a packed store."""
    try:
        ids = file["utterances/utterance"].asstr()[:].tolist()
    except UNREADABLE as error:
        return [f"utterances/utterance: cannot be read: {error}"]
    faults, groups = [], {}
    if len(ids) != len(set(ids)):
        faults.append("utterances/utterance: has an id twice")
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
            return ["attributes: does not match its hash"]
        listed = json.loads(file.attrs["streams"])
        if set(file) > set(_GROUPS):  # packed
            for modality, recorded in listed.items():
                for name, sha256 in recorded.items():
                    if group := file.get(f"{modality}/{name}"):
                        faults += _check_stream(Stream(name, group), ids, sha256)
                    else:
                        faults.append(f"{name}: is missing")
    except UNREADABLE as error:
        faults.append(f"attributes: cannot be read: {error}")
    return faults
