"""What tests read of a tree in the release's layout."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.release import parse
from pipeline.corpus.iemocap.reasons import Reason


def found(root: Path, reason: Reason) -> list[tuple[str, int | None, str]]:
    """Return file, line and detail of all reported items with a reason."""
    items = parse(root).items
    return [(item.file, item.line, item.detail) for item in items if item.reason is reason]


def rows(root: Path) -> pd.DataFrame:
    """Return the utterance table of a tree, indexed by id."""
    return parse(root).utterances.set_index("utterance")


def relative(path: Path, root: Path) -> str:
    """Return a path in the form that tables and report use."""
    return path.relative_to(root).as_posix()


def append(path: Path, *lines: str) -> int:
    """Append lines to a file; return the line number of the first."""
    content = path.read_text()
    path.write_text(content + "".join(f"{line}\n" for line in lines))
    return content.count("\n") + 1
