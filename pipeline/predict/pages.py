"""Predictions as pages with pictures of the attention."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from pipeline.predict.prediction import Prediction
from pipeline.report import drawing, examples, figures

STYLE = Path(__file__).with_name("clip.css")
"""The style sheet of :func:`as_fragment`."""


def as_html(predictions: Sequence[Prediction], folders: Sequence[Path]) -> str:
    """A page that needs no other file: probabilities, and pictures of the attention.

    Parameters
    ----------
    folders
        The folder of the recordings of each clip.
    """
    clips = [_clip(one, folder) for one, folder in zip(predictions, folders, strict=True)]
    return _rendered("page.html.j2", clips=clips)


def as_fragment(prediction: Prediction, folder: Path) -> str:
    """One clip of :func:`as_html`, for a page of another program with the style :data:`STYLE`."""
    return _rendered("clip.html.j2", clip=_clip(prediction, folder))


def _clip(one: Prediction, folder: Path) -> dict[str, Any]:
    figures.style()
    return {
        "prediction": one,
        "probabilities": sorted(one.probabilities.items(), key=lambda pair: -pair[1]),
        "image": picture(one, folder),
    }


def as_timeline(predictions: Sequence[Prediction], timeline: Figure) -> str:
    """A page that needs no other file: a picture of the timeline above a table of its stretches."""
    notes = [
        [*(f"Without {name}: {reason}" for name, reason in one.missing.items()), *one.remarks]
        for one in predictions
    ]
    common = [note for note in notes[0] if all(note in own for own in notes)]
    rows = [
        (one, "; ".join(note for note in own if note not in common))
        for one, own in zip(predictions, notes, strict=True)
    ]
    image = _embedded(timeline)
    return _rendered(
        "timeline.html.j2", first=predictions[0], common=common, rows=rows, image=image
    )


def _rendered(template: str, **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.predict", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(**values)


def picture(one: Prediction, folder: Path) -> str:
    """Words, waveform and frames with the attention, as a data URL; empty if there are none."""
    figure = drawing.figure(_view(one, folder))
    return _embedded(figure) if figure else ""


def _embedded(figure: Figure) -> str:
    """A figure as a data URL."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "figure.png")
        figures.save(figure, path, dpi=100)
        return figures.embed(path)


def _view(one: Prediction, folder: Path) -> examples.AttentionView:
    utterance = one.utterance
    seconds = utterance.end - utterance.start
    tracks: list[examples.Track] = []
    for hop in {hop.target: hop for hop in one.hops}.values():
        first = 0
        for name, steps in hop.streams.items():
            place = slice(first, first + steps)
            if hop.target == "text":
                track = examples.Track("text", name, first, words=hop.words[place])
            else:
                track = examples.timed(hop.target, name, first, hop.times[place], seconds)
            tracks.append(track)
            first += steps
    view = examples.AttentionView(seconds, [(hop.target, hop.weights) for hop in one.hops], tracks)
    if "audio" not in one.missing and utterance.audio:
        view.waveform = examples.waveform(folder, utterance)
    shown = [track for track in tracks if track.modality == "video" and len(track)]
    if shown and utterance.video:
        parameters = one.parameters[shown[0].stream]
        view.frames = examples.frames(folder, utterance, shown[0].times, parameters)
    return view
