"""One utterance's figure: bars over words, curves under the waveform, bars under the frames."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report.figures import COLOURS, QUIET, shade
from pipeline.report.looks import THUMBNAILS, Look, Track

_HEIGHTS = {"text": 1.4, "waveform": 0.7, "audio": 1.1, "frames": 0.95, "video": 1.1}  # inches

Panel = tuple[str, Callable[[Axes], None]]


def figure(found: Look) -> Figure | None:
    """Draw what a model saw; None if there is nothing of the utterance to draw."""
    panels = _panels(found)
    if not panels:
        return None
    heights = [_HEIGHTS[kind] for kind, _ in panels]
    drawn = Figure(figsize=(9.5, sum(heights) + 0.5), layout="constrained")
    axes = np.atleast_1d(drawn.subplots(len(panels), 1, height_ratios=heights))
    timed = []
    for one, (kind, draw) in zip(axes, panels, strict=True):
        draw(one)
        if kind != "text":
            one.set_xlim(0, found.seconds)
            timed.append(one)
    for one in timed:
        one.tick_params(labelbottom=one is timed[-1])
    if timed:
        timed[-1].set_xlabel("seconds in the utterance")
    drawn.align_ylabels()
    return drawn


def _panels(found: Look) -> list[Panel]:
    """The panels that there is something for, from top to bottom."""
    attended = {target for _, target, _ in _hops(found)}
    panels: list[Panel] = []
    for modality in ("text", "audio", "video"):
        if modality == "audio" and found.waveform is not None:
            panels.append(("waveform", partial(_draw_waveform, found)))
        if modality == "video" and found.frames:
            panels.append(("frames", partial(_draw_frames, found)))
        for track in found.tracks:
            if track.modality == modality and len(track) and modality in attended:
                panels.append((modality, partial(_draw_track, found, track)))
    return panels


def _hops(found: Look) -> list[tuple[int, str, np.ndarray]]:
    """Number, target and weights of the hops that can be drawn: with steps, all weights finite."""
    return [
        (number, target, weights)
        for number, (target, weights) in enumerate(found.hops, 1)
        if len(weights) and np.isfinite(weights).all()
    ]


def _draw_track(found: Look, track: Track, axes: Axes) -> None:
    """The weights of the hops on the steps of one stream."""
    hops = [(n, weights) for n, target, weights in _hops(found) if target == track.modality]
    steps = slice(track.first, track.first + len(track))
    places = np.arange(len(track)) if track.words else track.times
    gap = 1.0 if track.words else float(np.min(np.diff(places), initial=found.seconds / 3))
    width = 0.8 * gap / len(hops)
    for position, (number, weights) in enumerate(hops):
        looks: dict[str, Any] = {
            "color": COLOURS[track.modality],
            "alpha": shade(position, len(hops)),
            "label": f"hop {number}",
        }
        if track.modality == "audio":
            axes.plot(places, weights[steps], lw=1.2, **looks)
        else:
            left = places + width * (position - (len(hops) - 1) / 2)
            axes.bar(left, weights[steps], width, **looks)
    highest = max(float(weights.max()) for _, weights in hops)
    axes.set_ylim(0, 1.05 * highest)  # the same for all streams of a modality
    axes.set_ylabel(f"{track.modality}\n{track.stream}" + ("" if track.measured else "\n(spread)"))
    if track.words:
        _name_words(axes, track.words)
    axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1.08))


def _name_words(axes: Axes, words: list[str]) -> None:
    size, angle = (8, 30) if len(words) <= 24 else (6, 60) if len(words) <= 70 else (4.5, 90)
    labels = [word.replace("$", r"\$") for word in words]
    axes.set_xticks(
        range(len(words)), labels, rotation=angle, ha="right", fontsize=size, rotation_mode="anchor"
    )
    axes.set_xlim(-0.6, len(words) - 0.4)


def _draw_waveform(found: Look, axes: Axes) -> None:
    assert found.waveform is not None
    times = np.linspace(0, found.seconds, found.waveform.shape[1])
    axes.fill_between(times, *found.waveform, color=QUIET, lw=0)
    axes.set_yticks([])
    axes.set_ylabel("sound")


def _draw_frames(found: Look, axes: Axes) -> None:
    """Squares side by side, each as near to its time as the others allow, with a line to it."""
    width = found.seconds / THUMBNAILS
    last = -width
    for time, image in found.frames:
        left = min(max(time - width / 2, last + width), found.seconds - width)
        axes.imshow(image, extent=(left, left + 0.96 * width, 0, 1), aspect="auto", zorder=2)
        axes.plot([left + width / 2, time], [0, -0.12], color=QUIET, lw=0.6, clip_on=False)
        last = left
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.set_ylabel("frames")
