"""Visual features: the speaker's half of the video, a few frames a second, embedded by a ResNet.

Rate, crop and network are parameters; the authors of the attentive modality hopping model take 3
frames a second, at most 32, the central 224 x 224 of the speaker's half, and a ResNet-101.

``python -m pipeline.features.visual preview DIALOG`` draws the crops that would be embedded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd

from pipeline.compute import ahead
from pipeline.features.extraction import Arrays, Problem
from pipeline.features.video import Clip, Crop, VideoError, crops, wanted_times
from pipeline.params import Visual

if TYPE_CHECKING:
    import torch

    from pipeline.features.resnet import Embedder


class VisualExtractor:
    """Embeds the frames of each utterance; an extractor of :mod:`pipeline.features.extraction`.

    Parameters
    ----------
    parameters
        The group ``visual``.
    root
        The folder of the corpus.
    device
        Where the network runs.
    """

    def __init__(self, parameters: Visual, root: Path, device: torch.device | str) -> None:
        self._parameters = parameters
        self._root = root
        self._device = device

    @property
    def embedder(self) -> Embedder:
        """The network of this process, built on first use.

        On a CPU it runs on one thread: processes side by side share the cores better than threads,
        which wait for each other in every layer and for the one that decodes.
        """
        import torch  # a preview does without

        if torch.device(self._device).type == "cpu":
            torch.set_num_threads(1)
        return _embedder(self._parameters.network, self._parameters.weights, self._device)

    def identity(self) -> dict[str, Any]:
        """All that decides the values, as JSON."""
        return {
            **self.embedder.identity,
            "frames_per_second": self._parameters.frames_per_second,
            "max_frames": self._parameters.max_frames,
            "crop": self._parameters.crop,
            "opencv": cv2.__version__,
        }

    def sources(self, rows: pd.DataFrame) -> list[Path]:
        """List the videos that `rows` are read from; they may be missing."""
        return [self._root / video for video in sorted(set(rows["video"])) if video]

    def constants(self) -> Arrays:
        """No dataset of the whole corpus."""
        return {}

    def clips(self, rows: pd.DataFrame) -> list[Clip]:
        """Say what is taken of the video for each of `rows`."""
        rate, most = self._parameters.frames_per_second, self._parameters.max_frames
        spans = zip(
            rows["start"].tolist(), rows["end"].tolist(), rows["side"].tolist(), strict=True
        )
        return [Clip(wanted_times(start, end, rate, most), side) for start, end, side in spans]

    def dialog(self, rows: pd.DataFrame) -> tuple[Arrays, list[Problem]]:
        """Embed the frames of all utterances of one dialog.

        Parameters
        ----------
        rows
            n utterances with the columns ``utterance``, ``start``, ``end`` (seconds in the
            dialog), ``video`` (below the root; empty if there is none) and ``side``.

        Returns
        -------
        arrays
            ``resnet/values`` [sum of T, D] float32, ``resnet/times`` [sum of T] float64, the
            presentation times of the frames in seconds, and ``resnet/lengths`` [n] int64.
        problems
            The utterances with fewer frames than wanted, and why.
        """
        videos = rows["video"].tolist()
        clips = self.clips(rows)
        steps = [(np.zeros((0, self.embedder.size), np.float32), np.zeros(0))] * len(rows)
        reasons = ["the corpus has no video of the dialog"] * len(rows)
        for video in dict.fromkeys(filter(None, videos)):
            members = [row for row, name in enumerate(videos) if name == video]
            found, ending = self._embed(self._root / video, [clips[row] for row in members])
            for row, step in zip(members, found, strict=True):
                steps[row], reasons[row] = step, f"{video} {ending}"

        lengths = np.array([len(times) for _, times in steps], np.int64)
        problems = [
            Problem(utterance, f"{got} of {len(clip.times)} frames: {reason}")
            for utterance, got, clip, reason in zip(
                rows["utterance"], lengths.tolist(), clips, reasons, strict=True
            )
            if got < len(clip.times)
        ]
        arrays = {
            "resnet/values": np.concatenate([values for values, _ in steps]),
            "resnet/times": np.concatenate([times for _, times in steps]),
            "resnet/lengths": lengths,
        }
        return arrays, problems

    def _embed(
        self, path: Path, clips: Sequence[Clip]
    ) -> tuple[list[tuple[np.ndarray, np.ndarray]], str]:
        """Embed what `clips` take of one video.

        Returns the values [T, D] and times [T] of each clip, and why there are not more of them;
        the reason is empty for a video that holds all.
        """
        embeddings = [np.zeros((0, self.embedder.size), np.float32)]
        used: list[list[int]] = [[] for _ in clips]
        times: list[float] = []
        ending: list[str] = []
        batches = _batches(path, clips, self._parameters, ending)
        for batch in ahead(batches):
            embeddings.append(self.embedder(np.stack([crop.image for crop in batch])))
            for crop in batch:
                for clip in crop.clips:
                    used[clip].append(len(times))
                times.append(crop.time)
        values, moments = np.concatenate(embeddings), np.array(times)
        found = [(values[rows], moments[rows]) for rows in (np.array(u, np.int64) for u in used)]
        return found, "".join(ending)


@cache
def _embedder(network: str, weights: str, device: torch.device | str) -> Embedder:
    """One network a process: an extractor is sent there anew with each dialog."""
    from pipeline.features.resnet import Embedder

    return Embedder(network, weights, device)


def _batches(
    path: Path, clips: Sequence[Clip], parameters: Visual, ending: list[str]
) -> Iterator[list[Crop]]:
    """Yield the crops of a video in batches; if it fails, say why in `ending` and stop."""
    batch: list[Crop] = []
    try:
        for crop in crops(path, clips, parameters.crop):
            batch.append(crop)
            if len(batch) == parameters.batch_size:
                yield batch
                batch = []
    except VideoError as error:
        ending.append(str(error))
    if batch:
        yield batch


if __name__ == "__main__":
    from pipeline.features.preview import main

    sys.exit(main())
