"""What a model saw of one utterance: words, sound and frames with the attention of each hop."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.batches import Examples
from pipeline.features.video import Clip, VideoError, crops
from pipeline.models.classifier import Classifier
from pipeline.report.figures import COLOURS, QUIET, shade
from pipeline.store import FeatureStore

_ENVELOPE = 900  # columns of a waveform
_THUMBNAILS = 9  # frames side by side

Hops = list[tuple[str, np.ndarray]]


@dataclass
class Look:
    """One utterance as the model met it.

    Attributes
    ----------
    seconds
        Its duration.
    hops
        Target and weights [T] of each hop.
    words
        The tokens that the text was read as, over all its streams.
    times
        Seconds in the utterance of each step of audio and video; a modality whose times are not
        known is left out.
    waveform
        [2, _ENVELOPE] lowest and highest values, from -1 to 1; None without the recording.
    frames
        Seconds in the utterance, and the square [H, W, 3] that was embedded.
    """

    seconds: float
    hops: Hops
    words: list[str] = field(default_factory=list)
    times: dict[str, np.ndarray] = field(default_factory=dict)
    waveform: np.ndarray | None = None
    frames: list[tuple[float, np.ndarray]] = field(default_factory=list)


def look(
    store: FeatureStore,
    classifier: Classifier,
    examples: Examples,
    index: int,
    *,
    hops: Hops,
    media: Path | None,
) -> Look:
    """Gather what the model saw of the utterance at `index` of the store.

    Parameters
    ----------
    store, classifier, examples
        The store, the model and what it reads.
    index
        The utterance's row.
    hops
        From :func:`pipeline.attention.of_utterance`.
    media
        The corpus's folder, for waveform and frames; None to leave them out. Recordings that are
        not there or cannot be read are left out too.
    """
    about = store.utterances.iloc[index]
    settings = classifier.settings
    parameters = json.loads(store.file.attrs["parameters"])
    found = Look(float(about["end"] - about["start"]), hops)
    if "text" in settings.modalities:
        for name in settings.streams.names("text"):
            words = examples.streams[name].words(index) or []
            found.words += words[: examples.lengths[name][index]]
    for modality in settings.modalities:
        names = settings.streams.names(modality)
        if modality == "text" or len(names) > 1:
            continue
        stream, steps = examples.streams[names[0]], int(examples.lengths[names[0]][index])
        if "times" in stream.group:
            found.times[modality] = stream.aligned("times", index)[:steps] - about["start"]
        elif names[0] == "mfcc":
            audio = parameters["audio"]
            found.times[modality] = np.arange(steps) * audio["step"] + audio["window"] / 2
    if media is not None:
        found.waveform = _waveform(media / about["audio"]) if about["audio"] else None
        times = found.times.get("video", np.zeros(0))
        if len(times) and about["video"]:
            size = parameters["visual"]["crop"]
            found.frames = _frames(media / about["video"], times, about, size)
    return found


def _waveform(path: Path) -> np.ndarray | None:
    """[2, _ENVELOPE] lowest and highest values of a recording; None if it cannot be read."""
    try:
        values, _ = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError):
        return None
    if not len(values):
        return None
    parts = np.array_split(values.mean(axis=1), min(_ENVELOPE, len(values)))
    return np.array([[part.min() for part in parts], [part.max() for part in parts]])


def _frames(
    path: Path, times: np.ndarray, about: pd.Series, size: int
) -> list[tuple[float, np.ndarray]]:
    """Some of the squares that were embedded, evenly chosen; none if the video cannot be read."""
    chosen = times[np.unique(np.linspace(0, len(times) - 1, _THUMBNAILS).round().astype(int))]
    clip = Clip(chosen + about["start"], str(about["side"]))
    try:
        # every second pixel is enough for a thumbnail
        return [
            (crop.time - float(about["start"]), crop.image[::2, ::2])
            for crop in crops(path, [clip], size)
        ]
    except VideoError:
        return []


def figure(found: Look) -> Figure | None:
    """One figure: bars over words, curves under the waveform, bars under the frames.

    None if there is nothing to draw.
    """
    panels = _panels(found)
    if not panels:
        return None
    heights = [height for _, height in panels]
    drawn = Figure(figsize=(9.5, sum(heights) + 0.5), layout="constrained")
    axes = np.atleast_1d(drawn.subplots(len(panels), 1, height_ratios=heights))
    timed = [one for one, (name, _) in zip(axes, panels, strict=True) if name != "words"]
    for one, (name, _) in zip(axes, panels, strict=True):
        _DRAW[name](one, found)
    for one in timed:
        one.set_xlim(0, found.seconds)
        one.tick_params(labelbottom=one is timed[-1])
    if timed:
        timed[-1].set_xlabel("seconds in the utterance")
    return drawn


def _panels(found: Look) -> list[tuple[str, float]]:
    """The panels there is something for, with their heights in inches."""
    targets = {target for target, weights in found.hops if len(weights)}
    panels = []
    if found.words:
        panels.append(("words", 1.5))
    if found.waveform is not None:
        panels.append(("waveform", 0.7))
    if "audio" in targets and "audio" in found.times:
        panels.append(("audio", 1.2))
    if found.frames:
        panels.append(("frames", 1.0))
    if "video" in targets and "video" in found.times:
        panels.append(("video", 1.2))
    return panels


def _of(found: Look, target: str) -> list[tuple[int, np.ndarray, float]]:
    """Number, weights and opacity of the hops on a modality."""
    chosen = [(n, weights) for n, (name, weights) in enumerate(found.hops, 1) if name == target]
    return [(n, w, shade(k, len(chosen))) for k, (n, w) in enumerate(chosen)]


def _draw_words(axes: Axes, found: Look) -> None:
    hops = _of(found, "text")
    places = np.arange(len(found.words))
    width = 0.8 / max(len(hops), 1)
    for position, (number, weights, opacity) in enumerate(hops):
        left = places - 0.4 + width * (position + 0.5)
        axes.bar(left, weights, width, color=COLOURS["text"], alpha=opacity, label=f"hop {number}")
    many = len(places) > 24
    axes.set_xticks(
        places,
        [word.replace("$", r"\$") for word in found.words],
        rotation=60 if many else 30,
        ha="right",
        fontsize=6 if many else 8,
    )
    axes.set_ylabel("words")
    axes.set_xlim(-0.6, len(places) - 0.4)
    if hops:
        axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def _draw_waveform(axes: Axes, found: Look) -> None:
    assert found.waveform is not None
    times = np.linspace(0, found.seconds, found.waveform.shape[1])
    axes.fill_between(times, *found.waveform, color=QUIET, lw=0)
    axes.set_yticks([])
    axes.set_ylabel("sound")


def _draw_audio(axes: Axes, found: Look) -> None:
    for number, weights, opacity in _of(found, "audio"):
        times = found.times["audio"][: len(weights)]
        axes.plot(
            times, weights, lw=1.2, color=COLOURS["audio"], alpha=opacity, label=f"hop {number}"
        )
    axes.set_ylim(bottom=0)
    axes.set_ylabel("audio")
    axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def _draw_frames(axes: Axes, found: Look) -> None:
    """Squares side by side, each as near to its time as the others allow, with a line to it."""
    width = found.seconds / _THUMBNAILS
    last = -width
    for time, image in found.frames:
        left = min(max(time - width / 2, last + width), found.seconds - width)
        axes.imshow(image, extent=(left, left + 0.96 * width, 0, 1), aspect="auto", zorder=2)
        axes.plot([left + width / 2, time], [0, -0.12], color=QUIET, lw=0.6, clip_on=False)
        last = left
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.set_ylabel("frames")


def _draw_video(axes: Axes, found: Look) -> None:
    times = found.times["video"]
    hops = _of(found, "video")
    # of the gap between two frames
    width = 0.8 * float(np.min(np.diff(times), initial=found.seconds / 3)) / len(hops)
    for position, (number, weights, opacity) in enumerate(hops):
        places = times[: len(weights)] + width * (position - (len(hops) - 1) / 2)
        axes.bar(
            places, weights, width, color=COLOURS["video"], alpha=opacity, label=f"hop {number}"
        )
    axes.set_ylabel("video")
    axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


_DRAW = {
    "words": _draw_words,
    "waveform": _draw_waveform,
    "audio": _draw_audio,
    "frames": _draw_frames,
    "video": _draw_video,
}
