"""Speed of decoding films alone, in one process and in two.

``python -m benchmarks.decoding`` runs on an embedded corpus and prints JSON and a Markdown table.
It times a visual stream that runs no network: films are decoded, frames chosen and cropped, and the
colour of the middle of each crop is taken, which costs nothing. On a GPU, this is what limits the
stage `visual`. The processes are those of the stage, and have started before.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import cv2
import numpy as np
import pandas as pd

from benchmarks.extraction import RELEASE, Task, command, race
from pipeline import params
from pipeline.corpus.utterance import Utterance, from_table
from pipeline.features.extractor import Context
from pipeline.features.visual import VisualExtractor
from pipeline.system import compute


class Colours(VisualExtractor):
    """The colour of the middle of each crop, [T, 3]."""

    version: ClassVar = 1

    extractor: Literal["colours"] = "colours"

    def shape(self, device: str) -> tuple[int, ...]:
        return (3,)

    def embed(self, images: np.ndarray, device: str) -> np.ndarray:
        return images[:, images.shape[1] // 2, images.shape[2] // 2].astype(np.float32)


def decode(utterances: list[Utterance], context: Context) -> np.ndarray:
    """The colours of all frames of a dialog."""
    return np.concatenate([step.values for step in Colours().extract(utterances, {}, context)])


def measure(rows: pd.DataFrame, corpus: Path, repeat: int) -> dict[str, float]:
    """Return the number of frames of all films, and how many are decoded per second."""
    context = Context(corpus / RELEASE, "cpu", params.load().visual)
    films = [name for name in rows.groupby("dialog")["video"].first() if name]
    frames = sum(
        int(cv2.VideoCapture(str(context.root / name)).get(cv2.CAP_PROP_FRAME_COUNT))
        for name in films
    )
    dialogs = [from_table(each) for _, each in rows.groupby("dialog", sort=False)]
    dialogs.sort(key=lambda dialog: dialog[0].start - dialog[-1].end)  # longest first
    work = partial(decode, context=context)
    with compute.pool(1, "cpu") as one, compute.pool(2, "cpu") as two:
        tasks: dict[str, Task] = {
            "one": lambda: list(one.map(work, dialogs)),
            "two": lambda: list(two.map(work, dialogs)),
        }
        race(tasks, 1)  # they start
        seconds, values = race(tasks, repeat)
    for alone, beside in zip(values["one"], values["two"], strict=True):
        np.testing.assert_array_equal(alone, beside)
    return {
        "frames": frames,
        **{f"{way}_per_s": round(frames / taken) for way, taken in seconds.items()},
        "times_one": round(seconds["one"] / seconds["two"], 2),
    }


main = partial(command, "decoding", __doc__, measure, dialogs=20, repeat=10, table="visual")

if __name__ == "__main__":
    main()
