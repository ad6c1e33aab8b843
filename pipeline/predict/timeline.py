"""The timeline of a long recording: one prediction for each stretch of speech."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline import InputError
from pipeline.corpus.utterance import Utterance
from pipeline.features.recording import of_utterance
from pipeline.predict import transcribing
from pipeline.predict.prediction import Prediction
from pipeline.predict.predictor import Predictor
from pipeline.predict.speech import RATE, Detector, speech
from pipeline.report import examples
from pipeline.report.figures import COLOURS, QUIET

SHARED_SOUND = (
    "one half of the picture belongs to the speaker, but the sound to both actors: in a stretch of "
    "speech the other actor may be the one who speaks"
)

_STRIP = 120.0  # seconds side by side, unless that gives too many strips
_STRIPS = 12
_HEIGHTS = (0.45, 0.19)  # inches of a waveform, and of a row of probabilities


def stretches(
    recording: Utterance, root: Path, detector: Detector | None = None
) -> list[Utterance]:
    """The stretches of speech of a recording, in the order of time.

    Parameters
    ----------
    recording
        The recording, or the part of it between its start and end; its text is not read.
    root
        The folder of the recording.
    detector
        What finds speech; by default :func:`~pipeline.predict.speech.silero`.

    Raises
    ------
    InputError
        If there is no sound or no speech, or faster-whisper is needed and not installed.
    """
    if recording.audio is None:
        raise InputError(f"{recording.id}: has no sound, so no speech can be found in it")
    signal, problem = of_utterance(recording, root, RATE)
    if not len(signal):
        raise InputError(f"{problem}, so no speech can be found in it")
    found = speech(signal, detector)
    if not found:
        raise InputError(f"{problem or recording.id}: no speech was found")
    begin = recording.start
    return [
        replace(recording, start=begin + first / RATE, end=begin + last / RATE, text="")
        for first, last in found
    ]


def predict(
    predictor: Predictor,
    utterances: Sequence[Utterance],
    root: Path,
    recogniser: transcribing.Recogniser | None = None,
) -> list[Prediction]:
    """Predict the emotion of each stretch; parameters as of :func:`transcribing.predict`.

    If the speaker has one half of the picture, a remark says that the sound is that of both.
    """
    return [
        replace(one, remarks=[*one.remarks, SHARED_SOUND])
        if one.utterance.video and one.utterance.video.place != "whole"
        else one
        for one in transcribing.predict(predictor, utterances, root, recogniser)
    ]


def figure(predictions: Sequence[Prediction], recording: Utterance, root: Path) -> Figure:
    """The waveform above the probability of each emotion, in strips below each other.

    Parameters
    ----------
    predictions
        As of :func:`predict`; at least one.
    recording, root
        As there.
    """
    seconds = recording.end - recording.start
    strip = max(min(_STRIP, seconds), seconds / _STRIPS)
    count = math.ceil(seconds / strip)
    wave, row = _HEIGHTS
    heights = [wave, row * len(predictions[0].probabilities)]
    drawn = Figure(figsize=(10, count * (sum(heights) + 0.4) + 0.3), layout="constrained")
    panels = drawn.subplots(2 * count, 1, height_ratios=heights * count)
    title = recording.id
    if recording.video and recording.video.place != "whole":
        title += f", actor on the {recording.video.place}; the sound is that of both actors"
    panels[0].set_title(title)
    for number, (upper, lower) in enumerate(zip(panels[::2], panels[1::2], strict=True)):
        start = recording.start + number * strip
        end = min(start + strip, recording.end)
        _draw_waveform(upper, examples.waveform(root, replace(recording, start=start, end=end)))
        _draw_probabilities(lower, predictions)
        lower.set_xlim(start, start + strip)
        upper.set_xlim(0, strip / (end - start))
    lower.set_xlabel("time (minutes:seconds)")
    colours = drawn.colorbar(lower.collections[0], ax=list(panels), aspect=40, shrink=0.6)
    colours.set_label("probability (line: highest)")
    return drawn


def _draw_waveform(axes: Axes, envelope: np.ndarray | None) -> None:
    if envelope is not None:
        axes.fill_between(np.linspace(0, 1, envelope.shape[1]), *envelope, color=QUIET, lw=0)
    axes.set_axis_off()


def _draw_probabilities(axes: Axes, predictions: Sequence[Prediction]) -> None:
    """A heat map with one row per emotion; nothing where nobody speaks."""
    classes = list(predictions[0].probabilities)
    values = np.full((len(classes), 2 * len(predictions) - 1), np.nan)  # every other one is a pause
    values[:, ::2] = np.transpose([list(one.probabilities.values()) for one in predictions])
    spans = [(one.utterance.start, one.utterance.end) for one in predictions]
    edges = np.ravel(spans)
    axes.pcolormesh(edges, np.arange(len(classes) + 1), values, cmap="Blues", vmin=0, vmax=1)
    highest = [classes.index(one.emotion) + 0.5 for one in predictions]
    axes.hlines(highest, edges[::2], edges[1::2], color=COLOURS["text"], lw=1.5)
    axes.set_yticks(np.arange(len(classes)) + 0.5, classes)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.xaxis.set_major_formatter(lambda time, _: f"{int(time) // 60}:{int(time) % 60:02d}")
