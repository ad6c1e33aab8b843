"""Voices of the ten actors, and the effect of emotions on them.

The effects follow the literature on vocal expression (Scherer 2003, "Vocal communication of
emotion", table 2): anger and joy are louder, faster and higher; sadness is softer, slower, lower
and breathier; a smile shortens the vocal tract and raises the formants; spectral tilt follows vocal
effort. They are exaggerated, since models have few examples to learn from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from embedded import espeak, lines

RATE = 16000
"""Sampling rate of the release's recordings in Hz."""

_LEVEL = -26.0
_LEAD = 0.04


@dataclass(frozen=True)
class Voice:
    """The voice of an actor, in espeak-ng's units."""

    name: str
    pitch: int = 50
    pitch_range: int = 45
    rate: int = 190


@dataclass(frozen=True)
class Delivery:
    """The effect of an emotion on the voice.

    Attributes
    ----------
    pitch, pitch_range, rate
        Added to those of the voice, in espeak-ng's units.
    loudness
        dB.
    tilt
        dB per octave around 1 kHz; positive is brighter.
    emphasis
        A frequency in Hz, and the gain in dB of the half octave around it.
    formants
        Factor on all frequencies (length of the vocal tract).
    breath
        Share of noise, with the envelope of the speech.
    tremble, tremble_rate
        Depth (0 to 1) and frequency in Hz of an amplitude modulation.
    """

    pitch: int = 0
    pitch_range: int = 0
    rate: int = 0
    loudness: float = 0.0
    tilt: float = 0.0
    emphasis: tuple[float, float] = (1000.0, 0.0)
    formants: float = 1.0
    breath: float = 0.0
    tremble: float = 0.0
    tremble_rate: float = 0.0


@dataclass(frozen=True)
class Speech:
    """Spoken words: [T] float32 samples at :data:`RATE`, and (word, start, end) in seconds."""

    samples: np.ndarray
    words: list[tuple[str, float, float]]


VOICES = {
    "Ses01F": Voice("en-us+f1"),
    "Ses01M": Voice("en-us+m3"),
    "Ses02F": Voice("en-us+f4", pitch=46),
    "Ses02M": Voice("en-us+m1", pitch=54, rate=185),
    "Ses03F": Voice("en-us-nyc+f1", pitch=55, rate=195),
    "Ses03M": Voice("en-us-nyc+m1", pitch=46),
    "Ses04F": Voice("en-gb-x-rp+f4", rate=195),
    "Ses04M": Voice("en-gb-x-rp+m3", pitch=54),
    "Ses05F": Voice("en-us+f1", pitch=56, rate=185),
    "Ses05M": Voice("en-us-nyc+m3", pitch=47, rate=195),
}

DELIVERIES = {
    "neu": Delivery(),
    "ang": Delivery(
        pitch=8, pitch_range=25, rate=15, loudness=9, tilt=4.0, emphasis=(1600, 8),
        tremble=0.4, tremble_rate=31,
    ),
    "fru": Delivery(
        pitch=-12, pitch_range=-15, rate=-5, loudness=3, tilt=-1.0, formants=0.88,
        emphasis=(800, 8), tremble=0.8, tremble_rate=17,
    ),
    "hap": Delivery(
        pitch=10, pitch_range=20, loudness=2, tilt=-2.0, formants=1.14, emphasis=(2700, 14)
    ),
    "exc": Delivery(
        pitch=38, pitch_range=45, rate=40, loudness=7, formants=1.14, emphasis=(4500, 12),
        tremble=0.7, tremble_rate=9,
    ),
    "sad": Delivery(
        pitch=-20, pitch_range=-35, rate=-35, loudness=-10, tilt=-5.0, breath=0.04,
        tremble=0.5, tremble_rate=5,
    ),
    "sur": Delivery(pitch=30, pitch_range=54, rate=-10, loudness=-1, tilt=1.5, breath=0.35),
}  # fmt: skip


def speak(text: str, voice: Voice, emotion: str, strength: float, seed: int) -> Speech:
    """Synthesise a line of the transcript without its marks.

    Parameters
    ----------
    text
        A line of :mod:`embedded.lines`.
    emotion
        A key of :data:`DELIVERIES`.
    strength
        Factor on the effect of the emotion.
    seed
        Seed of the breath noise.
    """
    delivery = DELIVERIES[emotion]
    said = espeak.speak(
        lines.spoken(text),
        voice.name,
        rate=round(voice.rate + strength * delivery.rate),
        pitch=_percent(voice.pitch + strength * delivery.pitch),
        pitch_range=_percent(voice.pitch_range + strength * delivery.pitch_range),
    )
    stretch = 1 + strength * (delivery.formants - 1)
    samples = soxr.resample(said.samples, espeak.RATE * stretch, RATE)
    samples = _trim(_colour(samples.astype(np.float64), delivery, strength, seed))
    words = [(word, start / stretch, end / stretch) for word, start, end in said.words]
    return Speech(samples.astype(np.float32), words)


def _percent(value: float) -> int:
    return int(np.clip(round(value), 0, 99))


def _colour(samples: np.ndarray, delivery: Delivery, strength: float, seed: int) -> np.ndarray:
    """Apply tilt and emphasis, breath, tremble and loudness, in this order."""
    spectrum = np.fft.rfft(samples)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(samples), 1 / RATE), 60.0) / 1000.0)
    hertz, decibels = delivery.emphasis
    bump = decibels * np.exp(-(((octaves - np.log2(hertz / 1000.0)) / 0.4) ** 2))
    gain = _gain(strength * (delivery.tilt * octaves + bump))
    samples = np.fft.irfft(spectrum * gain, len(samples))
    samples = samples / np.sqrt(np.mean(samples**2))
    noise = np.random.default_rng(seed).standard_normal(len(samples))
    samples = samples + strength * delivery.breath * noise * _envelope(samples)
    time = np.arange(len(samples)) / RATE
    swing = 0.5 + 0.5 * np.sin(2 * np.pi * delivery.tremble_rate * time)
    samples = samples * (1 - min(strength * delivery.tremble, 1.0) * swing)
    samples = samples / np.sqrt(np.mean(samples**2))
    return samples * _gain(_LEVEL + strength * delivery.loudness)


def _gain(decibels: np.ndarray | float) -> np.ndarray | float:
    return 10.0 ** (np.asarray(decibels) / 20.0)


def _envelope(samples: np.ndarray) -> np.ndarray:
    """Root mean square over 50 ms."""
    width = RATE // 20
    return np.sqrt(np.convolve(samples**2, np.full(width, 1 / width), mode="same"))


def _trim(samples: np.ndarray) -> np.ndarray:
    """Remove the silence that espeak-ng adds at the end."""
    loud = np.flatnonzero(_envelope(samples) > 0.02 * np.abs(samples).max())
    return samples[: loud[-1] + int(_LEAD * RATE)]
