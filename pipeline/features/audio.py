"""Sound of an utterance: MFCC frames by librosa and prosody by openSMILE.

MFCC: 40 coefficients of 25 ms Hamming windows every 10 ms, with their first and second
differences, 120 values a frame. Prosody: 35 values an utterance, functionals of the contours of
F0, voicing probability and loudness that :file:`prosody.conf` beside this file defines. The MFCC
windows, and what prosody consists of, are those of Yoon, Dey, Lee and Jung, "Attentive modality
hopping mechanism for speech emotion recognition" (ICASSP 2020).
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import librosa
import numpy as np
from threadpoolctl import threadpool_limits

from pipeline import params
from pipeline.features import recording
from pipeline.features.extraction import Problem

if TYPE_CHECKING:
    import opensmile
    import pandas as pd

CONFIGURATION = Path(__file__).with_name("prosody.conf")
CONTOURS = ("F0", "F0_delta", "voicing", "loudness", "loudness_delta")
PARTIAL = ("F0", "F0_delta")  # contours that are 0 where they are not defined
FUNCTIONALS = ("mean", "deviation", "skewness", "p05", "median", "p95", "slope")
PROSODY_NAMES = tuple(f"{contour}_{name}" for contour in CONTOURS for name in FUNCTIONALS)
CONTOUR_STEP = 0.010  # seconds

DELTA_FRAMES = 9  # the frames that a difference is fitted to
LEAST_BANDS = 40
FLOOR = 1e-10  # mel power of digital silence, -100 dB
HIGHEST_BAND = 8000  # Hz, the upper end of the loudness bands
SHORTEST = 0.1  # seconds that openSMILE needs for a few of its 60 ms windows
LOUDEST = 32767 / 32768  # of 16-bit samples, which openSMILE is fed with


def mfcc(signal: np.ndarray, settings: params.Audio) -> np.ndarray:
    """Mel-frequency cepstral coefficients with first and second differences.

    Frame i sees the samples of [i step, i step + window) alone, so its time is i step + window / 2
    and its coefficients do not depend on the rest of the signal. A signal shorter than a window
    gives one frame, filled up with zeros; an incomplete window at the end is left out.

    Each frame: periodic Hamming window, power spectrum, Slaney's mel bands (as many as
    coefficients, at least 40), decibels above a floor of 1e-10, orthonormal DCT-II. Differences
    are derivatives of polynomials of first and second degree fitted to nine frames
    (Savitzky-Golay), the first and last frame repeated beyond the ends.

    Parameters
    ----------
    signal
        [samples] at ``settings.sampling_rate``; at least one.
    settings
        Sampling rate, number of coefficients, window and step.

    Returns
    -------
    numpy.ndarray
        [T, 3 * settings.mfcc] float32: coefficients, first differences, second differences.
    """
    rate = settings.sampling_rate
    window = max(round(settings.window * rate), 1)
    step = max(round(settings.step * rate), 1)
    bands = max(settings.mfcc, LEAST_BANDS)
    size = _transform_size(window, bands, rate)
    # librosa centres the window in the transform: zeros on both sides put frame i on i * step
    before = (size - window) // 2
    after = size - window - before + max(window - len(signal), 0)
    power = librosa.feature.melspectrogram(
        y=np.pad(signal, (before, after)),
        sr=rate,
        n_fft=size,
        win_length=window,
        hop_length=step,
        window="hamming",
        center=False,
        n_mels=bands,
    )
    decibels = librosa.power_to_db(power, amin=FLOOR, top_db=None)
    coefficients = librosa.feature.mfcc(S=decibels, n_mfcc=settings.mfcc)
    differences = [
        librosa.feature.delta(coefficients, width=DELTA_FRAMES, order=order, mode="nearest")
        for order in (1, 2)
    ]
    return np.concatenate([coefficients, *differences]).T.astype(np.float32, order="C")


def _transform_size(window: int, bands: int, rate: int) -> int:
    """Length of the transform: a power of two, such that every mel band has a bin."""
    mel = librosa.hz_to_mel(rate / 2) / (bands + 1)
    narrowest = float(librosa.mel_to_hz(mel))
    return int(2 ** np.ceil(np.log2(max(window, rate / narrowest))))


def prosody(signal: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Prosodic values of an utterance: functionals of openSMILE's contours.

    Each of the five contours (``prosody.conf`` describes them) gives its mean, standard
    deviation, skewness, 5th, 50th and 95th percentile, and the slope of a regression line over
    time. F0 counts where it is voiced, its delta where it is defined, the others everywhere.
    Where a functional is undefined (no voiced frame, no spread), it is 0. A signal under 0.1 s is
    filled up with zeros to that.

    Parameters
    ----------
    signal
        [samples], full scale is 1; clipped to it.
    sampling_rate
        Hertz.

    Returns
    -------
    numpy.ndarray
        [35] float32, finite, as :data:`PROSODY_NAMES` lists them; F0 in Hz, a delta in its
        contour's unit a frame of 10 ms, a slope in its contour's unit a second.
    """
    missing = max(round(SHORTEST * sampling_rate) - len(signal), 0)
    # opensmile wraps what lies beyond 16 bits around to the other sign
    clipped = np.clip(np.pad(signal, (0, missing)), -1.0, LOUDEST)
    contours = _smile(sampling_rate)(clipped, sampling_rate)[0].astype(np.float64)
    values = [
        _functionals(contour, contour != 0 if name in PARTIAL else np.full(len(contour), True))
        for name, contour in zip(CONTOURS, contours, strict=True)
    ]
    return np.concatenate(values).astype(np.float32)


