"""The figure of one utterance: words, waveform and frames with the attention weights on them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report.examples import THUMBNAILS, AttentionView, Track
from pipeline.report.figures import COLOURS, QUIET, shade

_HEIGHTS = {"text": 1.4, "waveform": 0.7, "audio": 1.1, "frames": 0.95, "video": 1.1}  # inches

Panel = tuple[str, Callable[[Axes], None]]


def figure(view: AttentionView) -> Figure | None:
    """Draw one utterance; None if there is nothing to draw."""
    panels = _panels(view)
    if not panels:
        return None
    heights = [_HEIGHTS[kind] for kind, _ in panels]
    drawn = Figure(figsize=(9.5, sum(heights) + 0.5), layout="constrained")
    subplots = np.atleast_1d(drawn.subplots(len(panels), 1, height_ratios=heights))
    timed = []
    for axes, (kind, draw) in zip(subplots, panels, strict=True):
        draw(axes)
        if kind != "text":
            axes.set_xlim(0, view.seconds)
            axes.tick_params(labelbottom=False)
            timed.append(axes)
    if timed:
        timed[-1].tick_params(labelbottom=True)
        timed[-1].set_xlabel("seconds in the utterance")
    drawn.align_ylabels()
    return drawn


def _panels(view: AttentionView) -> list[Panel]:
    """The panels that have data, from top to bottom."""
    attended = {target for _, target, _ in _hops(view)}
    panels: list[Panel] = []
    for modality in ("text", "audio", "video"):
        if modality == "audio" and view.waveform is not None:
            panels.append(("waveform", partial(_draw_waveform, view)))
        if modality == "video" and view.frames:
            panels.append(("frames", partial(_draw_frames, view)))
        for track in view.tracks:
            if track.modality == modality and len(track) and modality in attended:
                panels.append((modality, partial(_draw_track, view, track)))
    return panels


def _hops(view: AttentionView) -> list[tuple[int, str, np.ndarray]]:
    """Number, target and weights of the hops that have steps and finite weights."""
    return [
        (number, target, weights)
        for number, (target, weights) in enumerate(view.hops, 1)
        if len(weights) and np.isfinite(weights).all()
    ]


def _draw_track(view: AttentionView, track: Track, axes: Axes) -> None:
    """Draw the attention weights of all hops on the steps of one stream."""
    hops = [(n, weights) for n, target, weights in _hops(view) if target == track.modality]
    steps = slice(track.first, track.first + len(track))
    places = np.arange(len(track)) if track.words else track.times
    gap = 1.0 if track.words else float(np.min(np.diff(places), initial=view.seconds / 3))
    width = 0.8 * gap / len(hops)
    for position, (number, weights) in enumerate(hops):
        style: dict[str, Any] = {
            "color": COLOURS[track.modality],
            "alpha": shade(position, len(hops)),
            "label": f"hop {number}",
        }
        if track.modality == "audio":
            axes.plot(places, weights[steps], lw=1.2, **style)
        else:
            left = places + width * (position - (len(hops) - 1) / 2)
            axes.bar(left, weights[steps], width, **style)
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


def _draw_waveform(view: AttentionView, axes: Axes) -> None:
    assert view.waveform is not None
    times = np.linspace(0, view.seconds, view.waveform.shape[1])
    axes.fill_between(times, *view.waveform, color=QUIET, lw=0)
    axes.set_yticks([])
    axes.set_ylabel("sound")


def _draw_frames(view: AttentionView, axes: Axes) -> None:
    """Draw the crops side by side without overlap, each with a line to its time."""
    width = view.seconds / THUMBNAILS
    last = -width
    for time, image in view.frames:
        left = min(max(time - width / 2, last + width), view.seconds - width)
        axes.imshow(image, extent=(left, left + 0.96 * width, 0, 1), aspect="auto", zorder=2)
        axes.plot([left + width / 2, time], [0, -0.12], color=QUIET, lw=0.6, clip_on=False)
        last = left
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.set_ylabel("frames")
