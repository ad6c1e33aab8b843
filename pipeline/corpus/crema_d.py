"""CREMA-D, the Crowd-sourced Emotional Multimodal Actors Dataset: from its clone to utterances.

H. Cao et al., "CREMA-D: crowd-sourced emotional multimodal actors dataset", IEEE Transactions on
Affective Computing 5(4), 2014. What is read::

    AudioWAV/1001_DFA_ANG_XX.wav           actor, sentence, intended emotion, level
    VideoFlash/1001_DFA_ANG_XX.flv         the face
    VideoDemographics.csv                  the actors
    processedResults/tabulatedVotes.csv    how many raters heard, saw, or heard and saw what
    processedResults/summaryTable.csv      without that file: what most of them did

The intended emotion is the label; the raters' votes are soft targets (``train.targets: votes``).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import pandas as pd

from pipeline.corpus import findings, totals
from pipeline.corpus.description import Description, Word
from pipeline.corpus.folder import Folder, Reason, present
from pipeline.corpus.headers import is_pointer
from pipeline.corpus.reader import Reader, Reading
from pipeline.corpus.table import CorpusError
from pipeline.corpus.textfile import read_csv
from pipeline.corpus.utterance import Source, Utterance

if TYPE_CHECKING:
    from pipeline.corpus.parsing import Parsed

EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
BY_EMOTION = {code: 1087 if code == "NEU" else 1271 for code in EMOTIONS}
"""Utterances of the full release."""

SENTENCES = {
    "DFA": "Don't forget a jacket.",
    "IEO": "It's eleven o'clock.",
    "IOM": "I'm on my way to the meeting.",
    "ITH": "I think I have a doctor's appointment.",
    "ITS": "I think I've seen this before.",
    "IWL": "I would like a new alarm clock.",
    "IWW": "I wonder what this is about.",
    "MTI": "Maybe tomorrow it will be cold.",
    "TAI": "The airplane is almost full.",
    "TIE": "That is exactly what happened.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
"""What is said, whatever the emotion."""

_NAME = re.compile(r"(1\d{3})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX?)")
_LETTERS = {code[0]: code for code in EMOTIONS}
_KINDS = {"voice": "VoiceVote", "face": "FaceVote", "both": "MultiModalVote"}
_FOUR = {code: EMOTIONS[code] for code in ("ANG", "HAP", "NEU", "SAD")}

_Votes = dict[tuple[str, str], dict[str, float]]  # by utterance and kind


class CremaReason(findings.Reason):
    """What is odd in CREMA-D alone."""

    POINTERS = "folder with pointers of Git LFS; run `git lfs pull`", "skipped"


class CremaD(Reader):
    """The reader of CREMA-D.

    Attributes
    ----------
    votes
        Whose votes are read: of raters of the ``voice``, the ``face``, or ``both`` together.
    """

    description: ClassVar[Description] = Description(
        title="CREMA-D",
        emotions=EMOTIONS,
        schemes={"six": EMOTIONS, "four": _FOUR},
        group=Word("actor", "actors"),
        caution="All actors say the same twelve sentences, so words tell nothing of the emotion.",
    )

    votes: Literal["both", "voice", "face"] = "both"

    def read(self, root: Path) -> Reading:
        """Read the clone."""
        present(root, "CREMA-D", "AudioWAV and VideoFlash")
        folder = Folder(root)
        sounds, videos = _media(folder, "AudioWAV", ".wav"), _media(folder, "VideoFlash", ".flv")
        if not sounds and not videos:
            fault = "is no copy of CREMA-D; looked for recordings in AudioWAV and VideoFlash"
            if any(item.reason is CremaReason.POINTERS for item in folder.items):
                fault = "was cloned without Git LFS: its media are pointers; run `git lfs pull`"
            raise CorpusError(f"{root}: {fault}; set corpus.root to the clone")
        paths = videos | sounds
        opened = folder.headers(paths, Reason.BAD_AUDIO)
        sexes, votes = _sexes(folder), _votes(folder)
        utterances, clips = [], []
        for name in sorted(paths):
            actor, sentence, emotion, level = name.split("_")
            for files, reason in ((sounds, Reason.NO_AUDIO), (videos, Reason.NO_VIDEO)):
                if files and name not in files:
                    folder.add(reason, name)
            header = opened.get(name)
            utterances.append(
                Utterance(
                    id=name,
                    dialog=name,
                    end=header.seconds if header else 0.0,
                    text=SENTENCES[sentence],
                    audio=Source(sounds[name]) if header and name in sounds else None,
                    video=Source(videos[name], "whole") if name in videos else None,
                    speaker=actor,
                    group=actor,
                    gender=sexes.get(actor, ""),
                    emotion=emotion,
                    votes=votes.get((name, self.votes), {}),
                )
            )
            clips.append({"utterance": name, "sentence": sentence, "level": level})
        rated = [{"utterance": n, "kind": kind, **given} for (n, kind), given in votes.items()]
        return Reading(
            utterances,
            categories=tuple(EMOTIONS) if votes else (),
            items=folder.items,
            hidden=folder.hidden,
            details={"clips": pd.DataFrame(clips), "raters": pd.DataFrame(rated)},
        )

    def check(self, root: Path, parsed: Parsed) -> tuple[str, bool]:
        """Compare a copy with the full release."""
        media = ["audio", "video"]
        counted = totals.count(parsed.utterances, "emotion", BY_EMOTION, media, "all")
        return totals.check(parsed, counted)


def _media(folder: Folder, name: str, suffix: str) -> dict[str, str]:
    """The recordings of a folder by utterance, without those that are pointers."""
    found, pointers = {}, 0
    for stem, path in folder.files(name, suffix).items():
        match = _NAME.fullmatch(stem)
        if not match or match[2] not in SENTENCES or match[3] not in EMOTIONS:
            folder.add(Reason.UNNAMED, path)
            continue
        try:
            pointer = is_pointer(folder.root / path)
        except OSError:  # to open it says why
            pointer = False
        if pointer:
            pointers += 1
        else:
            found[stem] = path
    if pointers:
        folder.add(CremaReason.POINTERS, name, detail=f"{pointers} files")
    return found


def _sexes(folder: Folder) -> dict[str, str]:
    """``F`` or ``M`` of each actor."""
    file = "VideoDemographics.csv"
    if not (folder.root / file).is_file():
        folder.add(Reason.NO_FILE, file)
        return {}
    rows = read_csv(folder.root / file, ("ActorID", "Sex")).rows
    return {row.values["ActorID"]: row.values["Sex"][:1].upper() for row in rows if row.values}


def _votes(folder: Folder) -> _Votes:
    """The raters' votes of all kinds: counts, or, without them, one for each that most gave."""
    counts, summary = (f"processedResults/{n}.csv" for n in ("tabulatedVotes", "summaryTable"))
    found: _Votes = {}
    if (folder.root / counts).is_file():
        for row in read_csv(folder.root / counts, ("", *_LETTERS, "fileName")).rows:
            # rows are numbered 100001 and on for voice, 200001 for face, 300001 for both
            kind = dict(zip("123", _KINDS, strict=True)).get(row.values.get("", "")[:1])
            numbers = [row.values.get(letter, "") for letter in _LETTERS]
            if kind and all(number.isdecimal() for number in numbers):
                given = dict(zip(_LETTERS.values(), map(float, numbers), strict=True))
                found[row.values["fileName"], kind] = given
            else:
                folder.add(Reason.BAD_LINE, counts, row.line, row.fault)
    elif (folder.root / summary).is_file():
        for row in read_csv(folder.root / summary, ("FileName", *_KINDS.values())).rows:
            for kind, column in _KINDS.items():
                letters = row.values.get(column, "").split(":")
                if all(letter in _LETTERS for letter in letters):
                    given = {code: float(letter in letters) for letter, code in _LETTERS.items()}
                    found[row.values["FileName"], kind] = given
                else:
                    folder.add(Reason.BAD_LINE, summary, row.line, row.fault or column)
    else:
        folder.add(Reason.NO_FILE, summary, detail="no votes of raters")
    return found
