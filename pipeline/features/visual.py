"""ResNet embeddings of the speaker's half of the video, for a few frames per second.

Frame rate, crop and network are parameters. The authors of the attentive modality hopping model use
3 frames per second, at most 32 frames, the central 224 x 224 pixels of the speaker's half, and a
ResNet-101.

``python -m pipeline.preview DIALOG`` draws the crops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.corpus.utterance import Utterance
from pipeline.features.extractor import Context, NetworkExtractor, State, Steps
from pipeline.features.pretrained import RANDOM, hashes, resnet_file
from pipeline.features.video import Crop, Segment, VideoError, crops, wanted_times
from pipeline.params.types import OwnPath
from pipeline.system.compute import ahead

if TYPE_CHECKING:
    from pipeline.features.resnet import Embedder


class Torchvision(NetworkExtractor):
    """Embeddings [T, D] of frames by a ResNet of torchvision without its last layer.

    Attributes
    ----------
    network
        ``resnet18``, ``resnet34``, ``resnet50``, ``resnet101`` or ``resnet152``.
    weights
        A torchvision weight name, a state-dict file, or ``random`` (for the embedded corpus only).
    region
        ``speaker``: the central square of `crop` pixels in the speaker's half, or in the whole
        picture; ``square``: the largest square, scaled to `crop` pixels, for videos of any size.
    crop
        Size of the square in pixels.
    """

    kind: ClassVar = "sequence"
    version: ClassVar = 1
    reads: ClassVar = ("frames_per_second", "max_frames")
    libraries: ClassVar = ("av", "opencv-python-headless", "torch", "torchvision")

    extractor: Literal["torchvision"] = "torchvision"
    network: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    weights: OwnPath
    region: Literal["speaker", "square"] = "speaker"
    crop: Annotated[int, Field(ge=32, le=360)] = 224

    def files(self) -> dict[str, str]:
        """SHA-256 of the weights; random weights are determined by the name of the network."""
        if self.weights == RANDOM:
            return {self.network: RANDOM}
        return hashes("weights", [resnet_file(self.network, self.weights)])

    def embedder(self, device: str) -> Embedder:
        """The network, built once per process.

        On a CPU it runs on one thread. Several processes use the cores better than several threads,
        which wait for each other after every layer, and for the decoding thread.
        """
        import torch  # not needed by the preview

        if torch.device(device).type == "cpu":
            torch.set_num_threads(1)
        return _embedder(self.network, self.weights, device)

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        """Embeddings of the frames of each utterance, with their presentation times."""
        embedder = self.embedder(context.device)
        visual = context.shared
        segments = segments_of(utterances, visual.frames_per_second, visual.max_frames)
        embedded = [(np.zeros((0, embedder.size), np.float32), np.zeros(0))] * len(utterances)
        reasons = ["the corpus has no video of the dialog"] * len(utterances)
        paths = [utterance.video.path if utterance.video else "" for utterance in utterances]
        for path in dict.fromkeys(filter(None, paths)):
            rows = [row for row, name in enumerate(paths) if name == path]
            results, reason = self._embed(
                context.root / path, [segments[row] for row in rows], embedder
            )
            for row, result in zip(rows, results, strict=True):
                embedded[row], reasons[row] = result, f"{path} {reason}"
        features = []
        for utterance, segment, (values, times), reason in zip(
            utterances, segments, embedded, reasons, strict=True
        ):
            taken, wanted = len(times), len(segment.times)
            problem = f"{taken} of {wanted} frames: {reason}" if taken < wanted else ""
            features.append(Steps(values, times - utterance.start, problem=problem))
        return features

    def _embed(
        self, path: Path, segments: Sequence[Segment], embedder: Embedder
    ) -> tuple[list[tuple[np.ndarray, np.ndarray]], str]:
        """Embed the segments of one video.

        Returns the embeddings [T, D] and times [T] of each segment, and the error that ended the
        decoding; it is empty if there was none.
        """
        embeddings = [np.zeros((0, embedder.size), np.float32)]
        rows: list[list[int]] = [[] for _ in segments]
        times: list[float] = []
        errors: list[str] = []
        for batch in ahead(self._batches(path, segments, errors)):
            embeddings.append(embedder(np.stack([crop.image for crop in batch])))
            for crop in batch:
                for segment in crop.segments:
                    rows[segment].append(len(times))
                times.append(crop.time)
        values, moments = np.concatenate(embeddings), np.array(times)
        indices = [np.array(own, np.int64) for own in rows]
        return [(values[own], moments[own]) for own in indices], "".join(errors)

    def _batches(
        self, path: Path, segments: Sequence[Segment], errors: list[str]
    ) -> Iterator[list[Crop]]:
        """Yield the crops of a video in batches; an error ends them and is added to `errors`."""
        batch: list[Crop] = []
        try:
            for crop in crops(path, segments, self.crop, scaled=self.region == "square"):
                batch.append(crop)
                if len(batch) == self.batch_size:
                    yield batch
                    batch = []
        except VideoError as error:
            errors.append(str(error))
        if batch:
            yield batch


def segments_of(
    utterances: Sequence[Utterance], frames_per_second: float, max_frames: int
) -> list[Segment]:
    """The segment of the video of each utterance."""
    return [
        Segment(
            wanted_times(utterance.start, utterance.end, frames_per_second, max_frames),
            utterance.video.place if utterance.video else "",
        )
        for utterance in utterances
    ]


@cache
def _embedder(network: str, weights: str, device: str) -> Embedder:
    """The network, built once per process, since each task brings a new extractor object."""
    from pipeline.features.resnet import Embedder

    return Embedder(network, weights, device)
