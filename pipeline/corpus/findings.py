"""Findings in a copy of a corpus, each with a reason, and the report ``parse.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pandas as pd

from pipeline.corpus.description import Description


class Reason(Enum):
    """Base of the reasons of findings: a text, and what happens to the file, line or utterance.

    In ``NO_AUDIO = "wav missing", "kept"``, the utterance is kept without the file; what is
    ``skipped`` is not in the tables.
    """

    def __init__(self, text: str, outcome: str) -> None:
        self.text = text
        self.outcome = outcome


@dataclass(frozen=True)
class Item:
    """A finding: `file` relative to the root, `line` from 1 or None, and a `detail` as text."""

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
    """Return counts of the table and of the reasons, and all items, as JSON.

    ``media`` counts utterances; `counts` are added unchanged.
    """
    # also codes that are not in the description
    codes = dict.fromkeys([*description.emotions, *sorted(utterances["emotion"].unique())])
    counted = pd.crosstab(utterances["emotion"], utterances["group"])
    counted = counted.reindex(list(codes), fill_value=0)
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
        "by_emotion": counted.sum(axis="columns").to_dict(),
        "by_group": counted.sum().to_dict(),
        "by_emotion_and_group": counted.to_dict("index"),
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


def reasons(content: Mapping[str, Mapping[str, Any]]) -> str:
    """Format the ``reasons`` of a report as a table for the terminal; empty if there are none."""
    if not content:
        return ""
    lines = [f"{'found in the copy':<45}{'count':>6}  outcome"]
    lines += [
        f"{reason:<45}{entry['count']:>6}  {entry['outcome']}" for reason, entry in content.items()
    ]
    return "\n".join(lines)


def count(items: Sequence[Item]) -> dict[str, dict[str, Any]]:
    """Return count and outcome of each reason that occurs, in the order of definition."""
    counts = Counter(item.reason for item in items)
    classes: list[type[Reason]] = list(dict.fromkeys(map(type, counts)))
    return {
        reason.text: {"count": counts[reason], "outcome": reason.outcome}
        for reasons in classes
        for reason in reasons
        if counts[reason]
    }


_SHOWN = 12  # groups that fit in one line of a terminal


def emotions(content: Mapping[str, Any], word: str) -> str:
    """Format the counts by emotion and group as a table for the terminal; `word` is for a group."""
    rows = content["by_emotion_and_group"] | {"all": content["by_group"]}
    table = pd.DataFrame.from_dict(rows, orient="index")
    if len(table.columns) > _SHOWN:
        table = table[[]]
    table = table.assign(all=[*content["by_emotion"].values(), content["utterances"]])
    table = table[table["all"] > 0].rename({"": "(none)"})
    return table.rename_axis(columns=word).to_string()
