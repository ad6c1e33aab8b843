"""Prosody of an utterance: functionals of openSMILE's contours.

35 values: functionals of the contours of F0, voicing probability and loudness, which
:file:`prosody.conf` in this folder defines. The choice of contours follows Yoon, Dey, Lee and Jung,
"Attentive modality hopping mechanism for speech emotion recognition", ICASSP 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from pipeline.corpus.utterance import Utterance
from pipeline.features import recording
from pipeline.features.extractor import Context, Extractor, State, Steps
from pipeline.features.smile import prepared
from pipeline.system.filesystem import sha256

if TYPE_CHECKING:
    import opensmile

CONFIGURATION = Path(__file__).with_name("prosody.conf")
CONTOURS = ("F0", "F0_delta", "voicing", "loudness", "loudness_delta")
PARTIAL = ("F0", "F0_delta")  # contours that are 0 where they are undefined
FUNCTIONALS = ("mean", "deviation", "skewness", "p05", "median", "p95", "slope")
NAMES = tuple(f"{contour}_{name}" for contour in CONTOURS for name in FUNCTIONALS)
CONTOUR_STEP = 0.010  # seconds

HIGHEST_BAND = 8000  # Hz, the upper end of the loudness bands


class Prosody(Extractor):
    """Functionals of pitch, voicing and loudness, [35] per utterance."""

    kind: ClassVar = "utterance"
    version: ClassVar = 1
    reads: ClassVar = ("sampling_rate",)
    libraries: ClassVar = ("opensmile", *recording.LIBRARIES)

    extractor: Literal["prosody"] = "prosody"

    def names(self) -> list[str]:
        return list(NAMES)

    def files(self) -> dict[str, str]:
        return {CONFIGURATION.name: sha256(CONFIGURATION)}

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        """The values of each utterance; NaN without a usable recording."""
        rate = context.shared.sampling_rate
        features = []
        for _, signal, problem in recording.signals(utterances, context.root, rate):
            values = np.full(len(NAMES), np.nan, np.float32)
            if len(signal):
                values = compute(signal, rate)
            features.append(Steps(values, problem=problem))
        return features


def compute(signal: np.ndarray, sampling_rate: int) -> np.ndarray:
    """The prosodic values of a signal.

    For each of five contours (see ``prosody.conf``) these are its mean, standard deviation,
    skewness, 5th, 50th and 95th percentile, and the slope of a linear regression over time. F0 is
    used in voiced frames, its delta where it is defined, and the other contours in all frames. A
    functional that is undefined (no voiced frame, or no variance) is 0. A signal shorter than 0.1 s
    is padded with zeros.

    Parameters
    ----------
    signal
        [samples], clipped to full scale, which is 1.
    sampling_rate
        Hertz.

    Returns
    -------
    numpy.ndarray
        [35] float32, finite, in the order of :data:`NAMES`. F0 is in Hz, a delta in the unit of its
        contour per frame of 10 ms, a slope in the unit of its contour per second.
    """
    smile = _smile(sampling_rate)
    contours = smile(prepared(signal, sampling_rate), sampling_rate)[0].astype(np.float64)
    values = [
        _functionals(contour, contour != 0 if name in PARTIAL else np.full(len(contour), True))
        for name, contour in zip(CONTOURS, contours, strict=True)
    ]
    return np.concatenate(values).astype(np.float32)


def _functionals(contour: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Functionals of `contour` [T] over the frames where `counts` [T] is true."""
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
    """OpenSMILE, built once per process, since it cannot be pickled."""
    import opensmile

    highest = min(HIGHEST_BAND, sampling_rate // 2)
    return opensmile.Smile(str(CONFIGURATION), "contours", options={"highest": highest}, loglevel=0)
