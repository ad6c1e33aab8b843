"""openSMILE's standard feature sets eGeMAPS and ComParE, per utterance or per frame.

Eyben et al., "The Geneva minimalistic acoustic parameter set (GeMAPS) for voice research and
affective computing", IEEE Transactions on Affective Computing 7, 2016; Schuller et al., "The
INTERSPEECH 2016 computational paralinguistics challenge", INTERSPEECH 2016. openSMILE and these
sets are free for research and teaching; other uses need a licence from audEERING.
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
LOUDEST = 32767 / 32768  # largest 16-bit sample; openSMILE receives 16-bit samples
STEP, WINDOW = 0.010, 0.060  # seconds, of low-level descriptors; the window is that of pitch


class Smile(Extractor):
    """Values of a standard set: [P] functionals, or [T, D] low-level descriptors every 10 ms.

    Attributes
    ----------
    feature_set, feature_level
        The names that openSMILE uses.
    """

    version: ClassVar = 1
    reads: ClassVar = ("sampling_rate",)
    libraries: ClassVar = ("opensmile", *recording.LIBRARIES)

    extractor: Literal["opensmile"] = "opensmile"
    feature_set: Literal["eGeMAPSv02", "ComParE_2016"]
    feature_level: Literal["Functionals", "LowLevelDescriptors"] = "Functionals"

    @property
    def kind(self) -> Any:  # type: ignore[override]  # depends on the feature level
        """``utterance`` for functionals, ``sequence`` for low-level descriptors."""
        return "utterance" if self.feature_level == "Functionals" else "sequence"

    def names(self) -> list[str]:
        return list(_smile(self.feature_set, self.feature_level).feature_names)

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        """The values of each utterance; NaN, or no frame, without a usable recording."""
        rate = context.shared.sampling_rate
        width = len(self.names())
        features = []
        for _, signal, remark in recording.signals(utterances, context.root, rate):
            values, fault = np.zeros((0, width), np.float32), ""
            if len(signal):
                values, fault = self.compute(signal, rate)
            problem = "; ".join(filter(None, (remark, fault)))
            if self.kind == "utterance":
                row = values[0] if len(values) else np.full(width, np.nan, np.float32)
                features.append(Steps(row, problem=problem))
            else:
                times = STEP * np.arange(len(values)) + WINDOW / 2
                features.append(Steps(values, times, problem=problem))
        return features

    def compute(self, signal: np.ndarray, sampling_rate: int) -> tuple[np.ndarray, str]:
        """The values of a signal.

        Parameters
        ----------
        signal
            [samples], at least one.
        sampling_rate
            Hertz.

        Returns
        -------
        values
            [T, D] float32, finite; T is 1 for functionals.
        fault
            How many values openSMILE left undefined, which are set to 0; empty if none.
        """
        smile = _smile(self.feature_set, self.feature_level)
        values = smile(prepared(signal, sampling_rate), sampling_rate)[0].T
        undefined = ~np.isfinite(values)
        fault = f"{undefined.sum()} values are undefined, and 0" if undefined.any() else ""
        return np.where(undefined, 0, values).astype(np.float32, order="C"), fault


def prepared(signal: np.ndarray, sampling_rate: int) -> np.ndarray:
    """A signal padded with zeros to :data:`SHORTEST`, and clipped to the range of 16-bit samples.

    Without clipping, larger values would overflow in openSMILE and change their sign.
    """
    missing = max(round(SHORTEST * sampling_rate) - len(signal), 0)
    return np.clip(np.pad(signal, (0, missing)), -1.0, LOUDEST)


@cache
def _smile(feature_set: str, feature_level: str) -> opensmile.Smile:
    """OpenSMILE, built once per process, since it cannot be pickled."""
    import opensmile

    return opensmile.Smile(
        opensmile.FeatureSet[feature_set], opensmile.FeatureLevel[feature_level], loglevel=0
    )
