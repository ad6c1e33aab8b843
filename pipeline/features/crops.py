"""Crops of frames: the central square where the speaker is, or the speaker's face."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from pipeline.features.faces import DLIB, Face, Tracker, aligned
from pipeline.features.video import Segment, VideoError, shown

Region = Literal["speaker", "square", "face"]


@dataclass(frozen=True)
class Cut:
    """What is cut out of a frame.

    Attributes
    ----------
    region
        ``speaker``: the central square of `size` pixels in the speaker's half, or in the whole
        picture; ``square``: the largest square, scaled to `size`, for videos of any size; ``face``:
        the speaker's face, aligned (:mod:`pipeline.features.faces`), or the largest square as long
        as none was found in the utterance.
    size
        Pixels.
    detector
        Of faces: ``dlib``, or the path of YuNet's file.
    """

    region: Region = "speaker"
    size: int = 224
    detector: str = DLIB

    def __call__(self, image: np.ndarray, place: str, face: Face | None = None) -> np.ndarray:
        """The crop of a frame: [size, size, 3] uint8, red, green, blue, contiguous.

        Parameters
        ----------
        image
            [height, width, 3] uint8, blue, green, red.
        place
            ``left`` or ``right``: columns below or from ``width // 2``; ``whole``: all columns.
        face
            In the part of the frame that :func:`part` returns; None if there is none.

        Raises
        ------
        VideoError
            If the frame is too small for a square that is not scaled.
        """
        if face:
            return aligned(part(image, place), face, self.size)
        edge = self.edge(image, place)
        top, left = corner(image, place, edge)
        cut = image[top : top + edge, left : left + edge, ::-1]
        if edge != self.size:
            kind = cv2.INTER_AREA if edge > self.size else cv2.INTER_LINEAR
            cut = cv2.resize(np.ascontiguousarray(cut), (self.size, self.size), interpolation=kind)
        return np.ascontiguousarray(cut)

    def edge(self, image: np.ndarray, place: str) -> int:
        """Size of the central square in pixels of the frame."""
        if self.region == "speaker":
            return self.size
        return min(image.shape[0], image.shape[1] // (1 if place == "whole" else 2))


@dataclass(frozen=True)
class Crop:
    """A square of one half of a frame, or of the whole frame.

    Attributes
    ----------
    time
        Presentation time in seconds.
    image
        [size, size, 3] uint8, red, green, blue.
    segments
        Indices of the segments that use it, once per wanted time.
    face
        The face that it shows; None if it shows the central square.
    """

    time: float
    image: np.ndarray
    segments: list[int]
    face: Face | None = None


def crops(
    path: Path, segments: Sequence[Segment], cuts: Sequence[Cut]
) -> Iterator[tuple[int, Crop | VideoError]]:
    """Yield the crops of all segments in the order of time; the film is decoded once.

    Segments may overlap; those that use the same part of the same frame share one crop. Faces are
    detected once for all cuts with the same detector.

    Yields
    ------
    tuple
        The index of a cut, and a crop; or, as the last one of this cut, the error that ends it.
    """
    trackers = {cut.detector: Tracker(cut.detector) for cut in cuts if cut.region == "face"}
    reading = dict(enumerate(cuts))
    try:
        for frame, place, users in shown(path, segments):
            picture = part(frame.image, place) if trackers else frame.image
            faces = {name: tracker.find(picture, users) for name, tracker in trackers.items()}
            for number, cut in tuple(reading.items()):
                try:
                    for face, own in (
                        faces[cut.detector] if cut.region == "face" else [(None, users)]
                    ):
                        yield number, Crop(frame.time, cut(frame.image, place, face), own, face)
                except VideoError as error:
                    del reading[number]
                    yield number, error
            if not reading:
                break
    except VideoError as error:
        for number in reading:
            yield number, error


def part(image: np.ndarray, place: str) -> np.ndarray:
    """Where the speaker is: [height, width or half of it, 3] uint8, red, green, blue, contiguous.

    `image` and `place` are those of :class:`Cut`.
    """
    middle = image.shape[1] // 2
    columns = {"left": slice(middle), "right": slice(middle, 2 * middle), "whole": slice(None)}
    return np.ascontiguousarray(image[:, columns[place], ::-1])


def corner(image: np.ndarray, place: str, size: int) -> tuple[int, int]:
    """Top row and left column of the central square of `size` pixels.

    Raises
    ------
    VideoError
        If the frame is too small.
    """
    height, width = image.shape[0], image.shape[1] // (1 if place == "whole" else 2)
    if size > min(height, width):
        raise VideoError(
            f"has frames of {image.shape[1]} x {height} pixels, which do not hold a crop of "
            f"{size} x {size} where the speaker is ({place}); set the stream's crop to "
            f"{min(height, width)} or less"
        )
    return (height - size) // 2, (width - size) // 2 + (width if place == "right" else 0)
