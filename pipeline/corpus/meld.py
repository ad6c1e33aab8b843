"""MELD, the Multimodal EmotionLines Dataset: from its lists and clips to utterances.

S. Poria et al., "MELD: a multimodal multi-party dataset for emotion recognition in conversations",
ACL 2019. What is read, in the root or in its folders ``train``, ``dev`` and ``test``::

    train_sent_emo.csv  dev_sent_emo.csv  test_sent_emo.csv      labels, words, speakers
    train_splits/dia0_utt0.mp4                                   a clip per utterance
    dev_splits_complete/  output_repeated_splits_test/

Ids repeat between the three parts, so ours begin with the part: ``dev_dia0_utt1``. The order in a
dialog is that of ``Utterance_ID``; times are of the episode and contradict it here and there. A
clip holds its utterance alone, from second 0 to its end, with whoever is in the picture.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from pipeline.corpus import findings, totals
from pipeline.corpus.description import Description, Word
from pipeline.corpus.folder import Folder, Reason, present
from pipeline.corpus.reader import Reader, Reading
from pipeline.corpus.table import CorpusError
from pipeline.corpus.textfile import Row, read_csv
from pipeline.corpus.utterance import Source, Utterance

if TYPE_CHECKING:
    from pipeline.corpus.headers import Header
    from pipeline.corpus.parsing import Parsed

PARTS = {
    "train": ("train", "train_splits"),
    "dev": ("development", "dev_splits_complete"),
    "test": ("test", "output_repeated_splits_test"),
}
"""The release's word for a part of the split, ours, and the folder of its clips."""

EMOTIONS = ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear")
BY_EMOTION = {
    part: dict(zip(EMOTIONS, counts, strict=True))
    for part, counts in {
        "train": (4710, 1743, 1205, 1109, 683, 271, 268),
        "development": (470, 163, 150, 153, 111, 22, 40),
        "test": (1256, 402, 281, 345, 208, 68, 50),
    }.items()
}
"""Utterances of the full release."""

GAPS = {"train": 1, "development": 1, "test": 0}
"""Clips that no copy is known to have whole: dia125_utt3 of train, dia110_utt7 of dev."""

_COLUMNS = (
    "Utterance",
    "Speaker",
    "Emotion",
    "Dialogue_ID",
    "Utterance_ID",
    "StartTime",
    "EndTime",
)
_CLIP = re.compile(r"(final_videos_test)?dia(\d{1,6})_utt(\d{1,6})")
_TIME = re.compile(r"(\d{1,2}):(\d\d):(\d\d)[,.](\d{1,3})")
_SLACK = 1.0  # seconds that a clip may last longer or shorter than its times say


class MeldReason(findings.Reason):
    """What is odd in MELD alone."""

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
        """Read the parts that there are."""
        present(root, "MELD", "train_sent_emo.csv, dev_sent_emo.csv and test_sent_emo.csv")
        folder = Folder(root)
        utterances: list[Utterance] = []
        episodes: list[dict[str, Any]] = []
        for part in PARTS:
            name = f"{part}_sent_emo.csv"
            file = next((f for f in (name, f"{part}/{name}") if (root / f).is_file()), "")
            if file:
                found, known = _read_part(folder, part, file)
                utterances, episodes = utterances + found, episodes + known
            else:
                folder.add(Reason.NO_FILE, name)
        if sum(item.reason is Reason.NO_FILE for item in folder.items) == len(PARTS):
            lists = ", ".join(f"{part}_sent_emo.csv" for part in PARTS)
            raise CorpusError(
                f"{root}: is no copy of MELD; looked for {lists} in it and in its folders train, "
                "dev and test; set corpus.root to the folder that holds them"
            )
        details = {"episodes": pd.DataFrame(episodes)}
        return Reading(utterances, items=folder.items, hidden=folder.hidden, details=details)

    def check(self, root: Path, parsed: Parsed) -> tuple[str, bool]:
        """Compare a copy with the full release, part by part."""
        counted = []
        for part, expected in BY_EMOTION.items():
            rows = parsed.utterances[parsed.utterances["part"] == part]
            for total in totals.count(rows, "emotion", expected, ["audio", "video"], part):
                gap = GAPS[part] if total.what.startswith("  with") else 0
                near = gap and total.expected and total.found >= total.expected - gap
                counted.append(total._replace(expected=total.found) if near else total)
        return totals.check(parsed, counted)


