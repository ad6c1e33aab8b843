"""The known totals of the full release, and how a copy differs from them."""

from __future__ import annotations

from typing import Any, NamedTuple

DIALOGS = 151
UTTERANCES = 10_039
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


class Total(NamedTuple):
    """A count of a copy beside that of the full release."""

    what: str
    expected: int
    found: int


def compare(report: dict[str, Any]) -> list[Total]:
    """Return each known total beside the count of a report of :mod:`pipeline.corpus.findings`."""
    return [
        Total("dialogs", DIALOGS, report["dialogs"]),
        Total("utterances", UTTERANCES, report["utterances"]),
        *(
            Total(f"utterances of session {session}", count, report["by_session"].get(session, 0))
            for session, count in BY_SESSION.items()
        ),
        *(
            Total(f"utterances labelled {code}", count, report["by_emotion"].get(code, 0))
            for code, count in BY_EMOTION.items()
        ),
        Total("utterances with a wav", UTTERANCES, report["media"]["audio"]["present"]),
        Total("dialogs with a video", DIALOGS, report["videos"]),
    ]


def table(totals: list[Total]) -> str:
    """Return totals as a table for the terminal."""
    lines = [f"{'':<26}{'release':>9}{'here':>9}"]
    for total in totals:
        difference = total.found - total.expected
        note = f"  {difference:+d}" if difference else ""
        lines.append(f"{total.what:<26}{total.expected:>9}{total.found:>9}{note}")
    return "\n".join(lines)
