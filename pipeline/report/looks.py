"""What a model saw of one utterance: words, sound and frames, with the attention of each hop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.corpus.utterance import from_table
from pipeline.features.recording import of_utterance
from pipeline.features.video import Segment, VideoError, crops
from pipeline.models.classifier import Classifier
from pipeline.store import FeatureStore, Stream
from pipeline.store.batches import StoreDataset

_ENVELOPE = 900  # columns of a waveform
_RATE = 16000  # hertz that it is read at
THUMBNAILS = 9  # frames side by side
_CROP = 224  # pixels shown of a stream whose crop is not known

Hops = list[tuple[str, np.ndarray]]


@dataclass(frozen=True)
class Track:
    """The steps of one stream that the model read.

    Attributes
    ----------
    modality, stream
        Their names.
    first
        Where its steps begin among those of the modality, which may have several streams.
    words
        The token of each step, of text.
    times
        [T] seconds in the utterance of each step, of audio and video.
    measured
        Whether the times are known; they are spread evenly over the utterance otherwise.
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
class Look:
    """One utterance as the model met it.

    Attributes
    ----------
    seconds
        Its duration.
    hops
        Target and weights [T] of each hop.
    tracks
        Of each stream that the model reads.
    waveform
        [2, columns] lowest and highest values, from -1 to 1; None without the recording.
    frames
        Seconds in the utterance, and the square [H, W, 3] that was embedded.
    lacking
        Whether a recording of what the model read is not at hand.
    """

    seconds: float
    hops: Hops
    tracks: list[Track]
    waveform: np.ndarray | None = None
    frames: list[tuple[float, np.ndarray]] = field(default_factory=list)
    lacking: bool = False


def look(
    store: FeatureStore,
    classifier: Classifier,
    dataset: StoreDataset,
    index: int,
    *,
    hops: Hops,
    media: Path | None,
) -> Look:
    """Gather what the model saw of the utterance at `index` of the store.

    Parameters
    ----------
    store, classifier, dataset
        The store, the model and what it reads.
    index
        The utterance's row.
    hops
        From :func:`pipeline.evaluation.attention.of_utterance`.
    media
        The corpus's folder, for waveform and frames; None to leave them out. Recordings that are
        not there or cannot be read are left out too.
    """
    about = store.utterances.iloc[index]
    tracks = []
    for modality in classifier.settings.modalities:
        first = 0
        for name in classifier.settings.streams.names(modality):
            steps = int(dataset.lengths[name][index])
            stream = dataset.stream(name)
            track = _track(
                modality,
                stream,
                index,
                first=first,
                steps=steps,
                about=about,
            )
            tracks.append(track)
            first += steps
    found = Look(float(about["end"] - about["start"]), hops, tracks)
    if media is None:
        return found
    if any(len(track) for track in tracks if track.modality == "audio"):
        found.waveform = _waveform(media, about)
        found.lacking = found.waveform is None
    timed = [track for track in tracks if track.modality == "video" and track.measured]
    if timed and len(timed[0]):
        parameters = dataset.stream(timed[0].stream).parameters
        found.frames = _frames(media / about["video"], timed[0].times, about, parameters)
        found.lacking = found.lacking or not found.frames
    return found


def _track(
    modality: str,
    stream: Stream,
    index: int,
    *,
    first: int,
    steps: int,
    about: pd.Series,
) -> Track:
    """The first `steps` steps of a stream of one utterance."""
    if modality == "text":
        return Track(modality, stream.name, first, words=stream.words(index)[:steps])
    if "times" in stream.group:
        times = stream.aligned("times", index)[:steps]
        return Track(modality, stream.name, first, times=times)
    middles = (np.arange(steps) + 0.5) / max(steps, 1) * (about["end"] - about["start"])
    return Track(modality, stream.name, first, times=middles, measured=False)


def _waveform(media: Path, about: pd.Series) -> np.ndarray | None:
    """[2, columns] lowest and highest values of a recording; None if it cannot be read."""
    (utterance,) = from_table(about.to_frame().T)
    values, _ = of_utterance(utterance, media, _RATE)
    if not len(values):
        return None
    parts = np.array_split(values, min(_ENVELOPE, len(values)))
    return np.array([[part.min() for part in parts], [part.max() for part in parts]])


def _frames(
    path: Path, times: np.ndarray, about: pd.Series, parameters: Mapping[str, Any]
) -> list[tuple[float, np.ndarray]]:
    """Some of the squares that were embedded, evenly chosen; none if the video cannot be read.

    `times` are those at which they were presented, [T] seconds in the utterance; `parameters` those
    of the stream.
    """
    size, scaled = parameters.get("crop", _CROP), parameters.get("region") == "square"
    chosen = times[np.unique(np.linspace(0, len(times) - 1, THUMBNAILS).round().astype(int))]
    chosen += float(about["start"]) + 0.001  # as rounding must not lead to the frame before
    try:
        # every second pixel is enough for a thumbnail
        return [
            (crop.time - float(about["start"]), crop.image[::2, ::2])
            for crop in crops(path, [Segment(chosen, str(about["place"]))], size, scaled=scaled)
        ]
    except VideoError:
        return []
