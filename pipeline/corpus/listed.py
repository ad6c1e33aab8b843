"""Your own corpus: one CSV file with one row per utterance, beside the recordings.

:data:`TEMPLATE` explains the columns; ``python -m pipeline.corpus template`` writes it. Invalid
values are errors: all of them are reported together, with file, line, column and remedy. Missing
recordings are findings, as in any corpus.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pipeline.corpus import findings
from pipeline.corpus.description import Description
from pipeline.corpus.folder import Folder
from pipeline.corpus.reader import Reader, Reading
from pipeline.corpus.table import CorpusError
from pipeline.corpus.textfile import read_csv
from pipeline.corpus.utterance import DIMENSIONS, WITHIN, Source, Utterance
from pipeline.params.file import describe
from pipeline.params.types import OwnPath

REQUIRED = ("utterance", "speaker", "emotion")
VOTES = "votes_"

TEMPLATE = """\
# Your own corpus: one row per utterance. Lines that begin with # are ignored.
# Required: utterance (a unique name), speaker, emotion (any word; empty: no label).
# Optional, leave out what you do not have:
#   dialog      the conversation, its rows in order; by default each utterance is one
#   group       what a fold leaves out together, such as a pair of speakers; by default the speaker
#   start, end  seconds in the files; by default the whole file is the utterance
#   text        the transcript; put it into double quotes if it contains a comma
#   audio       an audio file, relative to this file; by default the sound of the video
#   video       a video file, relative to this file
#   region      where the speaker is in the picture: left, right or whole (the default)
#   split       train, development or test, for split.protocol official
#   votes_joy   how many raters chose joy; one column per emotion
#   valence, activation, dominance   ratings, any numbers
utterance,speaker,emotion,dialog,start,end,text,video,votes_joy,votes_anger
talk1_1,Ada,joy,talk1,0.0,2.4,"Oh, how nice!",talk1.mp4,3,0
talk1_2,Bob,anger,talk1,2.4,4.1,Not at all.,talk1.mp4,0,2
"""
"""A commented example."""

_SHOWN = 20  # faults in a message


class ListReason(findings.Reason):
    """Reasons of this format only."""

    UNREAD = "column that is not read", "passed over"
    NO_FILE = "file missing", "kept without it"


def _check_name(value: str) -> str:
    # names become file names, on every system
    if not re.fullmatch(r"[\w .,+()@#=~-]{1,120}", value):
        raise ValueError(
            f"{value[:40]!r} is not a name; write 1 to 120 letters, digits, spaces and "
            ". , + - ( ) @ # = ~ _"
        )
    return value


def _check_point(value: str) -> str:
    if re.fullmatch(r"-?\d+,\d+", value):  # as spreadsheets of many countries write it
        raise ValueError(f"{value!r} has a decimal comma; write {value.replace(',', '.')}")
    return value


def _below_root(value: str, info: ValidationInfo) -> str:
    """Make a path relative to the list, whose root and name are the context, relative to the root.

    Links out of the root are refused too: nobody would notice that the recordings change.
    """
    root, file = info.context  # type: ignore[misc]
    path = _normal(f"{Path(file).parent.as_posix()}/{value}")
    foreign = value.startswith("/") or "\\" in value or re.match(r"[A-Za-z]:", value)
    if foreign or path is None or not (root / path).resolve().is_relative_to(root):
        raise ValueError(
            f"{value!r} leaves corpus.root; write a path relative to this file, with /, of a "
            "file below corpus.root, not of a link to another folder"
        )
    return path


def _normal(path: str) -> str | None:
    """A relative path without ``..``; None if it leaves the folder that it is relative to."""
    plain = os.path.normpath(path).replace(os.sep, "/")
    return None if plain.split("/")[0] == ".." or Path(plain).is_absolute() else plain


_Name = Annotated[str, AfterValidator(_check_name)]
_Path = Annotated[str, AfterValidator(_below_root)]
_Number = Annotated[float, BeforeValidator(_check_point)]


class _Values(BaseModel):
    """The values of a row that are not empty; further columns are votes."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, NonNegativeFloat]

    utterance: _Name
    speaker: _Name
    emotion: str = ""
    dialog: _Name = ""
    group: _Name = ""
    start: Annotated[_Number, Field(ge=0)] = 0.0
    end: _Number | None = None
    text: str = ""
    audio: _Path = ""
    video: _Path = ""
    region: Literal["left", "right", "whole"] = "whole"
    split: Literal["train", "development", "test"] | None = None
    valence: _Number | None = None
    activation: _Number | None = None
    dominance: _Number | None = None

    @field_validator("end")
    @classmethod
    def _after_start(cls, end: float, info: ValidationInfo) -> float:
        if end <= (start := info.data.get("start", -math.inf)):
            raise ValueError(f"{end:g} is not after start, {start:g}; write seconds in the file")
        return end

    @model_validator(mode="after")
    def _not_empty(self) -> _Values:
        if not (self.audio or self.video or self.text):
            raise ValueError("the row names neither audio nor video nor text; give it one")
        return self

    def as_utterance(self, order: int) -> Utterance:
        """The utterance, with sources that need not exist."""
        audio = self.audio or self.video
        place = WITHIN if self.model_fields_set & {"start", "end"} else ""
        ratings = {name: getattr(self, name) for name in DIMENSIONS}
        return Utterance(
            id=self.utterance,
            dialog=self.dialog or self.utterance,
            order=order,
            start=self.start,
            end=math.nan if self.end is None else self.end,
            text=self.text,
            audio=Source(audio, place) if audio else None,
            video=Source(self.video, self.region) if self.video else None,
            speaker=self.speaker,
            group=self.group or self.speaker,
            emotion=self.emotion,
            part=self.split or "",
            votes={name.removeprefix(VOTES): n for name, n in self.__pydantic_extra__.items()},
            dimensions={name: value for name, value in ratings.items() if value is not None},
        )


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
        """Read the list and the headers of the recordings that it names."""
        path, folder = root / self.file, Folder(root)
        if _normal(self.file) is None:
            raise CorpusError(f"{path}: corpus.listed.file must be below corpus.root, {root}")
        if not path.is_file():
            raise CorpusError(
                f"{path}: no such file; `python -m pipeline.corpus template {path}` writes an "
                "example; corpus.listed.file is its name below corpus.root"
            )
        content = read_csv(path, REQUIRED, comments=True)
        folder.encoding(self.file, content.encoding)
        votes = [name for name in content.columns if re.match(f"{VOTES}.", name)]
        known = {*_Values.model_fields, *votes}
        faults = self._check_columns(folder, content.header, content.columns, known)
        lines: dict[str, int] = {}
        utterances = []
        for order, row in enumerate(content.rows):
            values = {name: text for name, text in row.values.items() if text and name in known}
            try:
                if row.fault:
                    raise ValueError(row.fault)
                checked = _Values.model_validate(values, context=(root.resolve(), self.file))
                first = lines.setdefault(checked.utterance, row.line)
                if first != row.line:
                    name = checked.utterance
                    raise ValueError(f"utterance: {name} is in line {first} too; rename one")
            except ValidationError as error:
                texts = [describe(dict(fault), _Values, []) for fault in error.errors()]
                faults += [(row.line, text) for text in texts]
            except ValueError as error:
                faults.append((row.line, str(error)))
            else:
                utterance = checked.as_utterance(order)
                utterances.append(self._without_missing(folder, row.line, utterance))
        if not content.rows:
            faults.append((content.header, "no row follows; write one per utterance"))
        if faults:
            texts = [f"{path}:{line}: {text}" for line, text in faults]
            more = [f"and {len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else []
            raise CorpusError("\n".join(texts[:_SHOWN] + more))
        utterances = folder.with_media(utterances)
        categories = [name.removeprefix(VOTES) for name in votes]
        return Reading(
            utterances,
            categories=categories,
            items=folder.items,
            hidden=folder.hidden,
            description=self._describe(utterances, categories),
        )

    def _check_columns(
        self, folder: Folder, line: int, columns: Sequence[str], known: Collection[str]
    ) -> list[tuple[int, str]]:
        """Record the columns that are not read; return those that look like a typing error."""
        faults = []
        for name in columns:
            close = difflib.get_close_matches(name.lower(), known, 1, 0.8)
            if name in known or not name:
                continue
            if close and close[0] not in columns:
                fault = f"{name}: not a column of the list; write {close[0]}, or another name"
                faults.append((line, fault))
            else:
                folder.add(ListReason.UNREAD, self.file, line, name)
        return faults

    def _without_missing(self, folder: Folder, line: int, utterance: Utterance) -> Utterance:
        """Record the files that do not exist, and remove them from the utterance."""
        sources = (utterance.audio, utterance.video)
        paths = {source.path for source in sources if source}
        missing = {path for path in paths if not (folder.root / path).is_file()}
        for path in sorted(missing):
            folder.add(ListReason.NO_FILE, self.file, line, path)
        audio, video = (s if s and s.path not in missing else None for s in sources)
        return replace(utterance, audio=audio, video=video)

    def _describe(self, utterances: Sequence[Utterance], votes: Sequence[str]) -> Description:
        """The codes and modalities of this list."""
        named = sorted({utterance.emotion for utterance in utterances} - {""})
        modalities = ("audio", "text", "video")
        return Description(
            title=self.description.title,
            emotions={code: code for code in [*named, *votes]},
            schemes={"all": {code: code for code in named}},
            modalities=tuple(
                name for name in modalities if any(getattr(u, name) for u in utterances)
            ),
        )
