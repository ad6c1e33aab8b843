"""Predictions as JSON or as a CSV table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.predict.prediction import Prediction

_DIGITS = 6


def as_json(predictions: Sequence[Prediction]) -> str:
    """A JSON list with one object per clip."""
    return json.dumps([_plain(one) for one in predictions], indent=2, ensure_ascii=False) + "\n"


def _plain(one: Prediction) -> dict[str, Any]:
    return {
        "clip": one.utterance.id,
        "start": one.utterance.start,
        "end": one.utterance.end,
        "text": one.utterance.text,
        "recogniser": one.recogniser,
        "emotion": one.emotion,
        "probabilities": {name: round(p, _DIGITS) for name, p in one.probabilities.items()},
        "missing": one.missing,
        "remarks": one.remarks,
        "attention": [
            {
                "hop": number,
                "target": hop.target,
                "weights": np.round(hop.weights, _DIGITS).tolist(),
                **({"words": hop.words} if hop.target == "text" else {}),
                "times": [None if np.isnan(t) else round(float(t), 3) for t in hop.times],
            }
            for number, hop in enumerate(one.hops, 1)
        ],
    }


def as_csv(predictions: Sequence[Prediction]) -> str:
    """A CSV table with one row per clip, without the attention."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = list(predictions[0].probabilities) if predictions else []
    columns = [
        "clip",
        "start",
        "end",
        "text",
        "recogniser",
        "emotion",
        *(f"p_{name}" for name in classes),
    ]
    writer.writerow([*columns, "missing", "remarks"])
    for one in predictions:
        own = one.utterance
        writer.writerow(
            [
                *(own.id, f"{own.start:.3f}", f"{own.end:.3f}"),
                *(own.text, one.recogniser, one.emotion),
                *(f"{p:.{_DIGITS}f}" for p in one.probabilities.values()),
                "; ".join(f"{name}: {reason}" for name, reason in one.missing.items()),
                "; ".join(one.remarks),
            ]
        )
    return text.getvalue()
