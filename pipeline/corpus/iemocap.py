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

``python -m pipeline.corpus.iemocap check ROOT`` compares a copy with the full release.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipeline.corpus import findings, formats, totals
from pipeline.corpus.disk import SESSIONS, Copy, find_sessions
from pipeline.corpus.findings import Item, Reason
from pipeline.corpus.labels import EMOTIONS
from pipeline.corpus.table import TABLES, CorpusError, read_table, write_table

__all__ = ["CorpusError", "Parsed", "parse", "read_table", "write"]

_LABELS = "dialog/EmoEvaluation"
_TRANSCRIPTS = "dialog/transcriptions"
_VIDEO = "dialog/avi/DivX"
_AUDIO = "sentences/wav"
_OPPOSITE = {"left": "right", "right": "left"}


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
    items
        All that is skipped, missing or odd, by file and line.
    report
        Counts and items as JSON; see :func:`pipeline.corpus.findings.report`.
    """

    utterances: pd.DataFrame
    votes: pd.DataFrame
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
    rows: list[dict[str, Any]] = []
    votes: list[dict[str, Any]] = []
    for session in SESSIONS:
        if session not in present:
            copy.add(Reason.NO_SESSION, f"Session{session}")
            continue
        for row, row_votes in _read_session(copy, session, marked_actor):
            rows.append(row)
            votes += row_votes
    items = sorted(copy.items, key=lambda item: (item.file, item.line or 0))
    if not rows:
        raise CorpusError(_nothing_read(root, items))
    utterances = _frame(rows, "utterances")
    votes_table = _frame(votes, "votes")
    report = findings.report(utterances, votes_table, items, copy.hidden)
    return Parsed(utterances, votes_table, items, report)


def write(parsed: Parsed, folder: Path) -> None:
    """Write ``utterances.csv``, ``votes.csv``, a table for each modality, and ``parse.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        table = parsed.votes if name == "votes" else parsed.utterances
        write_table(table, folder / f"{name}.csv")
    content = json.dumps(parsed.report, indent=2, ensure_ascii=False) + "\n"
    (folder / "parse.json").write_text(content, encoding="utf-8", newline="\n")


def _frame(rows: list[dict[str, Any]], name: str) -> pd.DataFrame:
    """Rows as the table `name`, sorted by utterance id."""
    columns = TABLES[name]
    frame = pd.DataFrame(rows, columns=list(columns)).astype(columns)
    return frame.sort_values("utterance", kind="stable", ignore_index=True)


def _nothing_read(root: Path, items: list[Item]) -> str:
    counts = Counter(item.reason.text for item in items)
    found = ", ".join(f"{reason} ({count})" for reason, count in counts.most_common())
    return (
        f"{root}: not one utterance could be read; looked for label lines in "
        f"SessionN/{_LABELS}/<dialog>.txt; found: {found or 'no file'}"
    )


# --- a session -----------------------------------------------------------------------------------


class _Labelled(NamedTuple):
    """A label line and the raters' lines below it."""

    line: int
    label: formats.Label
    votes: list[formats.Vote]


