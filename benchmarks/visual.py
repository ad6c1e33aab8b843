"""Speed of visual extraction against a plain loop and the bare network, in frames per second.

``python -m benchmarks.visual`` runs on an embedded corpus and prints JSON and a Markdown table. It
times the extraction of the stage `visual`. The time in which its processes start and build their
networks (``start_s``) is measured on one utterance each and subtracted, since a corpus pays it
once. The plain loop seeks to each utterance, reads from there and embeds one frame at a time, in
PyTorch's default memory format. The bare pass is the forward pass of torchvision's network alone,
in channels-last format, on normalised batches that are already on the device. Both use one thread
per core. The extraction can be faster than the bare pass, since it runs single-threaded processes
and folds batch norms into convolutions. The values of all three are compared.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd

from benchmarks.extraction import RELEASE, Task, command, extracted, race, stream_of
from pipeline import params
from pipeline.corpus.utterance import from_table
from pipeline.features.crops import Cut
from pipeline.features.extractor import Context
from pipeline.features.visual import Torchvision, segments_of
from pipeline.system import compute

if TYPE_CHECKING:
    import torch


def measure(rows: pd.DataFrame, corpus: Path, repeat: int) -> dict[str, float]:
    """Return the number of frames in `rows`, and the frames per second of all three ways."""
    import torch

    from pipeline.features.resnet import headless

    settings = params.load()
    device = compute.device(settings.compute.device)
    name, stream = stream_of(settings.visual.streams, Torchvision)
    context = Context(corpus / RELEASE, str(device), settings.visual)
    streams = {name: stream}
    embedder = stream.embedder(context.device)
    default = headless(stream.network, stream.weights)[0].to(device)
    network = copy.deepcopy(default).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    cores = compute.processes(0)
    workers = cores if device.type == "cpu" else 1
    torch.set_num_threads(cores)  # for plain loop and bare pass; the embedder has set it to one

    def tensor(images: Sequence[np.ndarray]) -> torch.Tensor:
        """Normalise images [B, H, W, 3] to a tensor [B, 3, H, W], channels last."""
        mean, std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1)
            for values in (embedder.mean, embedder.std)
        )
        batch = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2)
        return (batch.float() / 255.0 - mean) / std

    def plain() -> list[np.ndarray]:
        images = sought(rows, context, stream.crop)
        each = [default(tensor([image]).contiguous()).cpu().numpy() for image in images]
        return [np.concatenate(each)]

    def bare() -> list[np.ndarray]:
        return [np.concatenate([network(batch).cpu().numpy() for batch in ready])]

    # full float32 precision on a GPU, as in the extraction
    flags = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    with torch.inference_mode(), flags:
        images = list(sought(rows, context, stream.crop))
        ready = [
            tensor(images[start : start + stream.batch_size])
            for start in range(0, len(images), stream.batch_size)
        ]
        extraction = partial(extracted, "visual", streams, rows, context, workers=workers)
        dialogs = rows["dialog"].unique()[:workers]
        few = rows[rows["dialog"].isin(dialogs)].groupby("dialog").head(1)
        start = partial(extracted, "visual", streams, few, context, workers=workers)
        tasks: dict[str, Task] = {
            "bare": bare,
            "start": start,
            "extraction": extraction,
            "plain": plain,
        }
        seconds, values = race(tasks, repeat)
    seconds["extraction"] -= (start_s := seconds.pop("start") if workers > 1 else 0.0)
    for way in ("extraction", "plain"):
        np.testing.assert_allclose(values[way][0], values["bare"][0], rtol=1e-3, atol=1e-3)
    return {
        "frames": len(images),
        "start_s": round(start_s, 1),
        **{f"{way}_per_s": round(len(images) / taken, 1) for way, taken in seconds.items()},
        "times_plain": round(seconds["plain"] / seconds["extraction"], 2),
        "percent_of_bare": round(100 * seconds["bare"] / seconds["extraction"], 1),
    }


def sought(rows: pd.DataFrame, context: Context, size: int) -> Iterator[np.ndarray]:
    """Yield the frames of each utterance, cropped to `size`; seeks to the utterance's start."""
    for _, dialog in rows[rows["video"] != ""].groupby("dialog", sort=False):
        capture = cv2.VideoCapture(str(context.root / dialog["video"].iloc[0]))
        duration = 1.0 / capture.get(cv2.CAP_PROP_FPS)
        shared = context.shared
        segments = segments_of(from_table(dialog), shared.frames_per_second, shared.max_frames)
        for start, segment in zip(dialog["start"], segments, strict=True):
            capture.set(cv2.CAP_PROP_POS_MSEC, 1000.0 * start)
            there, image = capture.read()
            for time in segment.times:
                while there and capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0 + duration <= time:
                    there, image = capture.read()
                if there:
                    yield Cut(size=size)(image, segment.place)
        capture.release()


main = partial(command, "visual", __doc__, measure, dialogs=20, repeat=1)

if __name__ == "__main__":
    main()
