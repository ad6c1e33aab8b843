"""Comparing a stream with the hashes that were recorded when it was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import h5py
import numpy as np

from pipeline.features.stream import ALIGNED, Stream
from pipeline.system import hashing

NAMED = 5  # utterances named in a fault

UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)
"""What h5py raises, as found by damaging files."""


@dataclass
class Damage:
    """How a group differs from what was written.

    Attributes
    ----------
    faults
        Lines for a person, which name datasets and utterances; empty if it is sound.
    rows
        The utterances whose rows are not as written or cannot be read.
    beyond
        Whether anything but rows of utterances is damaged, so that the rest is not to be trusted.
    """

    faults: list[str] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)
    beyond: bool = False


def check(stream: Stream, utterances: Sequence[str] | None = None) -> Damage:
    """Compare a stream with its hashes, reading all of it once.

    Parameters
    ----------
    utterances
        Ids that it must have, those of the table; None: its own.
    """
    name, group = stream.name, stream.group
    try:
        ids = stream.utterances
        if utterances is not None and ids != list(utterances):
            return Damage([f"{name}: its utterances are not those of the table"], beyond=True)
        fault = _layout_fault(stream, len(ids))
        if fault:
            return Damage([fault], beyond=True)
        return compare(group, name, ids, stream.offsets, ALIGNED)
    except UNREADABLE as error:
        return Damage([f"{name}: cannot be read: {error}"], beyond=True)


def _layout_fault(stream: Stream, number: int) -> str:
    """What is wrong with the places of the rows; empty if nothing is."""
    group = stream.group
    if "values" not in group:
        return f"{stream.name}: has no values"
    offsets = stream.offsets
    if len(offsets) != number + 1 or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        return f"{stream.name}/offsets: not {number + 1} values rising from 0"
    for name in ALIGNED:
        if name in group and len(group[name]) != offsets[-1]:
            return f"{stream.name}/{name}: {len(group[name])} rows, not {offsets[-1]}"
    return ""


def compare(
    group: h5py.Group, name: str, ids: Sequence[str], rows: np.ndarray, aligned: Sequence[str]
) -> Damage:
    """Compare a group whose layout is sound with its hashes.

    Parameters
    ----------
    name
        What it is called in faults.
    ids
        [N] the utterances.
    rows, aligned
        As of :func:`pipeline.system.hashing.contents`.
    """
    if hashing.CHECKSUMS not in group or len(group[hashing.CHECKSUMS]) != len(ids):
        return Damage([f"{name}/{hashing.CHECKSUMS}: not {len(ids)} checksums"], beyond=True)
    found = hashing.contents(group, rows, aligned)
    changed = [
        key
        for key, sha256 in found.datasets.items()
        if sha256 is None or sha256 != hashing.recorded(group[key])
    ]
    if not changed and hashing.recorded(group) != hashing.whole(group, found.datasets):
        fault = f"{name}: an attribute or a dataset is changed, missing or added"
        return Damage([fault], beyond=True)
    which = ", ".join(f"{name}/{key}" for key in changed)
    damage = Damage(rows=set(found.unreadable))
    if found.unreadable:
        damage.faults.append(f"{which}: cannot be read in {some(found.unreadable, ids)}")
    differing = np.flatnonzero(group[hashing.CHECKSUMS][:] != found.crc32).tolist()
    damage.rows |= set(differing)
    if others := set(differing) - found.unreadable:
        # the checksums are a dataset like any other, and can be what is damaged
        where = which or f"{name}/{hashing.CHECKSUMS}"
        damage.faults.append(f"{where}: not as written in {some(others, ids)}")
    elif changed and not damage.faults:
        damage.faults.append(f"{which}: not as written")
    damage.beyond = any(key not in aligned for key in changed)
    return damage


def some(indices: set[int], ids: Sequence[str]) -> str:
    """The first utterances' names and how many more there are."""
    names = [ids[index] for index in sorted(indices)]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    plural = "s" if len(names) > 1 else ""
    return f"utterance{plural} {', '.join(names[:NAMED])}{more}"
