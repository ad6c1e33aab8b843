"""The known totals of the full release of IEMOCAP, and the comparison of a copy with them."""

from __future__ import annotations

import pandas as pd

from pipeline.corpus.iemocap.codes import EMOTIONS
from pipeline.corpus.totals import Total

DIALOGS = 151
UTTERANCES = 10_039
DIALOGS_BY_SESSION = {"1": 28, "2": 30, "3": 32, "4": 30, "5": 31}
BY_SESSION = {"1": 1819, "2": 1811, "3": 2136, "4": 2103, "5": 2170}
BY_EMOTION = {
    "ang": 1103,
    "hap": 595,
    "exc": 1041,
    "sad": 1084,
    "fru": 1849,
    "fea": 40,
    "sur": 107,
    "neu": 1708,
    "dis": 2,
    "oth": 3,
    "xxx": 2507,
}

_UTTERANCES = "utterances"
_ALL = "all"


def compare(utterances: pd.DataFrame) -> list[Total]:
    """Count the utterances of a copy by session, beside the counts of the full release.

    The number of transcripts has no known total: complete copies lack the text of some utterances.
    """
    dialogs = DIALOGS_BY_SESSION | {_ALL: DIALOGS}
    lines = BY_SESSION | {_ALL: UTTERANCES}
    totals = []
    for session in lines:
        rows = utterances
        if session != _ALL:
            rows = rows[rows["group"] == session]
        named = {column: rows[rows[column] != ""] for column in ("text", "audio", "video")}
        counts: list[tuple[str, int, int | None]] = [
            ("dialogs", rows["dialog"].nunique(), dialogs[session]),
            ("  with a transcript", named["text"]["dialog"].nunique(), dialogs[session]),
            ("  with a video", named["video"]["dialog"].nunique(), dialogs[session]),
            (_UTTERANCES, len(rows), lines[session]),
            ("  with a wav", len(named["audio"]), lines[session]),
            ("  with a text", len(named["text"]), None),
        ]
        for code in EMOTIONS:
            known = BY_EMOTION[code] if session == _ALL else None
            counts.append((f"  labelled {code}", int((rows["emotion"] == code).sum()), known))
        column = session if session == _ALL else f"Session{session}"
        totals += [Total(row, column, found, known) for row, found, known in counts]
    return totals


def missing_sessions(totals: list[Total]) -> str:
    """Name the sessions without an utterance; empty if there are none."""
    empty = [total.column for total in totals if total.row == _UTTERANCES and not total.found]
    return f"missing: {', '.join(empty)}" if empty else ""
