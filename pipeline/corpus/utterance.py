"""An utterance, as extractors see it: of any corpus, whatever its folders look like."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Source:
    """A recording or a video.

    Attributes
    ----------
    path
        Below the corpus's root.
    place
        Of a video, where the speaker is: ``left``, ``right`` or ``whole``; empty of a recording.
    sha256
        Of its content; empty where it is not known.
    """

    path: str
    place: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Utterance:
    """One utterance; a modality's table has what its extractors read, the rest is empty.

    Attributes
    ----------
    id, dialog
        Its name, and that of the dialog it belongs to.
    start, end
        Seconds in the dialog.
    text
        Its transcript; empty where there is none.
    audio, video
        Where it is heard and seen; None where the corpus lacks it.
    """

    id: str
    dialog: str
    start: float = 0.0
    end: float = 0.0
    text: str = ""
    audio: Source | None = None
    video: Source | None = None


def from_table(rows: pd.DataFrame) -> list[Utterance]:
    """The utterances of a table with one row per utterance, in its order.

    Needs the columns ``utterance`` and ``dialog``; reads ``start``, ``end``, ``text``, ``audio``,
    ``video`` and ``side`` where they are there.
    """
    result = []
    for row in rows.to_dict("records"):
        audio, video = row.get("audio", ""), row.get("video", "")
        result.append(
            Utterance(
                id=row["utterance"],
                dialog=row["dialog"],
                start=row.get("start", 0.0),
                end=row.get("end", 0.0),
                text=row.get("text", ""),
                audio=Source(audio) if audio else None,
                video=Source(video, row["side"]) if video else None,
            )
        )
    return result
