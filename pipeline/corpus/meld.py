"""Reader of MELD, the Multimodal EmotionLines Dataset.

S. Poria et al., "MELD: a multimodal multi-party dataset for emotion recognition in conversations",
ACL 2019. These files are read, in the root or in its folders ``train``, ``dev`` and ``test``::

    train_sent_emo.csv  dev_sent_emo.csv  test_sent_emo.csv      labels, transcripts, speakers
    train_splits/dia0_utt0.mp4                                   one clip per utterance
    dev_splits_complete/  output_repeated_splits_test/

Ids are unique only within a part, so ours begin with the part: ``dev_dia0_utt1``. The order in a
dialog is that of ``Utterance_ID``; the times, which are those of the episode, sometimes contradict
it. A clip contains one utterance, from its first to its last second. The speaker may be anywhere in
the picture, or not in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from pipeline.corpus import findings, totals
from pipeline.corpus.description import Description, Word
from pipeline.corpus.folder import Folder, Reason, not_a_copy
from pipeline.corpus.reader import Reader, Reading
from pipeline.corpus.textfile import Row
from pipeline.corpus.utterance import Source, Utterance

if TYPE_CHECKING:
    from pipeline.corpus.parsing import Parsed

PARTS = {
    "train": ("train", "train_splits"),
    "dev": ("development", "dev_splits_complete"),
    "test": ("test", "output_repeated_splits_test"),
}
"""The release's name of each part of the split, our name, and the folder of its clips."""

EMOTIONS = ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear")
BY_EMOTION = {
    part: dict(zip(EMOTIONS, counts, strict=True))
    for part, counts in {
        "train": (4710, 1743, 1205, 1109, 683, 271, 268),
        "development": (470, 163, 150, 153, 111, 22, 40),
        "test": (1256, 402, 281, 345, 208, 68, 50),
    }.items()
}
"""Number of utterances in the full release."""

GAPS = {"train": 1, "development": 1, "test": 0}
"""Number of clips missing or damaged in every known copy: train dia125_utt3, dev dia110_utt7."""

_COLUMNS = (
    "Utterance",
    "Speaker",
    "Emotion",
    "Dialogue_ID",
    "Utterance_ID",
    "StartTime",
    "EndTime",
)
_CLIP = re.compile(r"(?:final_videos_test)?dia(\d{1,6})_utt(\d{1,6})")
_TIME = re.compile(r"(\d{1,2}):(\d\d):(\d\d)[,.](\d{1,3})")
_SLACK = 1.0  # seconds that the length of a clip may differ from its times
_EPISODE = ("Season", "Episode", "StartTime", "EndTime", "Sentiment")


class MeldReason(findings.Reason):
    """Reasons of MELD only."""

    TWICE = "clip that is there under another name too", "skipped"
    NO_LENGTH = "times without a length", "kept"
    OTHER_LENGTH = "clip of another length than its times", "kept as long as the clip"


class Meld(Reader):
    """The reader of MELD."""

    description: ClassVar[Description] = Description(
        title="MELD",
        emotions={emotion: emotion for emotion in EMOTIONS},
        schemes={"seven": {emotion: emotion for emotion in EMOTIONS}},
        group=Word("part", "parts"),
    )

    def read(self, root: Path) -> Reading:
        """Read the parts that exist."""
        folder = Folder(root)
        utterances: list[Utterance] = []
        episodes: list[dict[str, str]] = []
        lists = {part: _find(folder, part, f"{part}_sent_emo.csv") for part in PARTS}
        if not any((root / file).is_file() for file in lists.values()):
            contents = f"{', '.join(lists.values())}, also in folders train, dev and test,"
            raise not_a_copy(root, "MELD", contents)
        for part, file in lists.items():
            rows = _read_list(folder, part, file)
            utterances += _with_clips(folder, part, file, rows)
            episodes += [
                {"utterance": name}
                | {column.lower(): row.values.get(column, "") for column in _EPISODE}
                for name, (row, _) in rows.items()
            ]
        details = {"episodes": pd.DataFrame(episodes)}
        return Reading(utterances, items=folder.items, hidden=folder.hidden, details=details)

    def check(self, root: Path, parsed: Parsed) -> tuple[str, bool]:
        """Compare a copy with the full release, part by part."""
        counted = []
        for part, expected in BY_EMOTION.items():
            rows = parsed.utterances[parsed.utterances["part"] == part]
            for total in totals.count(rows, "emotion", expected, ["audio", "video"], part):
                gap = GAPS[part] if total.row.startswith("  with") else 0
                near = gap and total.expected and total.found >= total.expected - gap
                counted.append(total._replace(expected=total.found) if near else total)
        return totals.check(parsed, counted)


