"""The plan of each embedded dialog: speakers, words, emotions, and the modalities that show them.

An utterance's emotion shows in one, two or three of voice, words and face, at random. A modality
that does not show it is neutral or shows an emotion that is easily confused with it. So no single
modality determines the label, but together they determine most labels.

The emotions of a dialog follow one another at random. With ``moods: persistent`` an emotion lasts
some turns and the other speaker answers to it, so that other utterances tell something of it, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto
from itertools import zip_longest
from typing import Literal, NamedTuple

import numpy as np

from embedded import lines
from pipeline import params

Speaker = Literal["F", "M"]

SESSIONS = range(1, 6)
CLASSES = ("ang", "exc", "fru", "hap", "neu", "sad", "sur")

_EACH_CLASS = 2
# the modalities in which a turn's emotion shows: each alone, each pair (twice), all
_SHOWN = (
    {"audio"}, {"text"}, {"video"},
    {"audio", "text"}, {"audio", "video"}, {"text", "video"},
    {"audio", "text"}, {"audio", "video"}, {"text", "video"},
    {"audio", "text", "video"},
)  # fmt: skip
_CONFUSED_SHARE = 0.1
_TURN_TAKEN_SHARE = 0.85
_STRENGTH = (0.85, 1.15)
_CONFUSABLE = {
    "ang": "fru", "fru": "ang", "hap": "exc", "exc": "hap", "sad": "neu", "sur": "exc",
    "neu": "sad",
}  # fmt: skip
# what the other speaker feels in a mood of the first
_ANSWER = {
    "ang": "fru", "exc": "sur", "fru": "neu", "hap": "hap", "neu": "neu", "sad": "sad",
    "sur": "exc",
}  # fmt: skip
_MOOD_TURNS = 8
# codes outside the seven classes are shown as one of them
_LOOKS_LIKE = {"fea": "sur", "oth": "fru"}


class Trap(Enum):
    """A fault of real copies of the release."""

    VERY_SHORT_WAV = auto()
    """An utterance shorter than one analysis window."""
    LABEL_LACKS_UTTERANCE = auto()
    """An utterance of the transcript is missing from the labels."""
    TRANSCRIPT_LACKS_UTTERANCE = auto()
    """An utterance of the labels is missing from the transcript."""
    WAV_IN_OTHER_TAKE = auto()
    """A wav lies in the folder of another take."""
    HEADER_OFF = auto()
    """The AVI header has a wrong frame count and frame rate."""
    PAST_VIDEO_END = auto()
    """The last utterance ends after the video stream."""
    NO_VIDEO = auto()
    """The dialog has no video file."""
    WINDOWS_1252 = auto()
    """Curly apostrophes as the single byte 0x92."""
    CARRIAGE_RETURNS = auto()
    """Lines of labels and transcripts end with CR LF."""


# in the first dialog of each session, so that the smallest corpus has all of them
_TRAPS = {
    1: (Trap.VERY_SHORT_WAV, Trap.LABEL_LACKS_UTTERANCE),
    2: (Trap.WAV_IN_OTHER_TAKE, Trap.WINDOWS_1252),
    3: (Trap.HEADER_OFF, Trap.CARRIAGE_RETURNS),
    4: (Trap.PAST_VIDEO_END, Trap.WINDOWS_1252, Trap.CARRIAGE_RETURNS),
    5: (Trap.NO_VIDEO, Trap.TRANSCRIPT_LACKS_UTTERANCE),
}
_RARE = {3: "fea", 4: "oth"}
# faults that stop other readers of the release, which look for a recording in its own folder only
# and for a label of each recording
_ONLY_OURS = {Trap.WAV_IN_OTHER_TAKE, Trap.LABEL_LACKS_UTTERANCE}
_TAKES: dict[int, dict[str, tuple[str, ...]]] = {
    3: {"M_impro05": ("a", "b"), "M_impro08": ("a", "b")},
    5: {"M_script01_1": ("b",)},
}
"""The takes of the release, by session and scene."""
_MORE_TAKES: dict[str, tuple[str, ...]] = {"M_script01_1": ("b",), "F_impro02": ("a",)}
"""The takes with traps."""


class Cues(NamedTuple):
    """The emotion that each modality of an utterance shows; one of :data:`CLASSES`."""

    audio: str
    text: str
    video: str


@dataclass(frozen=True)
class Turn:
    """One utterance: speaker, emotion code of the release, emotion of each modality, and words."""

    utterance: str
    speaker: Speaker
    emotion: str
    cues: Cues
    strength: float
    text: str
    in_labels: bool = True
    in_transcript: bool = True
    very_short: bool = False


@dataclass(frozen=True)
class Dialog:
    """One dialog: id, turns in the order of time, and traps."""

    name: str
    turns: tuple[Turn, ...]
    traps: frozenset[Trap]

    @property
    def session(self) -> int:
        return int(self.name[4])

    @property
    def marked(self) -> Speaker:
        """The actor who wears the markers."""
        return "F" if self.name[5] == "F" else "M"


def write(settings: params.Embedded) -> list[Dialog]:
    """Plan the whole corpus, session by session; the first dialog of each has traps.

    Without `settings.traps` it has only those that other readers of the release tolerate.
    """
    return [
        _dialog(name, position, settings)
        for session in SESSIONS
        for position, name in enumerate(
            _names(session, settings.traps)[: settings.dialogs_per_session]
        )
    ]


def _names(session: int, traps: bool) -> list[str]:
    """Dialog ids of a session, alternating between scenarios and between marked actors.

    Each session starts at another point of the sequence, so that the first dialogs are of every
    kind. Takes are those of the release, or other ones with `traps`.
    """
    improvised = [f"impro{number:02d}" for number in range(1, 9)]
    scripted = [f"script0{script}_{part}" for script, part in
                ((1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (3, 1), (3, 2))]  # fmt: skip
    round_ = [
        f"{marked}_{scenario}"
        for scenes in zip_longest(improvised, scripted)
        for marked, scenario in zip("FMMF", (*scenes, *scenes), strict=True)
        if scenario
    ]
    start = session - 1
    takes = _MORE_TAKES if traps else _TAKES.get(session, {})
    return [
        f"Ses{session:02d}{scene}{take}"
        for scene in round_[start:] + round_[:start]
        for take in takes.get(scene, ("",))
    ]


def _dialog(name: str, position: int, settings: params.Embedded) -> Dialog:
    session = int(name[4])
    rng = np.random.default_rng([settings.seed, session, position])
    carried = _TRAPS[session] if position == 0 else ()
    traps = frozenset(trap for trap in carried if settings.traps or trap not in _ONLY_OURS)
    # the dialog without video is short, to keep most of the session complete
    each = 1 if Trap.NO_VIDEO in traps else _EACH_CLASS
    emotions = [*(CLASSES * each), ("neu", "fru")[position % 2], "xxx"]
    if position == 0 and session in _RARE:
        emotions.append(_RARE[session])
    rng.shuffle(emotions)
    felt: list[dict[Speaker, str]] = [{"F": emotion, "M": emotion} for emotion in emotions]
    if settings.moods == "persistent":
        felt = _in_moods(felt, np.random.default_rng([settings.seed, session]), position)
    shown = [_SHOWN[place] for _ in range(2) for place in rng.permutation(len(_SHOWN))]
    turns: list[Turn] = []
    speaker: Speaker = "F"
    for number, each_feels in enumerate(felt):
        emotion = each_feels[speaker]
        lacks_text = Trap.TRANSCRIPT_LACKS_UTTERANCE in traps and number == len(felt) // 2
        present = set(Cues._fields) - ({"video"} if Trap.NO_VIDEO in traps else set())
        present -= {"text"} if lacks_text else set()
        odd = emotion == "xxx" and position == 0
        cues = _cues(_LOOKS_LIKE.get(emotion, emotion), shown[number] & present or present, rng)
        turns.append(
            Turn(
                _id(name, turns, speaker),
                speaker,
                emotion,
                cues,
                float(rng.uniform(*_STRENGTH)),
                lines.ODD[session] if odd else lines.draw(cues.text, rng),
                in_transcript=not lacks_text,
            )
        )
        if rng.random() < _TURN_TAKEN_SHARE:
            speaker = "M" if speaker == "F" else "F"
    return Dialog(name, (*turns, *_extras(name, turns, traps, rng)), traps)


def _in_moods(
    felt: list[dict[Speaker, str]], rng: np.random.Generator, position: int
) -> list[dict[Speaker, str]]:
    """Emotions that persist: a few turns each, in which one speaker's answers to the other's.

    The dialogs of a session take their moods from one shuffled row of all classes in turn. Codes
    outside the seven classes stay where they are.
    """
    deck = rng.permutation(CLASSES)
    most = math.ceil(len(felt) / _MOOD_TURNS)
    found: list[dict[Speaker, str]] = []
    turns = 0
    for each in felt:
        if each["F"] not in CLASSES:
            found.append(each)
            continue
        number = turns // _MOOD_TURNS
        mood = str(deck[(position * most + number) % len(deck)])
        found.append(
            {"F": mood, "M": _ANSWER[mood]} if number % 2 else {"M": mood, "F": _ANSWER[mood]}
        )
        turns += 1
    return found


def _id(dialog: str, before: list[Turn], speaker: Speaker) -> str:
    return f"{dialog}_{speaker}{sum(turn.speaker == speaker for turn in before):03d}"


def _cues(emotion: str, shown: set[str], rng: np.random.Generator) -> Cues:
    """Choose the emotion of each modality, where those of `shown` show `emotion`."""
    if emotion == "xxx":
        return Cues(*(str(cue) for cue in rng.choice(CLASSES, 3, replace=False)))
    confused = rng.random(len(Cues._fields)) < _CONFUSED_SHARE
    return Cues(
        *(
            emotion if modality in shown else _CONFUSABLE[emotion] if stray else "neu"
            for modality, stray in zip(Cues._fields, confused, strict=True)
        )
    )


def _extras(
    dialog: str, turns: list[Turn], traps: frozenset[Trap], rng: np.random.Generator
) -> list[Turn]:
    """Utterances that exist only for a trap."""
    turns = list(turns)
    first = len(turns)
    neutral = Cues("neu", "neu", "neu")
    if Trap.VERY_SHORT_WAV in traps:
        utterance = _id(dialog, turns, "F")
        turns.append(Turn(utterance, "F", "xxx", neutral, 1.0, "Mm.", very_short=True))
    if Trap.LABEL_LACKS_UTTERANCE in traps:
        text = lines.draw("neu", rng)
        turns.append(Turn(_id(dialog, turns, "M"), "M", "neu", neutral, 1.0, text, in_labels=False))
    return turns[first:]
