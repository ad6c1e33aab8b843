"""Comparison of a stream with the hashes that were recorded when it was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import h5py
import numpy as np

from pipeline.features import hashing
from pipeline.features.stream import ALIGNED, Stream

NAMED = 5  # utterances named in a message

UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)
"""Errors that h5py raises for damaged files, found by experiment."""


@dataclass
class Damage:
    """Differences between a group and its recorded hashes.

    Attributes
    ----------
    faults
        Messages that name datasets and utterances; empty if there is no damage.
    rows
        Indices of the utterances whose rows are damaged or cannot be read.
    beyond
        Whether anything except rows of utterances is damaged, so that no row can be trusted.
    """

    faults: list[str] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)
    beyond: bool = False


def check(stream: Stream, utterances: Sequence[str] | None = None) -> Damage:
    """Compare a stream with its hashes; this reads it once completely.

    Parameters
    ----------
    utterances
        The ids that the stream must have, those of the table; None for any.
    """
    name, group = stream.name, stream.group
    try:
        ids = stream.utterances
        if utterances is not None and ids != list(utterances):
            return Damage([f"{name}: its utterances are not those of the table"], beyond=True)
        if fault := _layout_fault(stream, len(ids)):
            return Damage([fault], beyond=True)
        return compare(group, name, ids, stream.offsets, ALIGNED)
    except UNREADABLE as error:
        return Damage([f"{name}: cannot be read: {error}"], beyond=True)


def _layout_fault(stream: Stream, number: int) -> str:
    """Why rows cannot be assigned to utterances; empty if they can."""
    group = stream.group
    if "values" not in group:
        return f"{stream.name}: has no values"
    offsets = stream.offsets
    if len(offsets) != number + 1 or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        return f"{stream.name}/offsets: must be {number + 1} ascending values from 0"
    for name in ALIGNED:
        if name in group and len(group[name]) != offsets[-1]:
            return f"{stream.name}/{name}: {len(group[name])} rows, not {offsets[-1]}"
    return ""


def compare(
    group: h5py.Group, name: str, ids: Sequence[str], rows: np.ndarray, aligned: Sequence[str]
) -> Damage:
    """Compare a group with a valid layout with its hashes.

    Parameters
    ----------
    name
        The name of the group in messages.
    ids
        [N] ids of the utterances.
    rows, aligned
        As of :func:`pipeline.features.hashing.contents`.
    """
    if hashing.CHECKSUMS not in group or len(group[hashing.CHECKSUMS]) != len(ids):
        return Damage([f"{name}/{hashing.CHECKSUMS}: not {len(ids)} checksums"], beyond=True)
    hashes = hashing.contents(group, rows, aligned)
    changed = [
        key
        for key, sha256 in hashes.datasets.items()
        if sha256 is None or sha256 != hashing.recorded(group[key])
    ]
    if not changed and hashing.recorded(group) != hashing.whole(group, hashes.datasets):
        fault = f"{name}: an attribute or a dataset is changed, missing or added"
        return Damage([fault], beyond=True)
    which = ", ".join(f"{name}/{key}" for key in changed)
    differing = set(np.flatnonzero(group[hashing.CHECKSUMS][:] != hashes.crc32).tolist())
    damage = Damage(rows=hashes.unreadable | differing)
    if hashes.unreadable:
        damage.faults.append(f"{which}: cannot be read in {some(hashes.unreadable, ids)}")
    if others := differing - hashes.unreadable:
        # the checksums themselves may be damaged
        where = which or f"{name}/{hashing.CHECKSUMS}"
        damage.faults.append(f"{where}: does not match its hash in {some(others, ids)}")
    elif changed and not damage.faults:
        damage.faults.append(f"{which}: does not match its hash")
    damage.beyond = any(key not in aligned for key in changed)
    return damage


def some(indices: set[int], ids: Sequence[str]) -> str:
    """The ids of the first utterances, and the number of further ones."""
    names = [ids[index] for index in sorted(indices)]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    plural = "s" if len(names) > 1 else ""
    return f"utterance{plural} {', '.join(names[:NAMED])}{more}"