def _read_part(
    folder: Folder, part: str, file: str
) -> tuple[list[Utterance], list[dict[str, Any]]]:
    """Read a list and look for its clips: the utterances, and what it says of their episodes."""
    utterances: list[Utterance] = []
    episodes: list[dict[str, Any]] = []
    content = read_csv(folder.root / file, _COLUMNS)
    folder.encoding(file, content.encoding)
    spoken: dict[str, tuple[int, Utterance]] = {}
    for row in content.rows:
        found = _utterance(folder, part, file, row)
        if not found:
            continue
        if found.id in spoken:
            folder.add(Reason.DUPLICATE, file, row.line, found.id)
            continue
        spoken[found.id] = (row.line, found)
        kept = ("Season", "Episode", "StartTime", "EndTime", "Sentiment")
        known = {name.lower(): row.values.get(name, "") for name in kept}
        episodes.append({"utterance": found.id, **known})
    clips = _clips(folder, part, set(spoken))
    opened = folder.headers(clips or {}, Reason.BAD_VIDEO)
    for name, (line, utterance) in spoken.items():
        if clips is not None and name not in clips:
            folder.add(Reason.NO_VIDEO, file, line, name)
        header = opened.get(name)
        path = clips[name] if clips and header else ""
        utterances.append(_with_clip(folder, utterance, path, header))
    return utterances, episodes


def _utterance(folder: Folder, part: str, file: str, row: Row) -> Utterance | None:
    """A row without its clip; None, and a finding, if it cannot be read."""
    values = row.values
    ids = [values.get(name, "") for name in ("Dialogue_ID", "Utterance_ID")]
    times = [_TIME.fullmatch(values.get(name, "")) for name in ("StartTime", "EndTime")]
    start, end = (_seconds(match) if match else -1.0 for match in times)
    fault = row.fault
    if not fault and not all(number.isdecimal() for number in ids):
        fault = f"{ids[0]!r} and {ids[1]!r} are no ids of a dialog and an utterance"
    if not fault and min(start, end) < 0:
        fault = f"{values['StartTime']!r} and {values['EndTime']!r} are no times"
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


def _clips(folder: Folder, part: str, known: set[str]) -> dict[str, str] | None:
    """The clips of a part by utterance; None if it has no folder of them."""
    name = PARTS[part][1]
    where = next((f for f in (name, f"{part}/{name}") if (folder.root / f).is_dir()), "")
    if not where:
        folder.add(Reason.NO_FOLDER, name)
        return None
    clips: dict[str, str] = {}
    # plain names come before those of copies, "dia" before "final_videos_testdia"
    for stem, path in sorted(folder.files(where, ".mp4").items()):
        match = _CLIP.fullmatch(stem)
        utterance = f"{part}_dia{int(match[2])}_utt{int(match[3])}" if match else ""
        if not match:
            folder.add(Reason.UNNAMED, path)
        elif utterance not in known:
            folder.add(Reason.NO_LABEL, path)
        elif utterance in clips:
            folder.add(MeldReason.TWICE, path)
        else:
            clips[utterance] = path
    return clips


def _with_clip(folder: Folder, utterance: Utterance, path: str, header: Header | None) -> Utterance:
    """The utterance with its clip's sound, pictures and length."""
    if header is None:
        return utterance
    if abs(header.seconds - utterance.end) > max(_SLACK, 0.1 * utterance.end):
        detail = f"{header.seconds:.2f} s, its times say {utterance.end:.2f} s"
        folder.add(MeldReason.OTHER_LENGTH, path, detail=detail)
    if not header.sound:
        folder.add(Reason.NO_SOUND, path)
    if not header.picture:
        folder.add(Reason.NO_PICTURE, path)
    return replace(
        utterance,
        end=header.seconds,
        audio=Source(path) if header.sound else None,
        video=Source(path, "whole") if header.picture else None,
    )
