"""The known totals of a full release, and how a copy differs from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from pipeline.corpus import findings

if TYPE_CHECKING:
    from pipeline.corpus.parsing import Parsed


class Total(NamedTuple):
    """A count of a copy beside that of the full release.

    Attributes
    ----------
    what
        What is counted: the row of the table.
    column
        Of what, such as a session, a part, or ``all``: the column of the table.
    found
        The copy's count.
    expected
        The release's; None where no figure is published.
    """

    what: str
    column: str
    found: int
    expected: int | None

    @property
    def differs(self) -> bool:
        """Whether the copy's count is another than the release's."""
        return self.expected is not None and self.found != self.expected


def count(
    rows: pd.DataFrame, by: str, expected: Mapping[str, int], media: Sequence[str], column: str
) -> list[Total]:
    """Count utterances, those with a medium, and each value of a column.

    Parameters
    ----------
    rows
        Of an utterance table.
    by
        The column.
    expected
        The full release's count of each of its values.
    media
        What every utterance has in the full release: ``audio``, ``video``.
    column
        What the counts are of.
    """
    total = sum(expected.values())
    counts = [("utterances", len(rows), total)]
    counts += [(f"  with {name}", int((rows[name] != "").sum()), total) for name in media]
    found = rows[by].value_counts().to_dict()
    counts += [(f"  {by} {value}", found.get(value, 0), n) for value, n in expected.items()]
    return [Total(what, column, *numbers) for what, *numbers in counts]


def check(parsed: Parsed, totals: Sequence[Total], remark: str = "") -> tuple[str, bool]:
    """Totals, findings, a remark and the verdict as text, and whether the copy is whole."""
    parts = [table(totals), findings.reasons(parsed.report["reasons"]), remark, verdict(totals)]
    return "\n\n".join(filter(None, parts)), not any(total.differs for total in totals)


def table(totals: Sequence[Total]) -> str:
    """Return totals as a table for the terminal; where they differ, as ``found/expected``."""
    heads = list(dict.fromkeys(total.column for total in totals))
    rows: dict[str, list[str]] = {}
    for total in totals:
        cell = f"{total.found}/{total.expected}" if total.differs else str(total.found)
        rows.setdefault(total.what, [""] * len(heads))[heads.index(total.column)] = cell
    lines = [f"{'':<20}" + "".join(f"{head:>13}" for head in heads)]
    lines += [f"{what:<20}" + "".join(f"{c:>13}" for c in cells) for what, cells in rows.items()]
    return "\n".join(lines)


def verdict(totals: Sequence[Total]) -> str:
    """Return in one line whether the copy has the totals of the full release."""
    differing = sum(total.differs for total in totals)
    if not differing:
        return "complete: every known total of the full release is met"
    return f"{differing} of the known totals differ: found/expected in the table above"
