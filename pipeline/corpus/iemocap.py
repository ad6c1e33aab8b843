"""The IEMOCAP release: from the folders of a copy to one table of utterances.

The corpus is licensed by the SAIL laboratory of the University of Southern California:
https://sail.usc.edu/iemocap/ (C. Busso et al., "IEMOCAP: interactive emotional dyadic motion
capture database", Language Resources and Evaluation 42, 2008). What is read of it::

    IEMOCAP_full_release/                                  the root
      Session1 ... Session5/                               one woman and one man each
        dialog/EmoEvaluation/<dialog>.txt                  labels, and every rater's votes
        dialog/transcriptions/<dialog>.txt                 transcripts
        dialog/avi/DivX/<dialog>.avi                       both actors side by side; listed only
        sentences/wav/<dialog>/<utterance>.wav             listed only

A dialog ``Ses01F_impro01`` is of session 1, and F wore the motion-capture markers; its utterance
``Ses01F_impro01_M003`` is spoken by M. Label files are the authority: an utterance is a label line,
with its times. Text, audio and video are looked up for it, and are empty where a copy lacks them.

Partial and damaged copies are read as far as they go. All that is skipped, missing or odd is an
:class:`~pipeline.corpus.findings.Item` of the report, with file, line and reason; hidden files
(``._*``, ``.DS_Store``) are only counted. Media are never opened: each folder is listed once.

``python -m pipeline.corpus.iemocap check ROOT`` compares a copy with the full release, and with
``--links FOLDER`` makes a folder of links to a partial one;
``... words ROOT OUTPUT.csv`` writes a table of its word alignments.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.corpus import alignment, findings, formats, totals
from pipeline.corpus.disk import LABELS, SESSIONS, Copy, find_sessions, link, missing_folders
from pipeline.corpus.findings import Item, Reason
from pipeline.corpus.session import read_session
from pipeline.corpus.table import TABLES, CorpusError, read_table, write_table
from pipeline.filesystem import replacing

__all__ = ["CorpusError", "Parsed", "parse", "read_table", "write"]


@dataclass(frozen=True)
class Parsed:
    """What a copy of the release holds.

    Attributes
    ----------
    utterances
        The utterance table, sorted by id; columns of ``TABLES["utterances"]``.
    votes
        Every rater's line of these utterances, sorted by id, in the label file's order;
        columns of ``TABLES["votes"]``.
    dialogs
        One row a dialog, sorted by id; columns of ``TABLES["dialogs"]``.
    items
        All that is skipped, missing or odd, by file and line.
    report
        Counts and items as JSON; see :func:`pipeline.corpus.findings.report`.
    """

    utterances: pd.DataFrame
    votes: pd.DataFrame
    dialogs: pd.DataFrame
    items: list[Item]
    report: dict[str, Any]


def parse(root: str | Path, marked_actor: str) -> Parsed:
    """Read a copy of the release, whole or partial.

    Parameters
    ----------
    root
        The folder that holds ``Session1`` ... ``Session5``.
    marked_actor
        The side of the video, ``left`` or ``right``, where the actor with the markers sits.

    Raises
    ------
    CorpusError
        If `root` is no copy of the release, or not one utterance could be read from it.
    """
    root = Path(root)
    present = find_sessions(root)
    copy = Copy(root)
    sessions: list[tuple[pd.DataFrame, pd.DataFrame]] = []
    for session in SESSIONS:
        if session not in present:
            copy.add(Reason.NO_SESSION, f"Session{session}")
            continue
        # tables at once, since they take far less memory than the rows
        found = read_session(copy, session, marked_actor)
        given = [vote for _, its_votes in found for vote in its_votes]
        labelled = _table([row for row, _ in found], "utterances")
        sessions.append((labelled, _table(given, "votes")))
    items = sorted(copy.items, key=lambda item: (item.file, item.line or 0))
    if not any(len(rows) for rows, _ in sessions):
        where = f"label lines in SessionN/{LABELS}/<dialog>.txt"
        raise _nothing_read(root, "utterance", where, items)
    utterances, votes = (_sorted(tables) for tables in zip(*sessions, strict=True))
    report = findings.report(utterances, votes, items, copy.hidden)
    return Parsed(utterances, votes, _dialogs(utterances), items, report)


def write(parsed: Parsed, folder: Path) -> None:
    """Write the :data:`~pipeline.corpus.table.TABLES` as CSV, and ``parse.json``."""
    others = {"votes": parsed.votes, "dialogs": parsed.dialogs}
    for name in TABLES:
        write_table(others.get(name, parsed.utterances), folder / f"{name}.csv")
    content = json.dumps(parsed.report, indent=2, ensure_ascii=False) + "\n"
    with replacing(folder / "parse.json") as partial:
        partial.write_text(content, encoding="utf-8", newline="\n")


def _table(rows: list[dict[str, Any]], name: str) -> pd.DataFrame:
    """Rows as the table `name`."""
    columns = TABLES[name]
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def _sorted(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Tables as one, sorted by utterance id."""
    whole = pd.concat(tables, ignore_index=True)
    return whole.sort_values("utterance", kind="stable", ignore_index=True)