def _functionals(contour: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Functionals of the frames of `contour` [T] where `counts` [T] is true, 0 where undefined."""
    values = contour[counts]
    if not len(values):
        return np.zeros(len(FUNCTIONALS))
    time = np.flatnonzero(counts) * CONTOUR_STEP
    mean, deviation = values.mean(), values.std()
    skewness = slope = 0.0
    if deviation > np.finfo(np.float32).eps * np.abs(values).max():
        skewness = (((values - mean) / deviation) ** 3).mean()
        slope = np.cov(time, values, ddof=0)[0, 1] / time.var()
    return np.array([mean, deviation, skewness, *np.percentile(values, [5, 50, 95]), slope])


@cache
def _smile(sampling_rate: int) -> opensmile.Smile:
    """One openSMILE a process, since it cannot be sent to another."""
    import opensmile

    highest = min(HIGHEST_BAND, sampling_rate // 2)
    return opensmile.Smile(str(CONFIGURATION), "contours", options={"highest": highest}, loglevel=0)


class AudioExtractor:
    """MFCC and prosody of the utterances of a table.

    Parameters
    ----------
    settings
        The group ``audio``.
    root
        The release's folder, which the table's column ``audio`` is relative to.
    """

    def __init__(self, settings: params.Audio, root: Path) -> None:
        self.settings = settings
        self.root = root

    def identity(self) -> dict[str, Any]:
        """All that decides the values: parameters, libraries, openSMILE's configuration."""
        return {
            "parameters": self.settings.model_dump(),
            "versions": {
                name: version(name) for name in ("librosa", "opensmile", "soundfile", "soxr")
            },
            "prosody.conf": hashlib.sha256(CONFIGURATION.read_bytes()).hexdigest(),
        }

    def sources(self, rows: pd.DataFrame) -> list[Path]:
        """Paths of the recordings of `rows`."""
        return [self.root / audio for audio in rows["audio"] if audio]

    def dialog(self, rows: pd.DataFrame) -> tuple[dict[str, np.ndarray], list[Problem]]:
        """Features of each row; without a usable recording no frame, zeros and a problem.

        Parameters
        ----------
        rows
            n utterances with the columns ``utterance``, ``start``, ``end`` (seconds in the dialog)
            and ``audio`` (below the root; empty if there is none).

        Returns
        -------
        arrays
            ``mfcc/values`` [sum of T, 3 * mfcc] float32, ``mfcc/lengths`` [n] int64 and
            ``prosody/values`` [n, 35] float32.
        problems
            The utterances whose recording is left out, or is kept though its file was cut, and why.
        """
        frames: list[np.ndarray] = []
        values: list[np.ndarray] = []
        problems: list[Problem] = []
        # One thread: processes share the cores, and bytes do not depend on how many there are
        with threadpool_limits(limits=1, user_api="blas"):
            seconds = rows["end"] - rows["start"]
            for utterance, audio, length in zip(
                rows["utterance"], rows["audio"], seconds, strict=True
            ):
                signal, fault = self._read(audio, length)
                if fault:
                    problems.append(Problem(utterance, fault))
                if len(signal):
                    frames.append(mfcc(signal, self.settings))
                    values.append(prosody(signal, self.settings.sampling_rate))
                else:
                    frames.append(np.zeros((0, 3 * self.settings.mfcc), np.float32))
                    values.append(np.zeros(len(PROSODY_NAMES), np.float32))
        arrays = {
            "mfcc/values": np.concatenate(frames),
            "mfcc/lengths": np.array([len(sequence) for sequence in frames], np.int64),
            "prosody/values": np.stack(values),
        }
        return arrays, problems

    def _read(self, audio: str, seconds: float) -> tuple[np.ndarray, str]:
        """Read a recording; its samples, none if it is left out, and what is wrong with it."""
        nothing = np.zeros(0, np.float32)
        if not audio:
            return nothing, "the corpus has no recording of it"
        try:
            signal, remark = recording.read(self.root / audio, self.settings.sampling_rate, seconds)
        except recording.RecordingError as error:
            return nothing, f"{audio}: {error.fault}; left out"
        return signal, remark and f"{audio}: {remark}; kept, since its length is the label's"

    def constants(self) -> dict[str, np.ndarray]:
        """``prosody/names``: what the columns of ``prosody/values`` are."""
        return {"prosody/names": np.array(PROSODY_NAMES)}
