"""The plan of a stream: its prepared extractor, and one key per dialog.

The key of a dialog is a digest of all that determines its values: the identity, provenance and
state of the extractor, and the table rows and media hashes of all dialogs in its group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline import InputError
from pipeline.corpus.utterance import Utterance
from pipeline.features.extractor import Context, Extractor, NetworkExtractor, State
from pipeline.features.hashing import digest
from pipeline.features.pretrained import of_stream
from pipeline.features.stream import SCHEMA_VERSION

Dialogs = Mapping[str, Sequence[Utterance]]


@dataclass(frozen=True)
class Plan:
    """The plan of one stream.

    Attributes
    ----------
    modality, name
        Of the parameter ``<modality>.streams.<name>``.
    extractor, state
        The extractor, and its state for this corpus.
    groups
        The group of each dialog: the dialogs that are extracted together, including itself.
    keys
        The key of each dialog.
    attributes
        Attributes of the stream file.
    include_text
        Whether the stream file has tokens and a vocabulary; true for streams without tokens.
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
        """The plan for one group of dialogs."""
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
    """Prepare an extractor, and compute the keys of all dialogs.

    Raises
    ------
    WeightsError
        If something is missing that the extractor needs; the message names the parameter.
    """
    utterances = [utterance for members in dialogs.values() for utterance in members]
    with of_stream(modality, name):
        state = extractor.prepare(utterances, context)
        if isinstance(extractor, NetworkExtractor):
            extractor = extractor.fitted(utterances, context)
        identity, provenance = extractor.identity(context), extractor.provenance(context)
        layers = extractor.layer_numbers()
    if extractor.kind == "utterance":
        state = {**state, "names": np.array(extractor.names())}
    prepared = {
        key: [array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).hexdigest()]
        for key, array in state.items()
    }
    shared = digest([SCHEMA_VERSION, identity, provenance, prepared])
    groups = _groups(dialogs, extractor.group)
    rows = {dialog: list(map(repr, members)) for dialog, members in dialogs.items()}
    keys = {
        dialog: digest([shared, dialog, {other: rows[other] for other in group}])
        for dialog, group in groups.items()
    }
    attributes: dict[str, Any] = {
        "extractor": extractor.extractor,
        "parameters": {name: getattr(context.shared, name) for name in extractor.reads}
        | extractor.parameters(),
        "identity": identity,
        "provenance": provenance,
        "sources": digest(rows),
    }
    if len(layers) > 1:
        attributes["layers"] = layers
    include_text = include_text or extractor.kind != "tokens"
    return Plan(modality, name, extractor, state, groups, keys, attributes, include_text)


def dialogs_of(utterances: Sequence[Utterance]) -> dict[str, list[Utterance]]:
    """The utterances of each dialog, in the order of the table.

    Raises
    ------
    InputError
        If there are no utterances, or those of a dialog are not consecutive.
    """
    dialogs: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        dialogs.setdefault(utterance.dialog, []).append(utterance)
    if not utterances:
        raise InputError("the table has no utterance; `dvc repro parse` says why")
    if [utterance for members in dialogs.values() for utterance in members] != list(utterances):
        raise InputError("the utterances of a dialog are not consecutive; sort the table by id")
    return dialogs


def _groups(dialogs: Dialogs, size: int) -> dict[str, tuple[str, ...]]:
    """The group of each dialog: consecutive dialogs with at least `size` utterances together.

    Groups depend on the table only, since the last bits of a value depend on the other utterances
    in its batch, and must not depend on which dialogs an earlier run has finished.
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
