"""Any corpus as a list: one CSV file with a row per utterance, beside its recordings.

:data:`TEMPLATE` says what each column means; ``python -m pipeline.corpus template`` writes it. The
user's own file is read strictly: a fault in a row stops with file, line, column and remedy, all
faults at once. What is missing on the disk is a finding, as of any corpus.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from pipeline.corpus import findings
from pipeline.corpus.description import PARTS, Description
from pipeline.corpus.folder import Folder, Reason, present
from pipeline.corpus.headers import Header
from pipeline.corpus.reader import Reader, Reading
from pipeline.corpus.table import CorpusError
from pipeline.corpus.textfile import CsvFile, Row, read_csv
from pipeline.corpus.utterance import DIMENSIONS, WITHIN, Source, Utterance
from pipeline.params.types import OwnPath

REQUIRED = ("utterance", "speaker", "emotion")
OPTIONAL = (
    *("dialog", "group", "start", "end", "text", "audio", "video", "region", "split"),
    *DIMENSIONS,
)
REGIONS = ("left", "right", "whole")
VOTES = "votes_"

TEMPLATE = """\
# A corpus of your own: a row per utterance. Lines that begin with # are passed over.
# Required: utterance (a name, used once), speaker, emotion (any word; empty: no label).
# Optional, leave out what you do not have:
#   dialog      which conversation; without it each utterance is one. Its rows are in order.
#   group       what a fold leaves out together, such as a pair of speakers; without it the speaker
#   start, end  seconds in the files; without them the whole file is the utterance
#   text        what is said; put it into double quotes if it holds a comma
#   audio       a file of sound, relative to this file; without it the sound of the video
#   video       a file of video, relative to this file
#   region      where the speaker is in the picture: left, right or whole (the default)
#   split       train, development or test, for split.protocol official
#   votes_joy   how many raters chose joy; a column for each emotion
#   valence, activation, dominance   ratings, any numbers
utterance,speaker,emotion,dialog,start,end,text,video,votes_joy,votes_anger
talk1_1,Ada,joy,talk1,0.0,2.4,"Oh, how nice!",talk1.mp4,3,0
talk1_2,Bob,anger,talk1,2.4,4.1,Not at all.,talk1.mp4,0,2
"""
"""A commented example."""

_SHOWN = 20  # faults
_NAME = re.compile(r"[\w .,+()@#=~-]{1,120}")  # it names files, on every system


class ListReason(findings.Reason):
    """What can be odd in a list."""

    UNREAD = "column that is not read", "passed over"
    NO_FILE = "file missing", "kept without it"
    BEYOND = "ends after its file does", "kept as far as it goes"


@dataclass
class _Faults:
    """What is wrong with a list."""

    path: Path
    found: list[str] = field(default_factory=list)

    def add(self, line: int, column: str, fault: str) -> None:
        self.found.append(f"{self.path}:{line}: {column}{': ' if column else ''}{fault}")

    def stop(self) -> None:
        """Raise if there are any."""
        if self.found:
            more = len(self.found) - _SHOWN
            shown = self.found[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])
            raise CorpusError("\n".join(shown))


class Listed(Reader):
    """The reader of a list.

    Attributes
    ----------
    file
        The CSV file, below ``corpus.root``.
    """

    description: ClassVar[Description] = Description(
        title="the listed corpus", emotions={}, schemes={"all": {}}
    )

    file: OwnPath = "utterances.csv"

    def read(self, root: Path) -> Reading:
        """Read the list and the headers of the files that it names."""
        present(root, "the list", self.file)
        path, folder = root / self.file, Folder(root)
        faults = _Faults(path)
        if _inside(self.file) is None:
            raise CorpusError(f"{path}: corpus.listed.file must lie below corpus.root, {root}")
        if not path.is_file():
            raise CorpusError(
                f"{path}: no such file; `python -m pipeline.corpus template {path}` writes an "
                "example; corpus.listed.file is its name below corpus.root"
            )
        content = read_csv(path, REQUIRED, comments=True)
        folder.encoding(self.file, content.encoding)
        _check_columns(content, folder, self.file, faults)
        beside = Path(self.file).parent.as_posix()
        rows = [(row, _Values(row, faults, beside)) for row in content.rows if not row.fault]
        for row in content.rows:
            if row.fault:
                faults.add(row.line, "", row.fault)
        found = [(row.line, values.utterance(number)) for number, (row, values) in enumerate(rows)]
        _check_twice(found, faults)
        if not found and not faults.found:
            faults.add(content.header, "", "no row follows; write one per utterance")
        faults.stop()
        votes = [name.removeprefix(VOTES) for name in content.columns if name.startswith(VOTES)]
        utterances = _with_media(folder, self.file, found)
        return Reading(
            utterances,
            categories=votes,
            items=folder.items,
            hidden=folder.hidden,
            description=_describe(utterances, votes, self.description.title),
        )


class _Values:
    """The values of a row, checked one by one."""

    def __init__(self, row: Row, faults: _Faults, beside: str) -> None:
        self._row, self._faults, self._beside = row, faults, beside

    def utterance(self, order: int) -> Utterance:
        """What the row says; media are looked for later."""
        name, speaker = self._name("utterance", ""), self._name("speaker", "")
        start, end = self._number("start", 0.0), self._number("end", math.nan)
        if end <= start:
            self._fault("end", f"{end:g} is not after start, {start:g}; write seconds in the file")
        if start < 0:
            self._fault("start", f"{start:g} is before the file begins; write 0 or more")
        audio, video, text = self._path("audio"), self._path("video"), self._get("text")
        if not any(map(self._get, ("audio", "video", "text"))):
            self._fault("audio", "the row names neither audio nor video nor text; give it one")
        region = self._choice("region", REGIONS, "whole")
        is_part = "start" if self._get("start") else "end" if self._get("end") else ""
        return Utterance(
            id=name,
            dialog=self._name("dialog", name),
            order=order,
            start=start,
            end=end,
            text=text,
            audio=Source(audio or video, WITHIN if is_part else "") if audio or video else None,
            video=Source(video, region) if video else None,
            speaker=speaker,
            group=self._name("group", speaker),
            emotion=self._get("emotion"),
            part=self._choice("split", PARTS, ""),
            votes=self._votes(),
            dimensions={
                name: value
                for name in DIMENSIONS
                if not math.isnan(value := self._number(name, math.nan))
            },
        )

    def _fault(self, column: str, text: str) -> None:
        self._faults.add(self._row.line, column, text)

    def _get(self, column: str) -> str:
        return self._row.values.get(column, "")

    def _name(self, column: str, default: str) -> str:
        value = self._get(column) or default
        if not value:
            self._fault(column, "is empty; give every utterance one")
        elif not _NAME.fullmatch(value):
            self._fault(
                column,
                f"{value[:40]!r} is no name; write 1 to 120 letters, digits, spaces and "
                ". , + - ( ) @ # = ~ _",
            )
        return value

    def _choice(self, column: str, known: Sequence[str], default: str) -> str:
        value = self._get(column) or default
        if value and value not in known:
            self._fault(column, f"{value!r} is none of {', '.join(known)}; write one of them")
        return value

    def _number(self, column: str, default: float) -> float:
        value = self._get(column)
        if not value:
            return default
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self._fault(column, f"{value!r} is no number; write it as 3.25")
            return default
        return number

    def _votes(self) -> dict[str, float]:
        found = {}
        for column in self._row.values:
            if column.startswith(VOTES):
                number = self._number(column, 0.0)
                if number < 0:
                    self._fault(column, f"{number:g} raters; write 0 or more")
                found[column.removeprefix(VOTES)] = number
        return found

    def _path(self, column: str) -> str:
        value = self._get(column)
        if not value:
            return ""
        inside = None if "\\" in value else _inside(f"{self._beside}/{value}", value)
        if inside is None:
            self._fault(
                column,
                f"{value!r} leaves corpus.root; write a path relative to this file, with /, of a "
                "file below corpus.root",
            )
        return inside or ""


def _inside(path: str, given: str = "") -> str | None:
    """A relative path without ``..``; None if it leaves the folder that it is relative to."""
    plain = os.path.normpath(path).replace(os.sep, "/")
    outside = plain == ".." or plain.startswith("../") or Path(plain).is_absolute()
    return None if outside or given.startswith("/") or re.match(r"[A-Za-z]:", given) else plain


def _check_columns(content: CsvFile, folder: Folder, file: str, faults: _Faults) -> None:
    """Name the columns that nobody reads, and refuse those that look like a slip of the pen."""
    known = (*REQUIRED, *OPTIONAL)
    for name in content.columns:
        if name in known or (name.startswith(VOTES) and name != VOTES):
            continue
        close = difflib.get_close_matches(name.lower(), known, 1, 0.8)
        if close and close[0] not in content.columns:
            faults.add(content.header, name, f"is no column; write {close[0]}, or another name")
        elif name:
            folder.add(ListReason.UNREAD, file, content.header, name)


def _check_twice(found: Sequence[tuple[int, Utterance]], faults: _Faults) -> None:
    seen: dict[str, int] = {}
    for line, utterance in found:
        first = seen.setdefault(utterance.id, line)
        if first != line and utterance.id:
            faults.add(line, "utterance", f"{utterance.id} is in line {first} too; rename one")


def _with_media(
    folder: Folder, file: str, found: Sequence[tuple[int, Utterance]]
) -> list[Utterance]:
    """Look at the files that utterances name; take away what is not there, and set open ends."""
    named = {
        source.path: source.path
        for _, utterance in found
        for source in (utterance.audio, utterance.video)
        if source
    }
    there = {path: path for path in named if (folder.root / path).is_file()}
    opened = folder.headers(there, Reason.BAD_VIDEO)
    result = []
    for line, utterance in found:
        for path in sorted(
            {source.path for source in (utterance.audio, utterance.video) if source}
        ):
            if path not in there:
                folder.add(ListReason.NO_FILE, file, line, path)
        result.append(_completed(folder, file, line, utterance, opened))
    return result


def _completed(
    folder: Folder, file: str, line: int, utterance: Utterance, opened: Mapping[str, Header]
) -> Utterance:
    """The utterance with the sound and pictures that there are."""
    audio, video = utterance.audio, utterance.video
    heard = opened.get(audio.path) if audio else None
    seen = opened.get(video.path) if video else None
    if heard and audio and not heard.sound:
        folder.add(Reason.NO_SOUND, file, line, audio.path)
    if seen and video and not seen.picture:
        folder.add(Reason.NO_PICTURE, file, line, video.path)
    lengths = [header.seconds for header in (heard, seen) if header]
    longest, end = max(lengths, default=utterance.start), utterance.end
    if math.isnan(end):
        end = lengths[0] if lengths else utterance.start
    elif lengths and end > longest + 0.1:
        detail = f"{end:.2f} s, the file has {longest:.2f} s"
        folder.add(ListReason.BEYOND, file, line, detail)
    return replace(
        utterance,
        end=end,
        audio=audio if heard and heard.sound else None,
        video=video if seen and seen.picture else None,
    )


def _describe(utterances: Sequence[Utterance], votes: Sequence[str], title: str) -> Description:
    """The codes and modalities of this list."""
    named = sorted({utterance.emotion for utterance in utterances} - {""})
    emotions = {code: code for code in (*named, *(code for code in votes if code not in named))}
    has = {
        "audio": any(utterance.audio for utterance in utterances),
        "text": any(utterance.text for utterance in utterances),
        "video": any(utterance.video for utterance in utterances),
    }
    return Description(
        title=title,
        emotions=emotions,
        schemes={"all": {code: code for code in named}},
        modalities=tuple(name for name, there in has.items() if there),
    )
