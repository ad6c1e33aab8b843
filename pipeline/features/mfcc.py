"""Mel-frequency cepstral coefficients (MFCC), computed by librosa.

The default are 40 coefficients of Hamming windows of 25 ms every 10 ms, with their first and second
differences: 120 values per frame, as in Yoon, Dey, Lee and Jung, "Attentive modality hopping
mechanism for speech emotion recognition", ICASSP 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from pipeline.corpus.utterance import Utterance
from pipeline.features import recording
from pipeline.features.extractor import Context, Extractor, State, Steps
from pipeline.params.types import Positive

DELTA_FRAMES = 9  # frames to which a difference is fitted
MIN_BANDS = 40
FLOOR = 1e-10  # minimum of the mel power, -100 dB


class Mfcc(Extractor):
    """MFCC with first and second differences, [T, 3 * coefficients].

    Attributes
    ----------
    coefficients
        Their number, without the differences.
    window, step
        Length of a window and distance between windows, in seconds.
    """

    kind: ClassVar = "sequence"
    version: ClassVar = 1
    reads: ClassVar = ("sampling_rate",)
    libraries: ClassVar = ("librosa", *recording.LIBRARIES)

    extractor: Literal["mfcc"] = "mfcc"
    coefficients: Annotated[int, Field(ge=1, le=128)] = 40
    window: Positive = 0.025
    step: Positive = 0.010

    @model_validator(mode="after")
    def _step_fits_window(self) -> Mfcc:
        if self.step > self.window:
            raise ValueError(f"step ({self.step}) must not exceed window ({self.window})")
        return self

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        """The frames of each utterance; none without a usable recording."""
        rate = context.shared.sampling_rate
        features = []
        for _, signal, problem in recording.signals(utterances, context.root, rate):
            values = np.zeros((0, 3 * self.coefficients), np.float32)
            if len(signal):
                values = self.compute(signal, rate)
            times = self.step * np.arange(len(values)) + self.window / 2
            features.append(Steps(values, times, problem=problem))
        return features

    def compute(self, signal: np.ndarray, sampling_rate: int) -> np.ndarray:
        """The coefficients of a signal and their differences.

        The coefficients of frame i depend on the samples of [i step, i step + window) only, so its
        time is i step + window / 2. A signal shorter than a window is padded with zeros to one
        frame; an incomplete window at the end is left out.

        Each frame is multiplied by a periodic Hamming window. Its power spectrum is summed over
        Slaney's mel bands (as many as coefficients, at least 40), converted to decibels with a
        floor of 1e-10, and transformed by an orthonormal DCT-II. The differences are derivatives of
        polynomials of first and second degree, fitted to nine frames (Savitzky-Golay); the first
        and last frame are repeated beyond the ends.

        Parameters
        ----------
        signal
            [samples], at least one.
        sampling_rate
            Hertz.

        Returns
        -------
        numpy.ndarray
            [T, 3 * coefficients] float32: coefficients, first differences, second differences.
        """
        import librosa

        window = max(round(self.window * sampling_rate), 1)
        step = max(round(self.step * sampling_rate), 1)
        bands = max(self.coefficients, MIN_BANDS)
        size = _transform_size(window, bands, sampling_rate)
        # librosa centres the window in the transform: with these zeros frame i starts at i * step
        before = (size - window) // 2
        after = size - window - before + max(window - len(signal), 0)
        power = librosa.feature.melspectrogram(
            y=np.pad(signal, (before, after)),
            sr=sampling_rate,
            n_fft=size,
            win_length=window,
            hop_length=step,
            window="hamming",
            center=False,
            n_mels=bands,
        )
        decibels = librosa.power_to_db(power, amin=FLOOR, top_db=None)
        coefficients = librosa.feature.mfcc(S=decibels, n_mfcc=self.coefficients)
        differences = [
            librosa.feature.delta(coefficients, width=DELTA_FRAMES, order=order, mode="nearest")
            for order in (1, 2)
        ]
        return np.concatenate([coefficients, *differences]).T.astype(np.float32, order="C")


def _transform_size(window: int, bands: int, rate: int) -> int:
    """Length of the Fourier transform: a power of two, with at least one bin per mel band."""
    import librosa

    mel = librosa.hz_to_mel(rate / 2) / (bands + 1)
    narrowest = float(librosa.mel_to_hz(mel))
    return int(2 ** np.ceil(np.log2(max(window, rate / narrowest))))
