"""An utterance, as readers of corpora write it and extractors see it, whatever the folders are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

DIMENSIONS = ("valence", "activation", "dominance")
"""The dimensions that an utterance can be rated on, as columns of the utterance table."""

WITHIN = "within"
"""The place of an utterance in a longer recording."""


@dataclass(frozen=True)
class Source:
    """A recording or a video.

    Attributes
    ----------
    path
        Below the corpus's root.
    place
        Of a video, where the speaker is: ``left``, ``right`` or ``whole``. Of a recording
        :data:`WITHIN` where the utterance is a part of it, from its start to its end; empty where
        the recording is of the utterance alone.
    sha256
        Hash of the file's content; empty where it is not known.
    """

    path: str
    place: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Utterance:
    """One utterance; what a corpus does not have is empty.

    The table of a modality has what its extractors read, and the rest is empty there.

    Attributes
    ----------
    id, dialog
        Its name, and that of the dialog it belongs to.
    start, end
        Seconds in the recordings below.
    text
        Its transcript.
    audio, video
        Where it is heard and seen; None where the corpus lacks it.
    order
        Its place in the dialog; any ascending numbers.
    speaker, group
        Who speaks, and what a fold leaves out together, such as a session of IEMOCAP.
    gender
        ``F`` or ``M``.
    emotion
        The corpus's own code; empty for none.
    part
        Its part of the corpus's official split: ``train``, ``development`` or ``test``.
    scenario
        Its part of the corpus's own division, such as ``improvised``.
    votes
        How many raters chose each code.
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
    """The utterances of a table with one row per utterance, in its order.

    Needs the columns ``utterance`` and ``dialog``. The others are read where they are there: those
    named as attributes of :class:`Utterance`, its dimensions, and ``audio_place``,
    ``audio_sha256``, ``place`` and ``video_sha256`` of its sources.
    """
    result = []
    for row in rows.to_dict("records"):
        audio, video = row.get("audio", ""), row.get("video", "")
        result.append(
            Utterance(
                id=row["utterance"],
                dialog=row["dialog"],
                order=row.get("order", 0),
                speaker=row.get("speaker", ""),
                group=row.get("group", ""),
                gender=row.get("gender", ""),
                start=row.get("start", 0.0),
                end=row.get("end", 0.0),
                text=row.get("text", ""),
                emotion=row.get("emotion", ""),
                audio=Source(audio, row.get("audio_place", ""), row.get("audio_sha256", ""))
                if audio
                else None,
                video=Source(video, row.get("place", ""), row.get("video_sha256", ""))
                if video
                else None,
                part=row.get("part", ""),
                scenario=row.get("scenario", ""),
                dimensions={
                    name: row[name]
                    for name in DIMENSIONS
                    if not math.isnan(row.get(name, math.nan))
                },
            )
        )
    return result
