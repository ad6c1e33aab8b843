"""Ids and line formats of the release, as pure functions of strings.

Each ``*_line`` function returns None if the line does not match; no function raises an error.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_DIALOG = r"Ses0([1-5])([FM])_(impro|script)([0-9]+)([a-z]*)(?:_([0-9]+)([a-z]*))?"
_NUMBER = r"([0-9]{1,6}(?:\.[0-9]{1,9})?)"
_SCORE = r"\s*([0-9]{1,3}(?:\.[0-9]{1,9})?)?\s*"

_DIALOG_ID = re.compile(_DIALOG)
_TURN = re.compile(r"[FM][0-9]{3,}")
_UNNUMBERED_ID = re.compile(rf"{_DIALOG}_[FM]XX[0-9]*")
_LABEL = re.compile(
    rf"\[\s*{_NUMBER}\s*-\s*{_NUMBER}\s*\]\s+(\S+)\s+(\S+)\s+"
    rf"\[\s*{_NUMBER}\s*,\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\]\s*"
)
_TRANSCRIPT = re.compile(r"(Ses[^\s:\[\]]+)\s*(?:\[[^\]]*\])?\s*:(.*)")
_VOTE = re.compile(r"([CA])-([EFM][0-9]+):\s*([^()]*?)\s*(?:\((.*)\))?\s*")
_SCORES = re.compile(rf"val{_SCORE};\s*act{_SCORE};\s*dom{_SCORE};?")

OPPOSITE = {"left": "right", "right": "left"}


@dataclass(frozen=True, order=True)
class Dialog:
    """The parts of the id of a dialog.

    Attributes
    ----------
    name
        The id.
    session
        1 to 5.
    marked
        The actor who wore the motion-capture markers: ``F`` or ``M``.
    scenario
        ``improvised`` or ``scripted``.
    script
        The number of the script or of the improvisation, as in the id: ``01``.
    part
        The part of a script: ``1`` in ``script01_1b``; empty if the id has none.
    take
        The take: ``b`` in ``script01_1b``, ``a`` in ``impro05a``; empty if the id has none.
    """

    name: str
    session: int
    marked: str
    scenario: str
    script: str
    part: str
    take: str


def dialog(name: str) -> Dialog | None:
    """Read a dialog id such as ``Ses01F_impro01``, ``Ses05M_script03_2`` or ``Ses02F_impro05a``."""
    match = _DIALOG_ID.fullmatch(name)
    if not match:
        return None
    session, marked, scenario, script, take, part, part_take = match.groups(default="")
    scenario = "improvised" if scenario == "impro" else "scripted"
    return Dialog(name, int(session), marked, scenario, script, part, take + part_take)


def place(dialog: Dialog, speaker: str, marked_actor: str) -> str:
    """The half of the video with the speaker; `marked_actor` is that of the actor with markers."""
    return marked_actor if speaker == dialog.marked else OPPOSITE[marked_actor]


def is_turn(name: str, dialog: Dialog) -> bool:
    """Whether an id such as ``Ses01F_impro01_M012`` is an utterance of this dialog."""
    prefix = f"{dialog.name}_"
    return name.startswith(prefix) and _TURN.fullmatch(name, len(prefix)) is not None


def speaker(utterance: str) -> str:
    """The speaker of an utterance, ``F`` or ``M``: the letter of the last part of its id."""
    return utterance.rpartition("_")[2][0]


def is_unnumbered(name: str) -> bool:
    """Whether an id is like ``Ses01F_impro01_MXX0``: a turn without label and wav."""
    return _UNNUMBERED_ID.fullmatch(name) is not None


@dataclass(frozen=True)
class Label:
    """A label line: times in seconds, majority emotion, mean ratings (1 to 5)."""

    utterance: str
    start: float
    end: float
    emotion: str
    valence: float
    activation: float
    dominance: float


def label_line(line: str) -> Label | None:
    """Read ``[6.2901 - 8.2357]<TAB>Ses01F_impro01_F000<TAB>neu<TAB>[2.5000, 2.5000, 2.5000]``."""
    match = _LABEL.fullmatch(line)
    if not match:
        return None
    start, end, utterance, emotion, *scores = match.groups()
    return Label(utterance, float(start), float(end), emotion, *map(float, scores))


@dataclass(frozen=True)
class Vote:
    """A rater's line below a label line.

    Attributes
    ----------
    rater
        ``E1`` ... for the external evaluators, ``F1`` and ``M1`` for the actors themselves.
    kind
        ``categorical`` or ``attribute``.
    votes
        The words of a categorical line, joined by ``;``; empty in an attribute line.
    valence, activation, dominance
        The scores of an attribute line; NaN if missing.
    comment
        The rater's comment in brackets.
    """

    rater: str
    kind: str
    votes: str
    valence: float
    activation: float
    dominance: float
    comment: str


def vote_line(line: str) -> Vote | None:
    """Read ``C-E2:<TAB>Neutral;<TAB>()`` or ``A-E3:<TAB>val 3; act 2; dom  2;<TAB>()``."""
    match = _VOTE.fullmatch(line)
    if not match:
        return None
    kind, rater, body, comment = match.groups()
    comment = (comment or "").strip()
    if kind == "C":
        words = [word.strip() for word in body.split(";") if word.strip()]
        return Vote(rater, "categorical", ";".join(words), math.nan, math.nan, math.nan, comment)
    scores = _SCORES.fullmatch(body)
    if not scores:
        return None
    valence, activation, dominance = (float(s) if s else math.nan for s in scores.groups())
    return Vote(rater, "attribute", "", valence, activation, dominance, comment)


def transcript_line(line: str) -> tuple[str, str] | None:
    """Read ``Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.`` as (id, text).

    The times are ignored, since those of the label line are used.
    """
    match = _TRANSCRIPT.fullmatch(line.strip())
    return (match[1], match[2].strip()) if match else None
