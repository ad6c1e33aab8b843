"""Embeddings of the frames of utterances by networks, for a few frames per second.

Frame rate, crop and network are parameters. The authors of the attentive modality hopping model use
3 frames per second, at most 32 frames, the central 224 x 224 pixels of the speaker's half, and a
ResNet-101. All streams of a film read one decoding of it.

``python -m pipeline.preview DIALOG`` draws the crops.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from pipeline.corpus.utterance import Utterance
from pipeline.features import faces
from pipeline.features.crops import Crop, Cut, Region, crops
from pipeline.features.extractor import Context, NetworkExtractor, State, Steps, Together, Wrapper
from pipeline.features.faces import Face
from pipeline.features.pretrained import RANDOM, hashes, resnet_file
from pipeline.features.video import Segment, VideoError, wanted_times
from pipeline.params.types import OwnPath
from pipeline.system.compute import ahead, inference

if TYPE_CHECKING:
    from pipeline.features.resnet import Embedder


def embed_films(
    extractors: Sequence[VisualExtractor],
    wrappers: Sequence[Wrapper],
    utterances: Sequence[Utterance],
    context: Context,
) -> list[list[Steps]]:
    """The features of several streams, for which each film is decoded once.

    The batches of a stream, and so its bytes, do not depend on the other streams. Memory holds a
    few batches of each. Parameters and result are those of :data:`Together`.
    """
    import torch  # not needed by the preview

    # one process per core is faster than several threads, which wait for each other after every
    # layer, and for the decoding thread
    torch.set_num_threads(1)
    visual = context.shared
    segments = segments_of(utterances, visual.frames_per_second, visual.max_frames)
    paths = [utterance.video.path if utterance.video else "" for utterance in utterances]
    features: list[dict[int, Steps]] = [{} for _ in extractors]
    for path in dict.fromkeys(paths):
        rows = [row for row, name in enumerate(paths) if name == path]
        own = [segments[row] for row in rows]
        shares = [_Share(*each, own) for each in zip(extractors, wrappers, strict=True)]
        if path:
            for share, batch in ahead(_batches(context.root / path, own, shares)):
                share.embed(batch, context.device)
        for share, of_stream in zip(shares, features, strict=True):
            reason = f"{path} {share.error}" if path else "there is no video of it"
            for row, (values, times, unseen) in zip(
                rows, share.segments(context.device), strict=True
            ):
                taken, wanted = len(times), len(segments[row].times)
                problems = [f"{taken} of {wanted} frames: {reason}"] * (taken < wanted) + unseen
                problem = "; ".join(problems)
                of_stream[row] = Steps(values, times - utterances[row].start, problem=problem)
    return [[of_stream[row] for row in range(len(utterances))] for of_stream in features]


class _Share:
    """The share of one stream in one film: its crops, and their embeddings.

    Attributes
    ----------
    batch
        Crops of the next batch.
    error
        Why it has no further crops; empty if it has all.
    """

    def __init__(
        self, extractor: VisualExtractor, wrapper: Wrapper, segments: Sequence[Segment]
    ) -> None:
        self.extractor, self._wrapper = extractor, wrapper
        self.batch: list[Crop] = []
        self.error = ""
        self._embeddings: list[np.ndarray] = []
        self._times: list[float] = []
        self._rows: list[list[int]] = [[] for _ in segments]
        self._faces: list[Face | None] = []

    def embed(self, batch: Sequence[Crop], device: str) -> None:
        """Embed a batch of crops."""
        images = np.stack([crop.image for crop in batch])
        with self._wrapper(), inference():
            self._embeddings.append(self.extractor.embed(images, device))
        for crop in batch:
            for segment in crop.segments:
                self._rows[segment].append(len(self._times))
            self._times.append(crop.time)
            self._faces.append(crop.face)

    def segments(self, device: str) -> Iterator[tuple[np.ndarray, np.ndarray, list[str]]]:
        """The embeddings [T, D] or [T, L, D] and times [T] of each segment, and missing faces."""
        with self._wrapper():
            nothing = np.zeros((0, *self.extractor.shape(device)), np.float32)
        values, times = np.concatenate([nothing, *self._embeddings]), np.array(self._times)
        for row in self._rows:
            own = np.array(row, np.int64)
            yield values[own], times[own], self._unseen([self._faces[number] for number in row])

    def _unseen(self, found: Sequence[Face | None]) -> list[str]:
        """Says in how many frames of a segment no face was detected, and what was cut out."""
        absent = sum(face is None for face in found)
        last = sum(face is not None and not face.detected for face in found)
        if self.extractor.region != "face" or not absent + last:
            return []
        return [
            f"no face in {absent + last} of {len(found)} frames: {last} cropped where it was last "
            f"seen, {absent} in the centre"
        ]


def _batches(
    path: Path, segments: Sequence[Segment], shares: Sequence[_Share]
) -> Iterator[tuple[_Share, list[Crop]]]:
    """Decode a film once, and yield the batches of each stream; errors are added to its share."""
    for number, crop in crops(path, segments, [share.extractor.cut for share in shares]):
        share = shares[number]
        if isinstance(crop, VideoError):
            share.error = str(crop)
            continue
        share.batch.append(crop)
        if len(share.batch) == share.extractor.batch_size:
            yield share, share.batch
            share.batch = []
    for share in shares:
        if share.batch:
            yield share, share.batch


class VisualExtractor(NetworkExtractor):
    """Base class of extractors that embed crops of frames: [T, D], or [T, L, D] of L layers.

    Attributes
    ----------
    region, crop, detector
        Region, size and detector of :class:`~pipeline.features.crops.Cut`.
    """

    kind: ClassVar = "sequence"
    reads: ClassVar = ("frames_per_second", "max_frames")
    later: ClassVar = (*NetworkExtractor.later, "detector")

    region: Region = "speaker"
    crop: Annotated[int, Field(ge=32, le=360)] = 224
    detector: OwnPath = faces.DLIB

    @model_validator(mode="after")
    def _detector_is_used(self) -> Self:
        if self.region != "face" and self.detector != faces.DLIB:
            raise ValueError(f"detector is {self.detector}, but region {self.region} detects none")
        return self

    @property
    def cut(self) -> Cut:
        """What is cut out of each frame."""
        return Cut(self.region, self.crop, self.detector)

    def files(self) -> dict[str, str]:
        """SHA-256 of the files that find and align faces, if the region is ``face``."""
        return faces.files(self.detector) if self.region == "face" else {}

    def provenance(self, context: Context) -> dict[str, Any]:
        """Also the version of dlib, if the region is ``face``."""
        own = super().provenance(context)
        if self.region == "face":
            own["versions"] |= {faces.DISTRIBUTION: version(faces.DISTRIBUTION)}
        return own

    @property
    def together(self) -> Together | None:
        return embed_films

    @abstractmethod
    def shape(self, device: str) -> tuple[int, ...]:
        """The shape of an embedding: (D,), or (L, D)."""

    @abstractmethod
    def embed(self, images: np.ndarray, device: str) -> np.ndarray:
        """Embed crops [B, crop, crop, 3] uint8, red, green, blue, to [B, D] or [B, L, D] float32.

        It is called in inference mode.
        """

    def trial(self, utterances: Sequence[Utterance], context: Context) -> None:
        """A full batch of black crops."""
        black = np.zeros((self.batch_size, self.crop, self.crop, 3), np.uint8)
        with inference():
            self.embed(black, context.device)

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        """Embeddings of the frames of each utterance, with their presentation times."""
        return embed_films([self], [nullcontext], utterances, context)[0]


class Torchvision(VisualExtractor):
    """Embeddings [T, D] of frames by a ResNet of torchvision without its last layer.

    Attributes
    ----------
    network
        ``resnet18``, ``resnet34``, ``resnet50``, ``resnet101`` or ``resnet152``.
    weights
        A torchvision weight name, a state-dict file, or ``random`` (for the embedded corpus only).
    """

    version: ClassVar = 1
    libraries: ClassVar = ("av", "opencv-python-headless", "torch", "torchvision")

    extractor: Literal["torchvision"] = "torchvision"
    network: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    weights: OwnPath

    def files(self) -> dict[str, str]:
        """SHA-256 of the weights; random weights are determined by the name of the network."""
        if self.weights == RANDOM:
            return super().files() | {self.network: RANDOM}
        return super().files() | hashes("weights", [resnet_file(self.network, self.weights)])

    def embedder(self, device: str) -> Embedder:
        """The network, built once per process."""
        return _embedder(self.network, self.weights, device, self.precision)

    def shape(self, device: str) -> tuple[int, ...]:
        return (self.embedder(device).size,)

    def embed(self, images: np.ndarray, device: str) -> np.ndarray:
        return self.embedder(device)(images)


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
def _embedder(network: str, weights: str, device: str, precision: str) -> Embedder:
    """The network, built once per process, since each task brings a new extractor object."""
    from pipeline.features.resnet import Embedder

    return Embedder(network, weights, device, precision)
