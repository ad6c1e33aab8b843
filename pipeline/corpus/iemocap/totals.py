"""The known totals of the full release, and how a copy differs from them."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from pipeline.corpus.iemocap.codes import EMOTIONS

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


class Total(NamedTuple):
    """A count of a copy beside that of the full release.

    Attributes
    ----------
    what
        What is counted: the row of the table.
    session
        ``1`` to ``5``, or ``all``: its column.
    found
        The copy's count.
    expected
        The release's; None where no figure is published.
    """

    what: str
    session: str
    found: int
    expected: int | None

    @property
    def differs(self) -> bool:
        """Whether the copy's count is another than the release's."""
        return self.expected is not None and self.found != self.expected


def compare(utterances: pd.DataFrame) -> list[Total]:
    """Count the utterance table of a copy; each count comes with that of the full release.

    Labelled utterances without a text occur in complete copies, so these have no known total.
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
        totals += [Total(what, session, found, known) for what, found, known in counts]
    return totals


def table(totals: list[Total]) -> str:
    """Return totals as a table for the terminal; where they differ, as ``found/expected``."""
    sessions = list(dict.fromkeys(total.session for total in totals))
    heads = [name if name == _ALL else f"Session{name}" for name in sessions]
    rows: dict[str, list[str]] = {}
    for total in totals:
        cell = f"{total.found}/{total.expected}" if total.differs else str(total.found)
        rows.setdefault(total.what, [""] * len(sessions))[sessions.index(total.session)] = cell
    lines = [f"{'':<20}" + "".join(f"{head:>13}" for head in heads)]
    lines += [f"{what:<20}" + "".join(f"{c:>13}" for c in cells) for what, cells in rows.items()]
    return "\n".join(lines)


def missing_sessions(totals: list[Total]) -> str:
    """Return which sessions have not one utterance; empty if each has some."""
    empty = [t.session for t in totals if t.what == _UTTERANCES and not t.found]
    return f"missing: {', '.join(f'Session{session}' for session in empty)}" if empty else ""


def verdict(totals: list[Total]) -> str:
    """Return in one line whether the copy has the totals of the full release."""
    differing = sum(total.differs for total in totals)
    if not differing:
        return "complete: every known total of the full release is met"
    return f"{differing} of the known totals differ: found/expected in the table above"
