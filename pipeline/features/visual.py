"""Embeddings of the speaker's half of the video, a few frames per second, by a ResNet.

Rate, crop and network are parameters; the authors of the attentive modality hopping model take 3
frames a second, at most 32, the central 224 x 224 of the speaker's half, and a ResNet-101.

``python -m pipeline.preview DIALOG`` draws the crops that would be embedded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.corpus.utterance import Utterance
from pipeline.features.extractor import Context, Extractor, State, Steps, device_kind
from pipeline.features.pretrained import resnet_identity
from pipeline.features.video import Clip, Crop, VideoError, crops, wanted_times
from pipeline.params.types import Count, OwnPath
from pipeline.system.compute import ahead

if TYPE_CHECKING:
    from pipeline.features.resnet import Embedder


class Torchvision(Extractor):
    """Embeddings [T, D] of frames by a ResNet of torchvision without its last layer.

    Attributes
    ----------
    network
        ``resnet18``, ``resnet34``, ``resnet50``, ``resnet101`` or ``resnet152``.
    weights
        A torchvision weight name, a state-dict file, or ``random`` (for the embedded corpus only).
    region
        ``speaker``: the central square of `crop` pixels of the speaker's half, or of the whole
        picture; ``square``: the largest one, scaled to `crop` pixels, for videos of any size.
    crop
        Its side, in pixels.
    batch_size
        Frames per batch.
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
    batch_size: Count = 32

    def files(self) -> dict[str, str]:
        """SHA-256 of the file; of random weights the network's name with ``random``."""
        return resnet_identity(self.network, self.weights)

    def provenance(self, context: Context) -> dict[str, Any]:
        """Also the device and the size of batches."""
        own = {"device": device_kind(context), "batch_size": self.batch_size}
        return super().provenance(context) | own

    def embedder(self, device: str) -> Embedder:
        """The network of this process, built on first use.

        On a CPU it runs on one thread: processes side by side share the cores better than threads,
        which wait for each other in every layer and for the one that decodes.
        """
        import torch  # a preview does without

        if torch.device(device).type == "cpu":
            torch.set_num_threads(1)
        return _embedder(self.network, self.weights, device)

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        """Embeddings of each utterance's frames, with the times at which they are presented."""
        embedder = self.embedder(context.device)
        nothing = np.zeros((0, embedder.size), np.float32)
        visual = context.shared
        clips = clips_of(utterances, visual.frames_per_second, visual.max_frames)
        found = [(nothing, np.zeros(0))] * len(utterances)
        reasons = ["the corpus has no video of the dialog"] * len(utterances)
        paths = [utterance.video.path if utterance.video else "" for utterance in utterances]
        for path in dict.fromkeys(filter(None, paths)):
            members = [row for row, name in enumerate(paths) if name == path]
            taken = [clips[row] for row in members]
            embedded, ending = self._embed(context.root / path, taken, embedder)
            for row, step in zip(members, embedded, strict=True):
                found[row], reasons[row] = step, f"{path} {ending}"
        result = []
        for utterance, clip, (values, times), reason in zip(
            utterances, clips, found, reasons, strict=True
        ):
            got, wanted = len(times), len(clip.times)
            problem = f"{got} of {wanted} frames: {reason}" if got < wanted else ""
            result.append(Steps(values, times - utterance.start, problem=problem))
        return result

    def _embed(
        self, path: Path, clips: Sequence[Clip], embedder: Embedder
    ) -> tuple[list[tuple[np.ndarray, np.ndarray]], str]:
        """Embed what `clips` take of one video.

        Returns the values [T, D] and times [T] of each clip, and why there are not more of them;
        the reason is empty for a video that holds all.
        """
        embeddings = [np.zeros((0, embedder.size), np.float32)]
        used: list[list[int]] = [[] for _ in clips]
        times: list[float] = []
        ending: list[str] = []
        batches = _batches(path, clips, self, ending)
        for batch in ahead(batches):
            embeddings.append(embedder(np.stack([crop.image for crop in batch])))
            for crop in batch:
                for clip in crop.clips:
                    used[clip].append(len(times))
                times.append(crop.time)
        values, moments = np.concatenate(embeddings), np.array(times)
        found = [(values[rows], moments[rows]) for rows in (np.array(u, np.int64) for u in used)]
        return found, "".join(ending)


def clips_of(
    utterances: Sequence[Utterance], frames_per_second: float, max_frames: int
) -> list[Clip]:
    """Say what is taken of the video for each utterance."""
    return [
        Clip(
            wanted_times(utterance.start, utterance.end, frames_per_second, max_frames),
            utterance.video.place if utterance.video else "",
        )
        for utterance in utterances
    ]


@cache
def _embedder(network: str, weights: str, device: str) -> Embedder:
    """One network per process: an extractor is sent there anew with each dialog."""
    from pipeline.features.resnet import Embedder

    return Embedder(network, weights, device)


def _batches(
    path: Path, clips: Sequence[Clip], parameters: Torchvision, ending: list[str]
) -> Iterator[list[Crop]]:
    """Yield the crops of a video in batches; if it fails, say why in `ending` and stop."""
    batch: list[Crop] = []
    try:
        for crop in crops(path, clips, parameters.crop, scaled=parameters.region == "square"):
            batch.append(crop)
            if len(batch) == parameters.batch_size:
                yield batch
                batch = []
    except VideoError as error:
        ending.append(str(error))
    if batch:
        yield batch
