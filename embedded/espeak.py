"""Speech synthesis with the espeak-ng library of the package espeakng-loader.

The library keeps state between utterances (such as the phases of its oscillators), so it is loaded
again for each one. The same words in the same voice then always give the same samples. Do not use
the voice variants with breath noise (f2, f3, f5): they seed it from the clock.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass

import espeakng_loader
import numpy as np

RATE = 22050
"""Sampling rate of espeak-ng in Hz."""

_SYNCHRONOUS, _DO_NOT_EXIT = 2, 0x8000
_UTF8 = 1
_POSITION_IN_CHARACTERS = 1
_WORD_EVENT = 1
_RATE, _VOLUME, _PITCH, _RANGE, _PUNCTUATION, _CAPITALS, _WORD_GAP = range(1, 8)
_USUAL = {_VOLUME: 80, _PUNCTUATION: 0, _CAPITALS: 0, _WORD_GAP: 0}


class EspeakError(RuntimeError):
    """The espeak-ng library cannot start, has no such voice, or produces no sound."""


@dataclass(frozen=True)
class Utterance:
    """Spoken words.

    Attributes
    ----------
    samples
        [T] float32 in -1 ... 1 at :data:`RATE`.
    words
        (text, start, end) of each word, in seconds; empty unless espeak-ng times every word.
    """

    samples: np.ndarray
    words: list[tuple[str, float, float]]


class _Event(ctypes.Structure):
    """``espeak_EVENT`` of speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_int64),  # a union of 8 bytes
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def speak(text: str, voice: str, *, rate: int, pitch: int, pitch_range: int) -> Utterance:
    """Speak `text`.

    Parameters
    ----------
    text
        Plain text; punctuation affects the intonation.
    voice
        A language and a variant, such as ``en-us+f1``.
    rate
        Words per minute, 80 to 450.
    pitch, pitch_range
        0 to 99; 50 is the voice's default.

    Raises
    ------
    EspeakError
        If the library cannot start, has no such voice, or produces no sound.
    """
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        return _speak(library, text, voice, {_RATE: rate, _PITCH: pitch, _RANGE: pitch_range})
    finally:
        library.espeak_Terminate()
        _unload(library)


def _speak(library: ctypes.CDLL, text: str, voice: str, settings: dict[int, int]) -> Utterance:
    data = espeakng_loader.get_data_path().encode()
    if library.espeak_Initialize(_SYNCHRONOUS, 0, data, _DO_NOT_EXIT) != RATE:
        raise EspeakError(
            f"espeak-ng does not start at {RATE} Hz; reinstall the package espeakng-loader"
        )
    chunks: list[np.ndarray] = []
    words: list[tuple[int, float]] = []

    def receive(samples: ctypes._Pointer, count: int, events: ctypes._Pointer) -> int:
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        position = 0
        while events and events[position].type:
            event = events[position]
            if event.type == _WORD_EVENT:
                words.append((event.text_position, event.audio_position / 1000))
            position += 1
        return 0

    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(voice.encode()):
        raise EspeakError(f"espeak-ng has no voice {voice}; see `espeak-ng --voices`")
    for parameter, value in (_USUAL | settings).items():
        library.espeak_SetParameter(parameter, value, 0)
    encoded = text.encode()
    library.espeak_Synth(
        encoded, len(encoded) + 1, 0, _POSITION_IN_CHARACTERS, 0, _UTF8, None, None
    )
    library.espeak_Synchronize()
    if not any(chunk.any() for chunk in chunks):
        raise EspeakError(f"espeak-ng produces no sound for {text!r}")
    samples = np.concatenate(chunks).astype(np.float32) / 32768
    return Utterance(samples, _words(text, words, len(samples) / RATE))


def _words(
    text: str, events: list[tuple[int, float]], duration: float
) -> list[tuple[str, float, float]]:
    """Times of the words, each until the start of the next; empty if a word has no event."""
    spans = [(match.group(), match.start(), match.end()) for match in re.finditer(r"\S+", text)]
    # events give positions in the text, counted from 1
    starts = [
        next((time for place, time in events if first < place <= last), None)
        for _, first, last in spans
    ]
    timed = [start for start in starts if start is not None]
    if len(timed) < len(spans) or timed != sorted(timed):
        return []
    ends = [*timed[1:], duration]
    return [(span[0], start, end) for span, start, end in zip(spans, timed, ends, strict=True)]


def _unload(library: ctypes.CDLL) -> None:
    """Unload the library, so that loading it again resets its state."""
    close = ctypes.CDLL(None).dlclose
    close.argtypes = [ctypes.c_void_p]
    close(library._handle)
