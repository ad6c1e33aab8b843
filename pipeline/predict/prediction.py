"""What is predicted for a clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.corpus.utterance import Utterance


@dataclass(frozen=True)
class Hop:
    """The attention of one hop.

    Attributes
    ----------
    target
        The modality: ``audio``, ``text`` or ``video``.
    weights
        [T], with sum 1; the mean over the models. Empty if the clip lacks the modality.
    words
        [T] tokens, for text.
    times
        [T] seconds from the start of the clip to the middle of each step; NaN if steps have none.
    streams
        The number of steps of each stream of the modality, in this order.
    """

    target: str
    weights: np.ndarray
    words: list[str]
    times: np.ndarray
    streams: dict[str, int]


@dataclass(frozen=True)
class Prediction:
    """The prediction for one clip.

    Attributes
    ----------
    utterance
        The clip.
    probabilities
        By emotion, the mean over the models.
    hops
        The attention of each hop.
    missing
        By modality without any feature, the reason.
    remarks
        What else is incomplete: truncated features, statistics of an unknown speaker.
    parameters
        By stream, the parameters of its extractor.
    recogniser
        The model that recognised the words; empty if they were given.
    """

    utterance: Utterance
    probabilities: dict[str, float]
    hops: list[Hop]
    missing: dict[str, str]
    remarks: list[str]
    parameters: dict[str, dict[str, Any]]
    recogniser: str = ""

    @property
    def emotion(self) -> str:
        """The emotion with the highest probability."""
        return max(self.probabilities, key=self.probabilities.__getitem__)
