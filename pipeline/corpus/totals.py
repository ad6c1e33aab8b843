"""Comparison of a copy with the known totals of the full release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from pipeline.corpus import findings

if TYPE_CHECKING:
    from pipeline.corpus.parsing import Parsed


class Total(NamedTuple):
    """A count in a copy, and in the full release.

    Attributes
    ----------
    row
        What is counted; the row of the printed table.
    column
        The subset, such as a session, a part or ``all``; the column of the printed table.
    found
        Count in the copy.
    expected
        Count in the full release; None if it is not published.
    """

    row: str
    column: str
    found: int
    expected: int | None

    @property
    def differs(self) -> bool:
        """Whether the copy has another count than the full release."""
        return self.expected is not None and self.found != self.expected


def count(
    rows: pd.DataFrame, by: str, expected: Mapping[str, int], media: Sequence[str], column: str
) -> list[Total]:
    """Count the utterances, those with each medium, and those with each value of a column.

    Parameters
    ----------
    rows
        Rows of an utterance table.
    by
        The column.
    expected
        Count of each value of the column in the full release.
    media
        The media of every utterance of the full release: ``audio``, ``video``.
    column
        Name of the subset, the column of the printed table.
    """
    total = sum(expected.values())
    counts = [("utterances", len(rows), total)]
    counts += [(f"  with {name}", int((rows[name] != "").sum()), total) for name in media]
    by_value = rows[by].value_counts().to_dict()
    counts += [(f"  {by} {value}", by_value.get(value, 0), n) for value, n in expected.items()]
    return [Total(row, column, *numbers) for row, *numbers in counts]


def check(parsed: Parsed, totals: Sequence[Total], remark: str = "") -> tuple[str, bool]:
    """Return totals, findings, a remark and a verdict as text, and whether the copy is complete."""
    differing = sum(total.differs for total in totals)
    verdict = "complete: every known total of the full release is met"
    if differing:
        verdict = f"{differing} of the known totals differ: found/expected in the table above"
    parts = [_table(totals), findings.reasons(parsed.report["reasons"]), remark, verdict]
    return "\n\n".join(filter(None, parts)), not differing


def _table(totals: Sequence[Total]) -> str:
    """Format totals as a table; counts that differ are shown as ``found/expected``."""
    heads = list(dict.fromkeys(total.column for total in totals))
    rows: dict[str, list[str]] = {}
    for total in totals:
        cell = f"{total.found}/{total.expected}" if total.differs else str(total.found)
        rows.setdefault(total.row, [""] * len(heads))[heads.index(total.column)] = cell
    lines = [f"{'':<20}" + "".join(f"{head:>13}" for head in heads)]
    lines += [f"{row:<20}" + "".join(f"{c:>13}" for c in cells) for row, cells in rows.items()]
    return "\n".join(lines)