def _find(folder: Folder, part: str, name: str) -> str:
    """Where a file or folder of a part is: in the root, or in the folder of the part."""
    return f"{part}/{name}" if (folder.root / part / name).exists() else name


def _read_list(folder: Folder, part: str, file: str) -> dict[str, tuple[Row, Utterance]]:
    """Read the list of a part, without the clips, by utterance."""
    rows: dict[str, tuple[Row, Utterance]] = {}
    for row in folder.rows(file, _COLUMNS):
        utterance = _utterance(folder, part, file, row)
        if utterance and utterance.id in rows:
            folder.add(Reason.DUPLICATE, file, row.line, utterance.id)
        elif utterance:
            rows[utterance.id] = row, utterance
    return rows


def _utterance(folder: Folder, part: str, file: str, row: Row) -> Utterance | None:
    """Read a row; None, and a finding, if it is malformed."""
    values = row.values
    ids = [values[name] for name in ("Dialogue_ID", "Utterance_ID")]
    times = [_TIME.fullmatch(values[name]) for name in ("StartTime", "EndTime")]
    start, end = (_seconds(match) if match else -1.0 for match in times)
    fault = ""
    if not all(number.isdecimal() for number in ids):
        fault = f"{ids[0]!r} and {ids[1]!r} must be ids of a dialog and an utterance"
    elif min(start, end) < 0:
        fault = f"{values['StartTime']!r} and {values['EndTime']!r} must be times"
    if fault:
        folder.add(Reason.BAD_LINE, file, row.line, fault)
        return None
    if values["Emotion"] not in EMOTIONS:
        folder.add(Reason.UNKNOWN_EMOTION, file, row.line, values["Emotion"])
        return None
    dialog, name = f"{part}_dia{int(ids[0])}", f"{part}_dia{int(ids[0])}_utt{int(ids[1])}"
    if end <= start:
        folder.add(MeldReason.NO_LENGTH, file, row.line, name)
    return Utterance(
        id=name,
        dialog=dialog,
        order=int(ids[1]),
        end=round(max(end - start, 0.0), 3),
        text=values["Utterance"],
        speaker=values["Speaker"],
        group=PARTS[part][0],
        emotion=values["Emotion"],
        part=PARTS[part][0],
    )


def _seconds(match: re.Match[str]) -> float:
    hours, minutes, seconds, fraction = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


def _with_clips(
    folder: Folder, part: str, file: str, rows: Mapping[str, tuple[Row, Utterance]]
) -> list[Utterance]:
    """Add the clips to the utterances of a part."""
    if not rows:
        return []
    where = _find(folder, part, PARTS[part][1])
    clips = _clips(folder, part, where, rows)
    for name in rows.keys() - clips.keys():
        if (folder.root / where).is_dir():
            folder.add(Reason.NO_VIDEO, file, rows[name][0].line, name)
    utterances = [
        replace(utterance, audio=Source(clips[name]), video=Source(clips[name], "whole"))
        if name in clips
        else utterance
        for name, (_, utterance) in rows.items()
    ]
    completed = folder.with_media(utterances)
    for before, after in zip(utterances, completed, strict=True):
        if abs(after.end - before.end) > max(_SLACK, 0.1 * before.end):
            detail = f"{after.end:.2f} s, by its times {before.end:.2f} s"
            folder.add(MeldReason.OTHER_LENGTH, clips[after.id], detail=detail)
    return completed


def _clips(folder: Folder, part: str, where: str, known: Collection[str]) -> dict[str, str]:
    """The clips in a folder by utterance."""
    clips: dict[str, str] = {}
    # sorted: "dia..." comes before its repetition "final_videos_testdia..."
    for stem, path in sorted(folder.files(where, ".mp4").items()):
        match = _CLIP.fullmatch(stem)
        utterance = f"{part}_dia{int(match[1])}_utt{int(match[2])}" if match else ""
        if not match:
            folder.add(Reason.UNNAMED, path)
        elif utterance not in known:
            folder.add(Reason.NO_LABEL, path)
        elif utterance in clips:
            folder.add(MeldReason.TWICE, path)
        else:
            clips[utterance] = path
    return clips
