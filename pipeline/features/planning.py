"""What each stream of a modality needs computed: its extractor, made ready, and a key per dialog.

A dialog's key is a digest of all that decides its values: identity and provenance of the extractor,
what it has prepared from the whole corpus, the rows of the table and the hashes of the media, of
all dialogs that are read together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline import InputError
from pipeline.corpus.utterance import Utterance
from pipeline.features.extractor import Context, Extractor, State
from pipeline.features.hashing import digest
from pipeline.features.pretrained import of_stream
from pipeline.features.stream import SCHEMA_VERSION

Dialogs = Mapping[str, Sequence[Utterance]]


@dataclass(frozen=True)
class Plan:
    """What one stream needs.

    Attributes
    ----------
    modality, name
        The parameter ``<modality>.streams.<name>``.
    extractor, state
        What computes it.
    groups
        For each dialog those that are read together with it, itself among them.
    keys
        Of each dialog.
    attributes
        What the stream file says of itself.
    include_text
        Whether its file spells words.
    """

    modality: str
    name: str
    extractor: Extractor
    state: State
    groups: Mapping[str, tuple[str, ...]]
    keys: Mapping[str, str]
    attributes: Mapping[str, Any]
    include_text: bool

    def of(self, group: Sequence[str]) -> Plan:
        """The plan of one group of dialogs."""
        keys = {dialog: self.keys[dialog] for dialog in group}
        return replace(self, keys=keys, groups=dict.fromkeys(group, tuple(group)))


def plan(
    modality: str,
    name: str,
    extractor: Extractor,
    dialogs: Dialogs,
    context: Context,
    *,
    include_text: bool,
) -> Plan:
    """Prepare a stream and say what decides each dialog's values.

    Raises
    ------
    WeightsError
        If the extractor lacks what it needs; names the parameter.
    """
    utterances = [utterance for members in dialogs.values() for utterance in members]
    with of_stream(modality, name):
        state = extractor.prepare(utterances, context)
        identity, provenance = extractor.identity(context), extractor.provenance(context)
    if extractor.kind == "utterance":
        state = {**state, "names": np.array(extractor.names())}
    prepared = {
        key: [array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).hexdigest()]
        for key, array in state.items()
    }
    decisive = digest([SCHEMA_VERSION, identity, provenance, prepared])
    groups = _groups(dialogs, extractor.group)
    rows = {dialog: list(map(repr, members)) for dialog, members in dialogs.items()}
    keys = {
        dialog: digest([decisive, dialog, {other: rows[other] for other in group}])
        for dialog, group in groups.items()
    }
    attributes = {
        "extractor": extractor.extractor,
        "parameters": {name: getattr(context.shared, name) for name in extractor.reads}
        | extractor.parameters(),
        "identity": identity,
        "provenance": provenance,
        "sources": digest(rows),
    }
    spells = include_text or extractor.kind != "tokens"
    return Plan(modality, name, extractor, state, groups, keys, attributes, spells)


def dialogs_of(utterances: Sequence[Utterance]) -> dict[str, list[Utterance]]:
    """The utterances of each dialog, in the table's order."""
    dialogs: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        dialogs.setdefault(utterance.dialog, []).append(utterance)
    if not utterances:
        raise InputError("the table has no utterance; `dvc repro parse` says why")
    if [utterance for members in dialogs.values() for utterance in members] != list(utterances):
        raise InputError("the utterances of a dialog are not consecutive; sort the table by id")
    return dialogs


def _groups(dialogs: Dialogs, size: int) -> dict[str, tuple[str, ...]]:
    """For each dialog the group it is in: consecutive dialogs of `size` utterances or more.

    The table alone says which, since the last bits of a value depend on what is in its batch, and
    must not on what an earlier run has finished.
    """
    groups: list[list[str]] = []
    count = size
    for dialog, members in dialogs.items():
        if count >= size:
            groups.append([])
            count = 0
        groups[-1].append(dialog)
        count += len(members)
    return {dialog: tuple(group) for group in groups for dialog in group}
