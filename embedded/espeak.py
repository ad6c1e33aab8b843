"""Speech from the espeak-ng library that the package espeakng-loader carries.

The library keeps hidden state from one utterance to the next (phases of its oscillators, for
one), so it is loaded afresh for each: the same words in the same voice then give the same samples
whatever was spoken before. Voice variants with breath noise (f2, f3, f5) draw it from the clock
and are of no use here.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass

import espeakng_loader
import numpy as np

RATE = 22050
"""Samples a second of espeak-ng's voices."""

_SYNCHRONOUS, _DO_NOT_EXIT = 2, 0x8000
_UTF8 = 1
_POSITION_IN_CHARACTERS = 1
_WORD_EVENT = 1
_RATE, _VOLUME, _PITCH, _RANGE, _PUNCTUATION, _CAPITALS, _WORD_GAP = range(1, 8)
_USUAL = {_VOLUME: 80, _PUNCTUATION: 0, _CAPITALS: 0, _WORD_GAP: 0}


class EspeakError(RuntimeError):
    """The espeak-ng library refuses a voice or cannot start."""


@dataclass(frozen=True)
class Utterance:
    """Spoken words.

    Attributes
    ----------
    samples
        [T] float32 in -1 ... 1 at :data:`RATE`.
    words
        Each word as (text, start, end), seconds; empty where espeak-ng does not time every word.
    """

    samples: np.ndarray
    words: list[tuple[str, float, float]]


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


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
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def speak(text: str, voice: str, *, rate: int, pitch: int, pitch_range: int) -> Utterance:
    """Speak `text`.

    Parameters
    ----------
    text
        Plain words; punctuation shapes the melody.
    voice
        A language with a variant, such as ``en-us+f1``.
    rate
        Words a minute, 80 to 450.
    pitch, pitch_range
        0 to 99; 50 is the voice's own.

    Raises
    ------
    EspeakError
        If the library cannot start, has no such voice, or says nothing.
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
        raise EspeakError(f"espeak-ng says nothing for {text!r}")
    samples = np.concatenate(chunks).astype(np.float32) / 32768
    return Utterance(samples, _words(text, words, len(samples) / RATE))


def _words(
    text: str, events: list[tuple[int, float]], duration: float
) -> list[tuple[str, float, float]]:
    """Each word from its first event to the start of the next; none if a word has no event."""
    spans = [(match.group(), match.start(), match.end()) for match in re.finditer(r"\S+", text)]
    # an event names its place in the text, counted from 1
    starts = [
        next((time for place, time in events if first < place <= last), None)
        for _, first, last in spans
    ]
    known = [start for start in starts if start is not None]
    if len(known) < len(spans) or known != sorted(known):
        return []
    ends = [*known[1:], duration]
    return [(span[0], start, end) for span, start, end in zip(spans, known, ends, strict=True)]


def _unload(library: ctypes.CDLL) -> None:
    """Close the library, so that loading it again starts it from nothing."""
    close = ctypes.CDLL(None).dlclose
    close.argtypes = [ctypes.c_void_p]
    close(library._handle)
