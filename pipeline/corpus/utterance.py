"""The utterance: what readers of corpora produce and extractors use."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

DIMENSIONS = ("valence", "activation", "dominance")
"""The rating dimensions, as columns of the utterance table."""

WITHIN = "within"
"""The place of an utterance that is part of a longer recording."""

COLUMNS = (
    *("dialog", "order", "speaker", "group", "gender", "scenario", "part"),
    *("start", "end", "emotion", "text"),
)
"""The columns of the utterance table that are attributes of :class:`Utterance`."""


@dataclass(frozen=True)
class Source:
    """A recording or a video.

    Attributes
    ----------
    path
        Relative to the root of the corpus.
    place
        In a video, the place of the speaker: ``left``, ``right`` or ``whole``. In a recording,
        :data:`WITHIN` if the utterance is only the part from start to end, empty if it is all of
        it.
    sha256
        Hash of the content of the file; empty if unknown.
    """

    path: str
    place: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Utterance:
    """One utterance; attributes that the corpus does not have are empty.

    Extractors get only the attributes in the table of their modality; the others are empty.

    Attributes
    ----------
    id, dialog
        Its name, and the name of its dialog.
    start, end
        Seconds in the recordings.
    text
        The transcript.
    audio, video
        The recording and the video; None if missing.
    order
        Position in the dialog; any ascending numbers.
    speaker, group
        The speaker, and the group that a fold leaves out together, such as a session of IEMOCAP.
    gender
        ``F`` or ``M``.
    emotion
        Code of the corpus; empty for none.
    part
        Part of the official split: ``train``, ``development`` or ``test``.
    scenario
        Scenario of the corpus, such as ``improvised``.
    votes
        Number of raters who chose each code.
    dimensions
        Ratings by name, one of :data:`DIMENSIONS`.
    """

    id: str
    dialog: str
    start: float = 0.0
    end: float = 0.0
    text: str = ""
    audio: Source | None = None
    video: Source | None = None
    order: int = 0
    speaker: str = ""
    group: str = ""
    gender: str = ""
    emotion: str = ""
    part: str = ""
    scenario: str = ""
    votes: Mapping[str, float] = field(default_factory=dict)
    dimensions: Mapping[str, float] = field(default_factory=dict)


def from_table(rows: pd.DataFrame) -> list[Utterance]:
    """The utterances of a table with one row per utterance, in the order of the rows.

    The columns are those of the utterance table or of a modality
    (:data:`pipeline.corpus.table.TABLES`); ``utterance`` and ``dialog`` are required.
    """
    return [
        Utterance(
            id=row["utterance"],
            audio=_source(row, "audio", "audio_place"),
            video=_source(row, "video", "place"),
            dimensions={
                name: row[name] for name in DIMENSIONS if not math.isnan(row.get(name, math.nan))
            },
            **{name: row[name] for name in COLUMNS if name in row},
        )
        for row in rows.to_dict("records")
    ]


def _source(row: Mapping[Hashable, Any], name: str, place: str) -> Source | None:
    path = row.get(name, "")
    return Source(path, row.get(place, ""), row.get(f"{name}_sha256", "")) if path else None
