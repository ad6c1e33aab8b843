"""The sound of a dialog: lines with short pauses or overlaps, mixed, and cut into utterances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embedded import voice
from embedded.screenplay import Dialog, Speaker, Turn
from embedded.textfiles import TimedTurn

_FIRST_START, _LAST_REST = 0.5, 0.6
_PAUSE = (-0.2, 0.25)  # seconds between utterances; negative: speakers overlap
_SAME_SPEAKER_PAUSE = 0.05
_ROOM_NOISE = 10 ** (-60 / 20)
_VERY_SHORT = 0.02  # seconds; shorter than an analysis window
_PEAK = 0.98


@dataclass(frozen=True)
class Recording:
    """The sound of a dialog at :data:`embedded.voice.RATE`.

    Attributes
    ----------
    timed
        The utterances with their times.
    mix
        [T] int16, both speakers and noise.
    tracks
        [T] float32 of each speaker.
    words
        By utterance id: (word, start, end), in seconds from the utterance's start.
    """

    timed: list[TimedTurn]
    mix: np.ndarray
    tracks: dict[Speaker, np.ndarray]
    words: dict[str, list[tuple[str, float, float]]]

    def cut(self, t: TimedTurn) -> np.ndarray:
        """Return the samples of one utterance."""
        return self.mix[round(t.start * voice.RATE) : round(t.end * voice.RATE)]

    def loudness(self, speaker: Speaker, frames_per_second: float) -> np.ndarray:
        """Return the root mean square of a speaker in each video frame."""
        track = self.tracks[speaker]
        count = int(len(track) / voice.RATE * frames_per_second)
        edges = np.rint(np.arange(count + 1) / frames_per_second * voice.RATE).astype(int)
        power = np.add.reduceat(track.astype(np.float64) ** 2, edges[:-1])
        return np.sqrt(power / np.diff([*edges[:-1], len(track)]))


def record(dialog: Dialog, rng: np.random.Generator) -> Recording:
    spoken = []
    for turn in dialog.turns:
        actor = voice.VOICES[f"Ses{dialog.session:02d}{turn.speaker}"]
        seed = int(rng.integers(2**32))
        spoken.append(voice.speak(turn.text, actor, turn.cues.audio, turn.strength, seed))
    samples = [_heard(turn, speech) for turn, speech in zip(dialog.turns, spoken, strict=True)]
    timed = _schedule(dialog, [len(line) / voice.RATE for line in samples], rng)
    length = round((max(t.end for t in timed) + _LAST_REST) * voice.RATE)
    tracks: dict[Speaker, np.ndarray] = {s: np.zeros(length, np.float32) for s in ("F", "M")}
    for t, line in zip(timed, samples, strict=True):
        start = round(t.start * voice.RATE)
        tracks[t.turn.speaker][start : start + len(line)] += line
    mix = tracks["F"] + tracks["M"] + _ROOM_NOISE * rng.standard_normal(length)
    words = {
        turn.utterance: speech.words
        for turn, speech in zip(dialog.turns, spoken, strict=True)
        if not turn.very_short
    }
    integers = np.rint(np.clip(mix, -_PEAK, _PEAK) * 32767).astype(np.int16)
    return Recording(timed, integers, tracks, words)


def _heard(turn: Turn, speech: voice.Speech) -> np.ndarray:
    """Return the samples of an utterance; if it is very short, a piece from the middle."""
    if not turn.very_short:
        return speech.samples
    middle = len(speech.samples) // 2
    return speech.samples[middle : middle + round(_VERY_SHORT * voice.RATE)]


def _schedule(dialog: Dialog, durations: list[float], rng: np.random.Generator) -> list[TimedTurn]:
    """Give the utterances times; the two actors may overlap, an actor never overlaps himself."""
    timed: list[TimedTurn] = []
    ends: dict[Speaker, float] = {}
    for turn, duration in zip(dialog.turns, durations, strict=True):
        start = _FIRST_START
        if timed:
            start = timed[-1].end + rng.uniform(*_PAUSE)
            start = max(start, ends.get(turn.speaker, 0.0) + _SAME_SPEAKER_PAUSE)
        start = round(start, 4)
        ends[turn.speaker] = round(start + duration, 4)
        timed.append(TimedTurn(turn, start, ends[turn.speaker]))
    return timed
