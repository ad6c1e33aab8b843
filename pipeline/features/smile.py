"""openSMILE's standard feature sets: eGeMAPS and ComParE, of utterances or of their frames.

Eyben et al., "The Geneva minimalistic acoustic parameter set (GeMAPS) for voice research and
affective computing", IEEE Transactions on Affective Computing 7, 2016; Schuller et al., "The
INTERSPEECH 2016 computational paralinguistics challenge", INTERSPEECH 2016. openSMILE and these
sets are free for research and teaching; other uses need a licence of audEERING.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from pipeline.corpus.utterance import Utterance
from pipeline.features import recording
from pipeline.features.extractor import Context, Extractor, State, Steps

if TYPE_CHECKING:
    import opensmile

SHORTEST = 0.1  # seconds that openSMILE needs for a few of its 60 ms windows
LOUDEST = 32767 / 32768  # of 16-bit samples, which openSMILE is fed with
STEP, WINDOW = 0.010, 0.060  # seconds of low-level descriptors; the window is that of pitch


class Smile(Extractor):
    """Values of a standard set: [P] functionals, or [T, D] low-level descriptors every 10 ms.

    Attributes
    ----------
    feature_set, feature_level
        In openSMILE's own names.
    """

    version: ClassVar = 1
    reads: ClassVar = ("sampling_rate",)
    libraries: ClassVar = ("opensmile", *recording.LIBRARIES)

    extractor: Literal["opensmile"] = "opensmile"
    feature_set: Literal["eGeMAPSv02", "ComParE_2016"]
    feature_level: Literal["Functionals", "LowLevelDescriptors"] = "Functionals"

    @property
    def kind(self) -> Any:  # type: ignore[override]  # of the level, not of the class
        """``utterance`` of functionals, ``sequence`` of low-level descriptors."""
        return "utterance" if self.feature_level == "Functionals" else "sequence"

    def names(self) -> list[str]:
        """OpenSMILE's names of the values."""
        return list(_smile(self.feature_set, self.feature_level).feature_names)

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        """Values of each utterance; NaN, or no frame, without a usable recording."""
        rate = context.shared.sampling_rate
        width = len(self.names())
        found = []
        for _, signal, remark in recording.signals(utterances, context.root, rate):
            values, fault = np.zeros((0, width), np.float32), ""
            if len(signal):
                values, fault = self.compute(signal, rate)
            problem = "; ".join(filter(None, (remark, fault)))
            if self.kind == "utterance":
                row = values[0] if len(values) else np.full(width, np.nan, np.float32)
                found.append(Steps(row, problem=problem))
            else:
                times = STEP * np.arange(len(values)) + WINDOW / 2
                found.append(Steps(values, times, problem=problem))
        return found

    def compute(self, signal: np.ndarray, sampling_rate: int) -> tuple[np.ndarray, str]:
        """Values of a signal.

        Parameters
        ----------
        signal
            [samples], at least one.
        sampling_rate
            Hertz.

        Returns
        -------
        values
            [T, D] float32, finite; of functionals T is 1.
        fault
            How many values openSMILE left undefined, which are 0; empty for none.
        """
        smile = _smile(self.feature_set, self.feature_level)
        values = smile(prepared(signal, sampling_rate), sampling_rate)[0].T
        undefined = ~np.isfinite(values)
        fault = f"{undefined.sum()} values are undefined, and 0" if undefined.any() else ""
        return np.where(undefined, 0, values).astype(np.float32, order="C"), fault


def prepared(signal: np.ndarray, sampling_rate: int) -> np.ndarray:
    """A signal as openSMILE takes it: at least :data:`SHORTEST`, and within 16 bits.

    Zeros are added at its end. openSMILE wraps what lies beyond 16 bits around to the other sign.
    """
    missing = max(round(SHORTEST * sampling_rate) - len(signal), 0)
    return np.clip(np.pad(signal, (0, missing)), -1.0, LOUDEST)


@cache
def _smile(feature_set: str, feature_level: str) -> opensmile.Smile:
    """One openSMILE per process, since it cannot be sent to another."""
    import opensmile

    return opensmile.Smile(
        opensmile.FeatureSet[feature_set], opensmile.FeatureLevel[feature_level], loglevel=0
    )