def _read_session(
    copy: Copy, session: int, marked_actor: str
) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return a row of the utterance table and its rows of the votes, for each utterance."""
    labels = copy.dialogs(session, _LABELS, ".txt")
    transcripts = copy.dialogs(session, _TRANSCRIPTS, ".txt")
    videos = copy.dialogs(session, _VIDEO, ".avi")
    recordings = _Recordings(copy, copy.dialogs(session, _AUDIO))
    for dialog in videos.keys() - labels.keys():
        copy.add(Reason.VIDEO_NO_LABEL, videos[dialog])
    rows = []
    for dialog in sorted(labels.keys() | transcripts.keys()):
        labelled, seen = _read_labels(copy, dialog, labels.get(dialog))
        texts = _read_transcript(copy, dialog, transcripts.get(dialog), seen)
        video = videos.get(dialog, "")
        if labelled and not video:
            expected = f"Session{session}/{_VIDEO}/{dialog.name}.avi"
            copy.add(Reason.NO_VIDEO, expected, detail=f"{len(labelled)} utterances")
        for line, label, votes in labelled:
            name = label.utterance
            if name not in texts:
                copy.add(Reason.NO_TEXT, labels[dialog], line, name)
            audio = recordings.take(name)
            if not audio:
                expected = f"Session{session}/{_AUDIO}/{dialog.name}/{name}.wav"
                copy.add(Reason.NO_AUDIO, expected)
            found = {"text": texts.get(name, ""), "audio": audio, "video": video}
            row = asdict(label) | _who(dialog, name, marked_actor) | found
            rows.append((row, [{"utterance": name} | asdict(vote) for vote in votes]))
        recordings.drop(seen)
    recordings.report_rest()
    return rows


def _who(dialog: formats.Dialog, utterance: str, marked_actor: str) -> dict[str, Any]:
    """Return what the ids of a dialog and of its utterance say, as columns."""
    speaker = utterance.removeprefix(f"{dialog.name}_")[0]
    return {
        "session": dialog.session,
        "dialog": dialog.name,
        "scenario": dialog.scenario,
        "speaker": f"Ses{dialog.session:02d}{speaker}",
        "gender": speaker,
        "side": marked_actor if speaker == dialog.marked else _OPPOSITE[marked_actor],
    }


def _read_labels(
    copy: Copy, dialog: formats.Dialog, file: str | None
) -> tuple[list[_Labelled], set[str]]:
    """Return the utterances of a label file, and all ids in it, skipped ones included."""
    labelled: list[_Labelled] = []
    seen: set[str] = set()
    votes: list[formats.Vote] = []  # of the label line above; of a skipped one they go nowhere
    for number, line in copy.lines(file) if file else []:
        if line.startswith("%"):
            continue
        if line.startswith(("C-", "A-")):
            vote = formats.vote_line(line)
            if vote:
                votes.append(vote)
            else:
                copy.add(Reason.BAD_VOTE, str(file), number, line)
            continue
        votes = []
        label = formats.label_line(line)
        fault = _label_fault(dialog, label, line, seen)
        if label:
            seen.add(label.utterance)
        if fault:
            copy.add(fault[0], str(file), number, fault[1])
        elif label:
            labelled.append(_Labelled(number, label, votes))
    return labelled, seen


def _label_fault(
    dialog: formats.Dialog, label: formats.Label | None, line: str, seen: set[str]
) -> tuple[Reason, str] | None:
    """Return why a label line is skipped, with a detail; None for a good one."""
    if not label:
        return Reason.BAD_LABEL, line
    fault = _id_fault(dialog, label.utterance, seen)
    if fault:
        return fault, label.utterance
    if label.emotion not in EMOTIONS:
        known = ", ".join(EMOTIONS)
        detail = f"{label.utterance}: {label.emotion[:20]!r} is none of {known}"
        return Reason.UNKNOWN_EMOTION, detail
    if label.start >= label.end:
        return Reason.BAD_TIMES, f"{label.utterance}: {label.start} to {label.end}"
    return None


def _id_fault(dialog: formats.Dialog, name: str, seen: Container[str]) -> Reason | None:
    """Return why an id in a file of `dialog` is none to use; None for a good one."""
    if formats.is_unnumbered(name):
        return Reason.UNNUMBERED
    if not formats.is_turn(name, dialog):
        return Reason.OTHER_DIALOG
    return Reason.DUPLICATE if name in seen else None


def _read_transcript(
    copy: Copy, dialog: formats.Dialog, file: str | None, labelled: set[str]
) -> dict[str, str]:
    """Return the texts of a transcript by utterance; lines without a label are skipped."""
    texts: dict[str, str] = {}
    for number, line in copy.lines(file) if file else []:
        read = formats.transcript_line(line)
        fault = _id_fault(dialog, read[0], texts) if read else Reason.NO_ID
        if not fault and read and read[0] not in labelled:
            fault = Reason.NO_LABEL
        if fault:
            copy.add(fault, str(file), number, line)
        elif read:
            texts[read[0]] = read[1]
    return texts


class _Recordings:
    """The wav files of a session; an utterance's own folder comes before any other.

    A file in the folder of another dialog, such as another take, is the utterance that its name
    says: ids are unique in the release.
    """

    def __init__(self, copy: Copy, folders: dict[formats.Dialog, str]) -> None:
        self._copy = copy
        self._own: dict[str, str] = {}
        self._moved: dict[str, str] = {}
        for dialog, folder in folders.items():
            for name, path in copy.files(folder, ".wav").items():
                own = formats.is_turn(name, dialog) or formats.is_unnumbered(name)
                (self._own if own else self._moved).setdefault(name, path)

    def take(self, utterance: str) -> str:
        """Return the path of an utterance's recording; empty if there is none."""
        if utterance in self._own:
            return self._own.pop(utterance)
        path = self._moved.pop(utterance, "")
        if path:
            self._copy.add(Reason.WAV_MOVED, path)
        return path

    def drop(self, utterances: set[str]) -> None:
        """Pass over utterances whose labels were skipped, for reasons that are recorded."""
        for utterance in utterances:
            self._own.pop(utterance, None)

    def report_rest(self) -> None:
        """Record every file that was not taken."""
        for path in self._own.values():
            self._copy.add(Reason.WAV_NO_LABEL, path)
        for path in self._moved.values():
            self._copy.add(Reason.WAV_OTHER_DIALOG, path)


# --- command line --------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: ``python -m pipeline.corpus.iemocap check ROOT``."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.corpus.iemocap", description="Copies of the IEMOCAP release."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check",
        help="compare a copy with the full release",
        description="Compare a copy with the full release. Exit code: 0 the totals are those of "
        "the full release, 1 they differ, 2 this is no copy of it.",
    )
    check.add_argument("root", type=Path, help="the folder that holds Session1 to Session5")
    check.add_argument("--items", action="store_true", help="print each item found as well")
    options = parser.parse_args(arguments)
    try:
        parsed = parse(options.root, "left")  # the side is not looked at here
    except CorpusError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    compared = totals.compare(parsed.report)
    print(totals.table(compared), findings.summary(parsed.report), sep="\n\n")
    if options.items:
        print()
        for item in parsed.items:
            place = item.file if item.line is None else f"{item.file}:{item.line}"
            print(f"{place}: {item.reason.text}{': ' if item.detail else ''}{item.detail}")
    return int(any(total.found != total.expected for total in compared))


if __name__ == "__main__":
    sys.exit(main())
