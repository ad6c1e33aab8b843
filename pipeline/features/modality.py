"""The streams of one modality as one extractor: each dialog is read once for all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.corpus.utterance import Utterance, from_table
from pipeline.features.extraction import Arrays, Problem
from pipeline.features.extractor import Context, Extractor, State, Steps
from pipeline.weights import of_stream


class Modality:
    """Some streams of a table; an extractor of :mod:`pipeline.features.extraction`.

    What needs the texts of the whole table is prepared here at once. An extractor that reads groups
    of dialogs together gets the same groups in every run: the table alone says which, since the
    last bits of a value depend on what is in its batch, and must not on what an earlier run has
    finished.

    Parameters
    ----------
    name
        The group of ``params.yaml``; for messages.
    streams
        The extractors, by stream.
    context
        Where they run.
    table
        One row per utterance, with what :func:`pipeline.corpus.utterance.from_table` reads.

    Raises
    ------
    WeightsError
        If one of them lacks what it needs; names the parameter.
    """

    def __init__(
        self, name: str, streams: Mapping[str, Extractor], context: Context, table: pd.DataFrame
    ) -> None:
        self._name = name
        self._streams = streams
        self._context = context
        utterances = from_table(table)
        dialogs: dict[str, list[Utterance]] = {}
        for utterance in utterances:
            dialogs.setdefault(utterance.dialog, []).append(utterance)
        texts = [utterance.text for utterance in utterances]
        together = any(texts) or any(extractor.group > 1 for extractor in streams.values())
        listed = "\n".join(map(repr, utterances)) if together else ""
        self._together = hashlib.sha256(listed.encode()).hexdigest() if together else ""
        self._states: dict[str, State] = {}
        for stream, extractor in streams.items():
            with of_stream(name, stream):
                self._states[stream] = extractor.prepare(texts, context)
        self._groups = {
            stream: _groups(dialogs, extractor.group) for stream, extractor in streams.items()
        }
        self._known: dict[str, dict[str, list[Steps]]] = {stream: {} for stream in streams}

    def identity(self) -> dict[str, Any]:
        """Identity and provenance of each stream, and a digest of all utterances where it counts.

        It does where there are texts, of which states are prepared, or groups of dialogs.
        """
        found = {}
        for stream, extractor in self._streams.items():
            with of_stream(self._name, stream):
                found[stream] = {
                    "identity": extractor.identity(self._context),
                    "provenance": extractor.provenance(self._context),
                    "utterances": self._together,
                }
        return found

    def sources(self, rows: pd.DataFrame) -> list[Path]:
        """List the media files that `rows` are read from; they may be missing."""
        found = {
            source.path: self._context.root / source.path
            for utterance in from_table(rows)
            for source in (utterance.audio, utterance.video)
            if source
        }
        return [found[path] for path in sorted(found)]

    def dialog(self, rows: pd.DataFrame) -> tuple[Arrays, list[Problem]]:
        """Features of all utterances of one dialog, and what is missing or cut in them."""
        arrays: Arrays = {}
        # of each utterance a set in order, since streams may share a problem
        problems: dict[str, dict[str, None]] = {utterance: {} for utterance in rows["utterance"]}
        for stream, extractor in self._streams.items():
            steps = self._extract(stream, extractor, str(rows["dialog"].iloc[0]))
            arrays |= {f"{stream}/{name}": array for name, array in _arrays(extractor, steps)}
            for utterance, step in zip(rows["utterance"], steps, strict=True):
                if step.problem:
                    problems[utterance][step.problem] = None
        return arrays, [
            Problem(utterance, reason) for utterance in problems for reason in problems[utterance]
        ]

    def _extract(self, stream: str, extractor: Extractor, dialog: str) -> list[Steps]:
        known = self._known[stream]
        if dialog not in known:
            known.clear()  # never two groups in memory
            group = self._groups[stream][dialog]
            together = [utterance for members in group.values() for utterance in members]
            with of_stream(self._name, stream):
                found = extractor.extract(together, self._states[stream], self._context)
            steps = iter(found)
            for name, members in group.items():
                known[name] = [next(steps) for _ in members]
        return known.pop(dialog)

    def constants(self) -> Arrays:
        """What was prepared for each stream, and the names of its values."""
        found: Arrays = {}
        for stream, extractor in self._streams.items():
            found |= {f"{stream}/{name}": array for name, array in self._states[stream].items()}
            if extractor.kind == "utterance":
                found[f"{stream}/names"] = np.array(extractor.names())
        return found


def _groups(
    dialogs: Mapping[str, list[Utterance]], size: int
) -> dict[str, dict[str, list[Utterance]]]:
    """For each dialog the group it is in: consecutive dialogs of `size` utterances or more."""
    groups: dict[str, dict[str, list[Utterance]]] = {}
    group: dict[str, list[Utterance]] = {}
    for dialog, utterances in dialogs.items():
        if sum(map(len, group.values())) >= size:
            group = {}
        group[dialog] = utterances
        groups[dialog] = group
    return groups


def _arrays(extractor: Extractor, steps: list[Steps]) -> list[tuple[str, np.ndarray]]:
    """The steps of a dialog as arrays by name, ready to be joined with those of others."""
    if extractor.kind == "utterance":
        values = np.stack([step.values for step in steps])
        # NaN is what is not there; infinity is a fault, and the store refuses it
        return [("values", np.where(np.isnan(values), np.float32(0), values))]
    arrays = [
        ("values", np.concatenate([step.values for step in steps])),
        ("lengths", np.array([len(step.values) for step in steps], np.int64)),
    ]
    for name in ("times", "tokens"):
        given = [array for step in steps if (array := getattr(step, name)) is not None]
        if given:
            arrays.append((name, np.concatenate(given)))
    return arrays
