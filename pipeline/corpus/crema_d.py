"""Reader of CREMA-D, the Crowd-sourced Emotional Multimodal Actors Dataset.

H. Cao et al., "CREMA-D: crowd-sourced emotional multimodal actors dataset", IEEE Transactions on
Affective Computing 5(4), 2014. These files of the repository are read::

    AudioWAV/1001_DFA_ANG_XX.wav           actor, sentence, intended emotion, level
    VideoFlash/1001_DFA_ANG_XX.flv         the face
    VideoDemographics.csv                  the actors
    processedResults/tabulatedVotes.csv    the raters' votes for voice, face, and both together
    processedResults/summaryTable.csv      without that file: the votes of the majority

The intended emotion is the label; the raters' votes are soft targets (``train.targets: votes``).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import pandas as pd

from pipeline.corpus import findings, totals
from pipeline.corpus.description import Description, Word
from pipeline.corpus.folder import Folder, Reason, not_a_copy
from pipeline.corpus.headers import is_pointer
from pipeline.corpus.reader import Reader, Reading
from pipeline.corpus.table import CorpusError
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
"""Number of utterances in the full release."""

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
"""The sentences; each is spoken with every emotion."""

_NAME = re.compile(r"(1\d{3})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX?)")
_LETTERS = {code[0]: code for code in EMOTIONS}
_KINDS = {"voice": "VoiceVote", "face": "FaceVote", "both": "MultiModalVote"}
_FOUR = {code: EMOTIONS[code] for code in ("ANG", "HAP", "NEU", "SAD")}

_Votes = dict[tuple[str, str], dict[str, float]]  # by utterance and kind


class CremaReason(findings.Reason):
    """Reasons of CREMA-D only."""

    POINTERS = "folder with pointers of Git LFS; run `git lfs pull`", "skipped"


class CremaD(Reader):
    """The reader of CREMA-D.

    Attributes
    ----------
    votes
        The votes that are used: for the ``voice``, the ``face``, or ``both`` together.
    """

    description: ClassVar[Description] = Description(
        title="CREMA-D",
        emotions=EMOTIONS,
        schemes={"six": EMOTIONS, "four": _FOUR},
        group=Word("actor", "actors"),
        caution="All actors say the same twelve sentences, so words tell nothing of the emotion.",
    )
    dialogs: ClassVar[bool] = False

    votes: Literal["both", "voice", "face"] = "both"

    def read(self, root: Path) -> Reading:
        """Read a clone of the repository.

        Only one file per utterance is opened: its recording or, without one, its video.
        """
        folder = Folder(root)
        audio, videos = _media(folder, "AudioWAV", ".wav"), _media(folder, "VideoFlash", ".flv")
        if not audio and not videos:
            if any(item.reason is CremaReason.POINTERS for item in folder.items):
                raise CorpusError(
                    f"{root}: was cloned without Git LFS: its media are pointers; run "
                    "`git lfs pull` in it (a ZIP download has pointers only: clone it instead)"
                )
            raise not_a_copy(root, "CREMA-D", "recordings in AudioWAV and VideoFlash")
        paths = videos | audio
        opened = folder.headers(paths.values(), Reason.BAD_AUDIO)
        rows = folder.rows("VideoDemographics.csv", ("ActorID", "Sex"))
        genders = {row.values["ActorID"]: row.values["Sex"][:1].upper() for row in rows}
        votes = _votes(folder)
        utterances, clips = [], []
        for name, path in sorted(paths.items()):
            actor, sentence, emotion, level = name.split("_")
            for files, reason in ((audio, Reason.NO_AUDIO), (videos, Reason.NO_VIDEO)):
                if files and name not in files:
                    folder.add(reason, name)
            header = opened.get(path)
            utterances.append(
                Utterance(
                    id=name,
                    dialog=name,
                    end=header.seconds if header else 0.0,
                    text=SENTENCES[sentence],
                    audio=Source(audio[name]) if header and name in audio else None,
                    video=Source(videos[name], "whole") if name in videos else None,
                    speaker=actor,
                    group=actor,
                    gender=genders.get(actor, ""),
                    emotion=emotion,
                    votes=votes.get((name, self.votes), {}),
                )
            )
            clips.append({"utterance": name, "sentence": sentence, "level": level})
        raters = [{"utterance": n, "kind": kind, **counts} for (n, kind), counts in votes.items()]
        return Reading(
            utterances,
            categories=tuple(EMOTIONS) if votes else (),
            items=folder.items,
            hidden=folder.hidden,
            details={"clips": pd.DataFrame(clips), "raters": pd.DataFrame(raters)},
        )

    def check(self, root: Path, parsed: Parsed) -> tuple[str, bool]:
        """Compare a copy with the full release."""
        media = ["audio", "video"]
        counted = totals.count(parsed.utterances, "emotion", BY_EMOTION, media, "all")
        return totals.check(parsed, counted)


def _media(folder: Folder, name: str, suffix: str) -> dict[str, str]:
    """The recordings of a folder by utterance, without Git LFS pointers."""
    recordings, pointers = {}, 0
    for stem, path in folder.files(name, suffix).items():
        match = _NAME.fullmatch(stem)
        if not match or match[2] not in SENTENCES or match[3] not in EMOTIONS:
            folder.add(Reason.UNNAMED, path)
            continue
        try:
            pointer = is_pointer(folder.root / path)
        except OSError:  # reported when its header is read
            pointer = False
        if pointer:
            pointers += 1
        else:
            recordings[stem] = path
    if pointers:
        folder.add(CremaReason.POINTERS, name, detail=f"{pointers} files")
    return recordings


def _votes(folder: Folder) -> _Votes:
    """The raters' votes of all kinds: counts or, without them, one for each majority emotion."""
    counts, summary = (f"processedResults/{n}.csv" for n in ("tabulatedVotes", "summaryTable"))
    votes: _Votes = {}
    if (folder.root / counts).is_file():
        for row in folder.rows(counts, ("", *_LETTERS, "fileName")):
            # row numbers start at 100001 for the voice, 200001 for the face, 300001 for both
            kind = dict(zip("123", _KINDS, strict=True)).get(row.values[""][:1])
            numbers = [row.values[letter] for letter in _LETTERS]
            if kind and all(number.isdecimal() for number in numbers):
                by_code = dict(zip(_LETTERS.values(), map(float, numbers), strict=True))
                votes[row.values["fileName"], kind] = by_code
            else:
                folder.add(Reason.BAD_LINE, counts, row.line)
        return votes
    for row in folder.rows(summary, ("FileName", *_KINDS.values())):
        for kind, column in _KINDS.items():
            letters = row.values[column].split(":")
            if all(letter in _LETTERS for letter in letters):
                by_code = {code: float(letter in letters) for letter, code in _LETTERS.items()}
                votes[row.values["FileName"], kind] = by_code
            else:
                folder.add(Reason.BAD_LINE, summary, row.line, column)
    return votes
