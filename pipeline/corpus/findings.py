"""What reading a copy of a corpus found: items with reasons, and counts, for ``parse.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pandas as pd

from pipeline.corpus.description import Description


class Reason(Enum):
    """Why an item is in the report, and what became of it; each corpus has reasons of its own.

    ``NO_AUDIO = "wav missing", "kept"``: the utterance stays, without what is missing; what is
    ``skipped`` is left out of the tables.
    """

    def __init__(self, text: str, outcome: str) -> None:
        self.text = text
        self.outcome = outcome


@dataclass(frozen=True)
class Item:
    """A finding: `file` relative to the root, `line` from 1 or None, `detail` for a reader."""

    reason: Reason
    file: str
    line: int | None = None
    detail: str = ""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.reason.text}{': ' if self.detail else ''}{self.detail}"


def report(
    utterances: pd.DataFrame,
    description: Description,
    items: Sequence[Item],
    hidden: int,
    counts: Mapping[str, Any],
) -> dict[str, Any]:
    """Return counts of the table and of reasons, and all items, as JSON.

    ``reasons`` has an entry for each reason that occurs; ``media`` counts utterances; `counts` are
    those of this corpus alone.
    """
    emotions, groups = utterances["emotion"], utterances["group"]
    present = sorted(groups.unique().tolist())
    # codes that the description lacks are counted too, for corpora that say what they like
    codes = list(dict.fromkeys([*description.emotions, *sorted(emotions.unique().tolist())]))
    by_emotion_and_group = {
        code: {group: int(((emotions == code) & (groups == group)).sum()) for group in present}
        for code in codes
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
        **counts,
        "by_emotion": {code: int((emotions == code).sum()) for code in codes},
        "by_group": {group: int((groups == group).sum()) for group in present},
        "by_emotion_and_group": by_emotion_and_group,
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


def summary(content: Mapping[str, Any], description: Description) -> str:
    """Return the counts of a report as tables for the terminal: emotions, then reasons."""
    tables = [_emotions(content, description.group.one), reasons(content["reasons"])]
    return "\n\n".join(table for table in tables if table)


def reasons(content: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the ``reasons`` of a report as a table for the terminal; empty if there are none."""
    if not content:
        return ""
    lines = [f"{'found in the copy':<45}{'count':>6}  outcome"]
    lines += [
        f"{reason:<45}{entry['count']:>6}  {entry['outcome']}" for reason, entry in content.items()
    ]
    return "\n".join(lines)


def count(items: Sequence[Item]) -> dict[str, dict[str, Any]]:
    """Return an entry for each reason that occurs, in the order of their class."""
    counts = Counter(item.reason for item in items)
    kinds: list[type[Reason]] = list(dict.fromkeys(map(type, counts)))
    known = [reason for kind in kinds for reason in kind]
    return {
        reason.text: {"count": counts[reason], "outcome": reason.outcome}
        for reason in known
        if counts[reason]
    }


_SHOWN = 12  # groups that fit beside each other on a terminal


def _emotions(content: Mapping[str, Any], word: str) -> str:
    groups = list(content["by_group"])
    rows = content["by_emotion_and_group"] | {"all": content["by_group"]}
    totals = content["by_emotion"] | {"all": content["utterances"]}
    shown = groups if len(groups) <= _SHOWN else []
    width = max(8, *(len(group) + 2 for group in groups))
    head = "".join(f"{group:>{width}}" for group in shown)
    lines = [f"{'emotion':<13}{head}{'all':>8}"]
    if shown:
        lines.insert(0, f"{'':<13}{word:>{width}}")
    for name, counts in rows.items():
        if totals[name]:
            row = "".join(f"{counts[group]:>{width}}" for group in shown)
            lines.append(f"{name or '(none)':<13}{row}{totals[name]:>8}")
    return "\n".join(lines)
