"""Where somebody speaks in a recording: silero's voice activity detector, from faster-whisper."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np

from pipeline.system.extras import imported

RATE = 16000
"""Sampling rate of the detector and of Whisper in Hz."""

LONGEST_STRETCH = 10.0
"""Seconds; longer stretches are divided, since models read the first steps of an utterance only."""

_PAUSE = 0.2  # seconds of silence that end a stretch
_SHORTEST = 0.25  # seconds; shorter sounds are no speech
_MARGIN = 0.1  # seconds that are added before and after speech
_BLOCK = 900.0  # seconds that the detector reads at once, for bounded memory
_WINDOW = RATE // 20  # samples whose energy decides which point is the quietest

Parts = list[tuple[int, int]]
"""First sample and the one after the last, of each part of a signal."""

Detector = Callable[[np.ndarray], Parts]
"""Finds speech in a signal [samples] float32 of :data:`RATE`."""


def faster_whisper() -> ModuleType:
    """The package.

    Raises
    ------
    InputError
        If it is not installed.
    """
    purpose = "faster-whisper detects speech and recognises words"
    return imported("faster_whisper", "asr", purpose)


def silero(signal: np.ndarray) -> Parts:
    """Find speech by the detector that faster-whisper carries.

    Raises
    ------
    InputError
        If faster-whisper is not installed.
    """
    faster_whisper()
    from faster_whisper import vad

    options = vad.VadOptions(
        min_speech_duration_ms=round(1000 * _SHORTEST),
        min_silence_duration_ms=round(1000 * _PAUSE),
        speech_pad_ms=round(1000 * _MARGIN),
    )
    found = vad.get_speech_timestamps(signal, options)
    return [(part["start"], part["end"]) for part in found]


def speech(signal: np.ndarray, detector: Detector | None = None) -> Parts:
    """The stretches of speech, of at most :data:`LONGEST_STRETCH`.

    Parameters
    ----------
    signal
        [samples] float32 of :data:`RATE`.
    detector
        By default :func:`silero`.

    Raises
    ------
    InputError
        If faster-whisper is not installed.
    """
    detect = detector or silero
    stretches: Parts = []
    for first, last in divided(signal, 0, len(signal), _BLOCK):
        for start, end in detect(signal[first:last]):
            stretches += divided(signal, first + start, first + end, LONGEST_STRETCH)
    return stretches


def divided(signal: np.ndarray, first: int, last: int, longest: float) -> Parts:
    """Divide a part of a signal at its quietest points until no part is over `longest` seconds.

    A point is looked for in the middle half, so that no part is shorter than a quarter.
    """
    if last - first <= longest * RATE:
        return [(first, last)]
    quarter = (last - first) // 4
    place = first + quarter + _quietest(signal[first + quarter : last - quarter])
    return [*divided(signal, first, place, longest), *divided(signal, place, last, longest)]


def _quietest(signal: np.ndarray) -> int:
    """The middle of the window with the least energy."""
    windows = signal[: len(signal) // _WINDOW * _WINDOW].reshape(-1, _WINDOW)
    energy = np.einsum("ij,ij->i", windows, windows)  # without an array of squares
    return int(energy.argmin()) * _WINDOW + _WINDOW // 2
