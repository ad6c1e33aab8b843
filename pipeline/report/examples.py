"""One utterance as a model reads it: words, waveform and frames, with the attention of each hop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.corpus.utterance import Utterance, from_table
from pipeline.features.crops import Crop, Cut, crops
from pipeline.features.recording import of_utterance
from pipeline.features.video import Segment, VideoError
from pipeline.models.classifier import Classifier
from pipeline.store import FeatureStore, Stream
from pipeline.store.dataset import StoreDataset

_ENVELOPE = 900  # points of a waveform
_RATE = 16000  # Hz
THUMBNAILS = 9  # frames side by side
_CROP = 224  # pixels, for a stream without the parameter `crop`

Hops = list[tuple[str, np.ndarray]]


@dataclass(frozen=True)
class Track:
    """The steps of one stream that the model reads.

    Attributes
    ----------
    modality, stream
        Names of both.
    first
        Index of its first step among all steps of the modality, which may have several streams.
    words
        Text only: the token of each step.
    times
        Audio and video only: [T] the time of each step, in seconds from the utterance's start.
    measured
        False if the stream has no times, and steps are spread evenly over the utterance.
    """

    modality: str
    stream: str
    first: int
    words: list[str] = field(default_factory=list)
    times: np.ndarray = field(default_factory=lambda: np.zeros(0))
    measured: bool = True

    def __len__(self) -> int:
        return len(self.words) if self.modality == "text" else len(self.times)


@dataclass
class AttentionView:
    """One utterance with the attention of a model.

    Attributes
    ----------
    seconds
        Duration of the utterance.
    hops
        Target modality and attention weights [T] of each hop.
    tracks
        One per stream that the model reads.
    waveform
        [2, points] minimum and maximum, from -1 to 1; None without the recording.
    frames
        Time in seconds, and the embedded crop [H, W, 3], of some frames.
    media_missing
        Whether a recording or video that the model's features come from could not be read.
    """

    seconds: float
    hops: Hops
    tracks: list[Track]
    waveform: np.ndarray | None = None
    frames: list[tuple[float, np.ndarray]] = field(default_factory=list)
    media_missing: bool = False


def view(
    store: FeatureStore,
    classifier: Classifier,
    dataset: StoreDataset,
    index: int,
    *,
    hops: Hops,
    media: Path | None,
) -> AttentionView:
    """Collect what is drawn of the utterance at row `index` of the store.

    Parameters
    ----------
    store, classifier, dataset
        The feature store, the model, and the model's dataset on that store.
    index
        Row of the utterance.
    hops
        From :func:`pipeline.evaluation.attention.of_utterance`.
    media
        The corpus's folder, for waveform and frames; None leaves them out. Files that are missing
        or cannot be read are left out too.
    """
    utterance = store.utterances.iloc[index]
    seconds = float(utterance["end"] - utterance["start"])
    tracks = []
    for modality in classifier.settings.modalities:
        first = 0
        for name in classifier.settings.streams.names(modality):
            steps = int(dataset.lengths[name][index])
            stream = dataset.stream(name)
            tracks.append(_track(modality, stream, index, slice(first, first + steps), seconds))
            first += steps
    result = AttentionView(seconds, hops, tracks)
    if media is None:
        return result
    (row,) = from_table(store.utterances.iloc[[index]])
    if any(len(track) for track in tracks if track.modality == "audio"):
        result.waveform = waveform(media, row)
        result.media_missing = result.waveform is None
    shown = [track for track in tracks if track.modality == "video" and track.measured]
    if shown and len(shown[0]):
        parameters = dataset.stream(shown[0].stream).parameters
        result.frames = frames(media, row, shown[0].times, parameters)
        result.media_missing |= not result.frames
    return result


def _track(modality: str, stream: Stream, index: int, place: slice, seconds: float) -> Track:
    """The steps of a stream of one utterance; `place` is their place in the modality."""
    first, steps = place.start, place.stop - place.start
    if modality == "text":
        return Track(modality, stream.name, first, words=stream.words(index)[:steps])
    times = np.full(steps, np.nan)
    if "times" in stream.group:
        times = stream.aligned("times", index)[:steps]
    return timed(modality, stream.name, first, times, seconds)


def timed(modality: str, stream: str, first: int, times: np.ndarray, seconds: float) -> Track:
    """A track of steps in time; those without times (NaN) are spread evenly over the utterance."""
    if not np.isnan(times).any():
        return Track(modality, stream, first, times=times)
    middles = (np.arange(len(times)) + 0.5) / max(len(times), 1) * seconds
    return Track(modality, stream, first, times=middles, measured=False)


def waveform(media: Path, utterance: Utterance) -> np.ndarray | None:
    """[2, points] minimum and maximum of a recording; None if it cannot be read."""
    samples, _ = of_utterance(utterance, media, _RATE)
    if not len(samples):
        return None
    parts = np.array_split(samples, min(_ENVELOPE, len(samples)))
    return np.array([[part.min() for part in parts], [part.max() for part in parts]])


def frames(
    media: Path, utterance: Utterance, times: np.ndarray, parameters: Mapping[str, Any]
) -> list[tuple[float, np.ndarray]]:
    """Up to :data:`THUMBNAILS` embedded crops, evenly spaced; none if the video cannot be read.

    `times` [T] are those of the stream's steps, and `parameters` those of the stream.
    """
    cut = Cut(parameters.get("region", "speaker"), parameters.get("crop", _CROP))
    chosen = times[np.unique(np.linspace(0, len(times) - 1, THUMBNAILS).round().astype(int))]
    if utterance.video is None:
        return []
    path, start = media / utterance.video.path, utterance.start
    chosen += start + 0.001  # so that rounding never selects the frame before
    found = [crop for _, crop in crops(path, [Segment(chosen, utterance.video.place)], [cut])]
    if any(isinstance(crop, VideoError) for crop in found):
        return []
    # every second pixel is enough for a thumbnail
    return [(crop.time - start, crop.image[::2, ::2]) for crop in found if isinstance(crop, Crop)]