def _dialogs(utterances: pd.DataFrame) -> pd.DataFrame:
    """Make the table of dialogs: what their ids say, and what the utterances have of them."""
    rows = []
    for name, group in utterances.groupby("dialog"):
        dialog = formats.dialog(str(name))
        assert dialog  # the names come from files that were taken for a dialog's
        found = {"dialog": name, "utterances": len(group), "video": group["video"].iloc[0]}
        rows.append(asdict(dialog) | found)
    return _table(rows, "dialogs")


def _nothing_read(root: Path, what: str, where: str, items: list[Item]) -> CorpusError:
    counts = Counter(item.reason.text for item in items)
    found = ", ".join(f"{reason} ({count})" for reason, count in counts.most_common())
    return CorpusError(
        f"{root}: not one {what} could be read; looked for {where}; found: {found or 'no file'}"
    )


# --- command line --------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: ``python -m pipeline.corpus.iemocap check|words ROOT``."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.corpus.iemocap", description="Copies of the IEMOCAP release."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check",
        help="compare a copy with the full release",
        description="Compare a copy with the full release; no media file is opened. Exit code: "
        "0 the totals are those of the full release, 1 they differ, 2 this is no copy of it, or "
        "the links cannot be made.",
    )
    words = commands.add_parser(
        "words",
        help="write the word alignments of a copy as one table",
        description="Write utterance, word, start and end (seconds in the dialog) of each aligned "
        "word. Exit code: 0 the table is written, 2 there is none to write.",
    )
    for command in (check, words):
        command.add_argument("root", type=Path, help="the folder that holds Session1 to Session5")
        command.add_argument("--items", action="store_true", help="print each item found as well")
    check.add_argument(
        "--links",
        type=Path,
        metavar="FOLDER",
        help="make a new folder of links to the copy, with empty folders for those that it lacks",
    )
    words.add_argument("output", type=Path, help="the CSV file to write")
    options = parser.parse_args(arguments)
    try:
        parsed = parse(options.root, "left")  # the side is not looked at here
        if options.command == "check":
            return _check(options.root, parsed, options.links, options.items)
        return _words(options.root, parsed, options.output, options.items)
    except (CorpusError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _check(root: Path, parsed: Parsed, links: Path | None, verbose: bool) -> int:
    advice = missing_folders(root)
    if links:
        link(root, links)
        advice = f"{links}: links to the copy are made; set corpus.root to this folder"
    compared = totals.compare(parsed.utterances)
    parts = [totals.table(compared), findings.reasons(parsed.report["reasons"])]
    parts += [totals.missing_sessions(compared), advice, totals.verdict(compared)]
    print("\n\n".join(part for part in parts if part))
    if verbose:
        _print_items(parsed.items)
    return int(any(total.differs for total in compared))


def _words(root: Path, parsed: Parsed, output: Path, verbose: bool) -> int:
    table, items = alignment.read_copy(root, parsed.utterances)
    if table.empty:
        where = f"SessionN/{alignment.FOLDER}/<dialog>/<utterance>.wdseg"
        raise _nothing_read(root, "word alignment", where, items)
    table.to_csv(output, index=False, lineterminator="\n", encoding="utf-8")
    print(f"{len(table)} words of {table['utterance'].nunique()} utterances: {output}")
    print(findings.reasons(findings.count(items)))
    if verbose:
        _print_items(items)
    return 0


def _print_items(items: list[Item]) -> None:
    print()
    for item in items:
        place = item.file if item.line is None else f"{item.file}:{item.line}"
        print(f"{place}: {item.reason.text}{': ' if item.detail else ''}{item.detail}")


if __name__ == "__main__":
    sys.exit(main())
