"""What reading a copy of the release found: items with reasons, and counts, for ``parse.json``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pandas as pd

from pipeline.corpus.labels import EMOTIONS


class Reason(Enum):
    """Why an item is in the report, and what became of it: skipped, or kept as far as it goes."""

    NO_SESSION = "session missing", "skipped"
    NO_FOLDER = "folder missing", "skipped"
    NO_DIALOG = "not named for a dialog of its session", "skipped"
    UNREADABLE = "cannot be read from the disk", "skipped"
    EMPTY = "empty text file", "skipped"
    OTHER_FORMAT = "wrong format, must be .txt, .avi or .wav", "skipped"
    BAD_LABEL = "malformed label line", "skipped"
    BAD_TIMES = "label does not end after its start", "skipped"
    UNKNOWN_EMOTION = "unknown emotion code", "skipped"
    OTHER_DIALOG = "id not of this dialog", "skipped"
    DUPLICATE = "id seen before in the file", "skipped"
    BAD_VOTE = "malformed rater's line", "skipped"
    NO_ID = "transcript line of no utterance", "skipped"
    UNNUMBERED = "XX id", "skipped"
    NO_LABEL = "in the transcript, not in the labels", "skipped"
    WAV_NO_LABEL = "wav without a label", "skipped"
    WAV_OTHER_DIALOG = "wav named for another dialog, not needed", "skipped"
    VIDEO_NO_LABEL = "video of a dialog without labels", "skipped"
    NO_TEXT = "in the labels, not in the transcript", "kept"
    WAV_MOVED = "wav in the folder of another dialog", "kept"
    NO_AUDIO = "wav missing", "kept"
    NO_VIDEO = "video missing", "kept"
    NO_ALIGNMENT = "word alignment missing", "kept"
    BAD_ALIGNMENT = "malformed word alignment", "skipped"
    ALIGNMENT_NO_LABEL = "word alignment without a label", "skipped"
    WINDOWS_1252 = "not UTF-8, read as Windows-1252", "kept"
    UTF_16 = "UTF-16, read as such", "kept"

    def __init__(self, text: str, outcome: str) -> None:
        self.text = text
        self.outcome = outcome


@dataclass(frozen=True)
class Item:
    """A finding: `file` relative to the root, `line` from 1 or None, `detail` for a reader."""

    reason: Reason
    file: str
    line: int | None
    detail: str


def report(
    utterances: pd.DataFrame, votes: pd.DataFrame, items: list[Item], hidden: int
) -> dict[str, Any]:
    """Return counts of both tables and of reasons, and all items, as JSON.

    ``reasons`` has an entry for each reason that occurs; ``media`` counts utterances.
    """
    emotions, sessions = utterances["emotion"], utterances["session"]
    present = sorted(sessions.unique().tolist())
    by_emotion_and_session = {
        code: {str(s): int(((emotions == code) & (sessions == s)).sum()) for s in present}
        for code in EMOTIONS
    }
    media = {
        column: {
            "present": int((utterances[column] != "").sum()),
            "missing": int((utterances[column] == "").sum()),
        }
        for column in ("text", "audio", "video")
    }
    return {
        "utterances": len(utterances),
        "dialogs": int(utterances["dialog"].nunique()),
        "videos": int(utterances["video"][utterances["video"] != ""].nunique()),
        "votes": len(votes),
        "by_emotion": {code: int((emotions == code).sum()) for code in EMOTIONS},
        "by_session": {str(s): int((sessions == s).sum()) for s in present},
        "by_emotion_and_session": by_emotion_and_session,
        "media": media,
        "hidden_files": hidden,
        "reasons": count(items),
        "items": [
            {
                "reason": item.reason.text,
                "file": item.file,
                "line": item.line,
                "detail": item.detail,
            }
            for item in items
        ],
    }


def summary(content: dict[str, Any]) -> str:
    """Return the counts of a report as tables for the terminal: emotions, then reasons."""
    tables = [_emotions(content), reasons(content["reasons"])]
    return "\n\n".join(table for table in tables if table)


def reasons(content: dict[str, dict[str, Any]]) -> str:
    """Return the ``reasons`` of a report as a table for the terminal; empty if there are none."""
    if not content:
        return ""
    lines = [f"{'found in the copy':<45}{'count':>6}  outcome"]
    lines += [
        f"{reason:<45}{entry['count']:>6}  {entry['outcome']}" for reason, entry in content.items()
    ]
    return "\n".join(lines)


def count(items: list[Item]) -> dict[str, dict[str, Any]]:
    """Return an entry for each reason that occurs in `items`: its count and its outcome."""
    counts = Counter(item.reason for item in items)
    return {
        reason.text: {"count": counts[reason], "outcome": reason.outcome}
        for reason in Reason
        if counts[reason]
    }


def _emotions(content: dict[str, Any]) -> str:
    sessions = list(content["by_session"])
    rows = content["by_emotion_and_session"] | {"all": content["by_session"]}
    totals = content["by_emotion"] | {"all": content["utterances"]}
    head = "".join(f"   Ses{s:0>2}" for s in sessions)
    lines = [f"{'emotion':<9}{head}{'all':>8}"]
    for name, counts in rows.items():
        if totals[name]:
            row = "".join(f"{counts[s]:>8}" for s in sessions)
            lines.append(f"{name:<9}{row}{totals[name]:>8}")
    return "\n".join(lines)
