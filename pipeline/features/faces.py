"""Faces in frames: detected, tracked over an utterance, and aligned by five landmarks.

Each frame has its own detection. A face is tracked by overlap: in the next frame of an utterance it
is the detection that overlaps it most. The detector finds candidates with scores; one far from the
tracked face must be certain, and others need less, since a turned or dark face has a low score.

Landmarks and alignment are dlib's [1]_: the corners of the eyes and the base of the nose are turned
to a horizontal line between the eyes, and scaled to a fixed distance.

References
----------
.. [1] D. E. King. Dlib-ml: a machine learning toolkit. JMLR 2009.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import dlib
import numpy as np

from pipeline.features.hub import package_folder
from pipeline.features.pretrained import WeightsError, hashes

DLIB = "dlib"
"""The name of the default detector, which needs no file."""
DISTRIBUTION = "dlib-bin"
"""The package that contains dlib."""

_MODELS = "face_recognition_models/models"
_LANDMARKS = "shape_predictor_5_face_landmarks.dat"
_PADDING = 0.25  # around an aligned face, as dlib's face network expects it
_OVERLAP = 0.3  # intersection over union of a tracked face with its next detection

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; the right column and the bottom row belong to it."""


@dataclass(frozen=True)
class Face:
    """A face in a picture.

    Attributes
    ----------
    box
        Where it is.
    points
        x and y of five landmarks: the corners of both eyes, and the base of the nose.
    detected
        False if none was detected in this frame, so that box and points are those last seen.
    """

    box: Box
    points: tuple[tuple[int, int], ...]
    detected: bool = True


class Detector(Protocol):
    """Finds candidates: boxes and scores, of which those above `certain` are hardly ever wrong."""

    certain: float

    def __call__(self, picture: np.ndarray) -> list[tuple[Box, float]]: ...


# Threads that share dlib's objects get wrong values, and threads do share them: films are decoded
# in threads of their own.
_one_at_a_time = threading.Lock()


class _Dlib:
    """The detector of dlib: a linear classifier on histograms of oriented gradients."""

    certain = 0.0
    _weakest = -0.5

    def __init__(self) -> None:
        self._detector = dlib.get_frontal_face_detector()

    def __call__(self, picture: np.ndarray) -> list[tuple[Box, float]]:
        with _one_at_a_time:
            boxes, scores, _ = self._detector.run(picture, 0, self._weakest)
        corners = [(box.left(), box.top(), box.right(), box.bottom()) for box in boxes]
        return list(zip(corners, scores, strict=True))


class _YuNet:
    """YuNet, a small network that OpenCV runs; its box is made a square, as dlib's are."""

    certain = 0.8
    _weakest = 0.5

    def __init__(self, path: str) -> None:
        try:
            self._network = cv2.FaceDetectorYN.create(path, "", (320, 320), self._weakest)
        except cv2.error as error:
            raise WeightsError(f"detector: {path} is no YuNet model: {error.err}") from error

    def __call__(self, picture: np.ndarray) -> list[tuple[Box, float]]:
        height, width = picture.shape[:2]
        with _one_at_a_time:
            self._network.setInputSize((width, height))
            found = self._network.detect(np.ascontiguousarray(picture[..., ::-1]))[1]
        candidates: list[tuple[Box, float]] = []
        for row in () if found is None else found:
            left, right, bottom = (
                round(float(x)) for x in (row[0], row[0] + row[2], row[1] + row[3])
            )
            candidates.append(((left, bottom - (right - left), right, bottom), float(row[-1])))
        return candidates


def model(name: str) -> Path:
    """A file of the package face-recognition-models, whose own code no longer works."""
    return package_folder(_MODELS) / name


def files(detector: str) -> dict[str, str]:
    """SHA-256 of the landmark model, and of the detector's file if it has one.

    Raises
    ------
    WeightsError
        If one is missing.
    """
    own = {} if detector == DLIB else hashes("detector", [Path(detector)])
    return hashes("region", [model(_LANDMARKS)]) | own


@cache
def _detector(name: str) -> Detector:
    return _Dlib() if name == DLIB else _YuNet(name)


@cache
def _landmarks() -> Any:
    return dlib.shape_predictor(str(model(_LANDMARKS)))


class Tracker:
    """Finds the faces of utterances in the frames of a film, in the order of time.

    Parameters
    ----------
    detector
        ``dlib``, or the path of YuNet's ONNX file.
    """

    def __init__(self, detector: str) -> None:
        self._detector = _detector(detector)
        self._last: dict[int, Face] = {}  # by utterance

    def find(
        self, picture: np.ndarray, users: Sequence[int]
    ) -> list[tuple[Face | None, list[int]]]:
        """The face of each utterance in a picture.

        Parameters
        ----------
        picture
            [height, width, 3] uint8, red, green, blue, contiguous.
        users
            Utterances that use it, once per wanted time.

        Returns
        -------
        list
            Each face, or None, with the utterances whose face it is. They differ if utterances
            overlap and their faces were in other places before.
        """
        candidates = self._detector(picture)
        found: dict[Face | None, list[int]] = {}
        for user in users:
            last = self._last.get(user)
            box = _chosen(candidates, last, self._detector.certain)
            face = last and replace(last, detected=False)
            if box:
                face = self._last[user] = Face(box, _points(picture, box))
            found.setdefault(face, []).append(user)
        return list(found.items())


def _chosen(
    candidates: Sequence[tuple[Box, float]], last: Face | None, certain: float
) -> Box | None:
    """The box of a face that was last seen at another frame of the utterance, or not yet."""
    if not candidates:
        return None
    best, score = max(candidates, key=lambda one: one[1])
    if last is None:
        return best
    near = max((box for box, _ in candidates), key=lambda box: overlap(box, last.box))
    if overlap(near, last.box) >= _OVERLAP:
        return near
    return best if score >= certain else None


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0]) + 1
    height = min(one[3], other[3]) - max(one[1], other[1]) + 1
    common = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (one, other))
    return common / (areas - common)


def _points(picture: np.ndarray, box: Box) -> tuple[tuple[int, int], ...]:
    with _one_at_a_time:
        shape = _landmarks()(picture, dlib.rectangle(*box))
    return tuple((point.x, point.y) for point in shape.parts())


def aligned(picture: np.ndarray, face: Face, size: int) -> np.ndarray:
    """The face, upright, [size, size, 3] uint8; what lies outside of the picture is black.

    `picture` is that of :meth:`Tracker.find`.
    """
    points = [dlib.point(*point) for point in face.points]
    shape = dlib.full_object_detection(dlib.rectangle(*face.box), points)
    with _one_at_a_time:
        return dlib.get_face_chip(picture, shape, size=size, padding=_PADDING)
