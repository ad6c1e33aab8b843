"""Who sits where: the actor who wears the markers is on one side of the video, a parameter.

A dialog's id says who wears them, an utterance's id who speaks.
"""

from __future__ import annotations

import pandas as pd

from pipeline.corpus.iemocap import formats

_OPPOSITE = {"left": "right", "right": "left"}


def place(dialog: formats.Dialog, speaker: str, marked_actor: str) -> str:
    """The half of the video where a speaker, ``F`` or ``M``, is seen.

    Parameters
    ----------
    dialog
        The dialog.
    speaker
        ``F`` or ``M``.
    marked_actor
        The side of the actor with the markers, ``left`` or ``right``.
    """
    return marked_actor if speaker == dialog.marked else _OPPOSITE[marked_actor]


def seated(rows: pd.DataFrame, marked_actor: str) -> pd.DataFrame:
    """The utterance table with each speaker's place, whatever it was parsed with."""
    places = [
        place(known, speaker, marked_actor) if (known := formats.dialog(dialog)) and video else ""
        for dialog, speaker, video in zip(
            rows["dialog"], rows["gender"], rows["video"], strict=True
        )
    ]
    return rows.assign(place=places)


def notes(dialog: str, marked_actor: str) -> list[str]:
    """What to look for in a preview of a dialog, and what to set if it is not there."""
    known = formats.dialog(dialog)
    actor = {"F": "the woman", "M": "the man"}.get(known.marked if known else "", "the actor")
    return [
        f"By its name, {actor} wears the markers in this dialog; that side is taken to be the "
        f"{marked_actor} (corpus.iemocap.marked_actor).",
        "Every row should show its own speaker, talking. If the rows show the listener, set "
        f"corpus.iemocap.marked_actor to {_OPPOSITE[marked_actor]}.",
    ]


def remark(dialog: str, speaker: str) -> str:
    """What a preview says of a speaker beside the name."""
    known = formats.dialog(dialog)
    return "wears the markers" if known and known.marked == speaker else ""
