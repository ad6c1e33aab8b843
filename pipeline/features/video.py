"""Frames of a dialog's video: decoded once, front to back, picked by presentation time, cropped.

A video is never sought in: frame numbers and seek tables of AVI files are off where the encoder
left out frames or wrote B-frames as packed bitstreams. Each frame counts at the time at which it
is presented, as FFmpeg states it for the frame just decoded. Where it states none (the last
frames after B-frames, streams without timestamps), or one that does not increase, the frame
follows the one before by one frame duration.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

_SAME = 0.001  # seconds; containers round times to thousandths


class VideoError(Exception):
    """A video that cannot be read, or not to where it is needed; the message does not name it."""


@dataclass(frozen=True)
class Picture:
    """A decoded frame and the wanted times at which it is on display.

    Attributes
    ----------
    time
        Presentation time in seconds.
    image
        [height, width, 3] uint8, blue, green, red.
    wanted
        Positions of the wanted times that it answers.
    """

    time: float
    image: np.ndarray
    wanted: range


@dataclass(frozen=True)
class Clip:
    """What to take for one utterance: when, and which part of the picture.

    Attributes
    ----------
    times
        Seconds in the dialog, ascending.
    side
        ``left``, ``right`` or ``whole``.
    """

    times: np.ndarray
    side: str


@dataclass(frozen=True)
class Crop:
    """A square of one half of a frame, or of all of it.

    Attributes
    ----------
    time
        Presentation time in seconds.
    image
        [size, size, 3] uint8, red, green, blue.
    clips
        Indices of the clips that use it, one entry a use.
    """

    time: float
    image: np.ndarray
    clips: list[int]


def wanted_times(start: float, end: float, frames_per_second: float, max_frames: int) -> np.ndarray:
    """Return the times of an utterance at which a frame is taken: middles of equal intervals.

    That is ``start + (k + 0.5) / frames_per_second`` below `end`, for k = 0, 1, ... Of an
    utterance with more than `max_frames` of them the first are kept, as the authors cut it. One
    too short for any has its own middle.

    Parameters
    ----------
    start, end
        Seconds in the dialog.

    Returns
    -------
    times
        [1 to max_frames] float64, seconds in the dialog.
    """
    times = start + (np.arange(max_frames) + 0.5) / frames_per_second
    times = times[times < end]
    return times if len(times) else np.array([(start + end) / 2])


def crops(path: Path, clips: Sequence[Clip], size: int, *, scaled: bool = False) -> Iterator[Crop]:
    """Yield the squares that `clips` use, in the order of time, each once.

    Clips may overlap; those that see the same half of the same frame share one crop. `size` and
    `scaled` are those of :func:`square`.

    Raises
    ------
    VideoError
        As :func:`displayed` and :func:`square`.
    """
    owners = np.repeat(np.arange(len(clips)), [len(clip.times) for clip in clips])
    times = np.concatenate([clip.times for clip in clips])
    order = np.argsort(times, kind="stable")
    for picture in displayed(path, times[order]):
        sides: dict[str, list[int]] = {}
        for owner in owners[order[picture.wanted.start : picture.wanted.stop]].tolist():
            sides.setdefault(clips[owner].side, []).append(owner)
        for side, users in sides.items():
            yield Crop(picture.time, square(picture.image, side, size, scaled=scaled), users)


def square(image: np.ndarray, side: str, size: int, *, scaled: bool = False) -> np.ndarray:
    """Cut the central square out of one half of a frame, or of all of it.

    Parameters
    ----------
    image
        [height, width, 3] uint8, blue, green, red.
    side
        ``left`` or ``right``: columns below or from ``width // 2``; ``whole``: all columns.
    size
        Pixels.
    scaled
        Cut out the largest square and scale it to `size`, of pictures of any size.

    Returns
    -------
    square
        [size, size, 3] uint8, red, green, blue, contiguous.

    Raises
    ------
    VideoError
        If that is smaller than `size` and not to be scaled.
    """
    edge = largest(image, side) if scaled else size
    top, left = corner(image, side, edge)
    cut = image[top : top + edge, left : left + edge, ::-1]
    if edge != size:
        shrinks = edge > size
        kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        cut = cv2.resize(np.ascontiguousarray(cut), (size, size), interpolation=kind)
    return np.ascontiguousarray(cut)


def largest(image: np.ndarray, side: str) -> int:
    """Side of the largest square in one half of a frame, or in all of it, in pixels."""
    return min(image.shape[0], image.shape[1] // (1 if side == "whole" else 2))


def corner(image: np.ndarray, side: str, size: int) -> tuple[int, int]:
    """Top row and left column of what :func:`square` cuts out; parameters and errors as there."""
    height, width = image.shape[0], image.shape[1] // (1 if side == "whole" else 2)
    if size > min(height, width):
        raise VideoError(
            f"has frames of {image.shape[1]} x {height} pixels, which do not hold a crop of "
            f"{size} x {size} where the speaker is ({side}); set the stream's crop to "
            f"{min(height, width)} or less"
        )
    return (height - size) // 2, (width - size) // 2 + (width if side == "right" else 0)


def displayed(path: Path, times: np.ndarray) -> Iterator[Picture]:
    """Yield the frames on display at the wanted times, each once, in the order of time.

    A frame is on display from its presentation time to that of the next, the first one also
    before, and the last one for one frame duration.

    The file is decoded once, and only frames that are about to be on display at a wanted time
    are converted to a picture. A stream that leaves out frames there is read a second time, with
    every frame converted, from the first one that was missed.

    Parameters
    ----------
    path
        Any video that FFmpeg reads.
    times
        Seconds, ascending.

    Raises
    ------
    VideoError
        If the video cannot be opened or decoded, or, after all frames that there are, if it ends
        before a wanted time.
    """
    position = 0
    for lookahead in (2.0, math.inf):
        if position < len(times):
            position = yield from _scan(path, times, position, lookahead)
    if position < len(times):
        raise VideoError(f"has a frame before {times[position]:.2f} s that cannot be converted")


def _scan(
    path: Path, times: np.ndarray, position: int, lookahead: float
) -> Generator[Picture, None, int]:
    """Read the video once for the wanted times from `position` on.

    Frames are converted where a wanted time is less than `lookahead` frame durations ahead.
    Returns the position of the first wanted time whose frame was not converted, or the end.
    """
    with _opened(path) as capture:
        duration = _frame_duration(capture)
        previous, image, begin = -math.inf, None, _begin(path)
        while position < len(times):
            grabbed = capture.grab()
            if previous == -math.inf and not grabbed:
                raise VideoError("holds no frame that can be decoded")
            # without another frame: the time at which the display of the last one ends
            time = _presentation_time(capture, previous, duration, begin)
            stop = int(np.searchsorted(times, time))
            if previous > -math.inf and stop > position:
                if image is None:
                    break
                yield Picture(previous, image, range(position, stop))
                position = stop
            if not grabbed and position < len(times):
                stated = capture.get(cv2.CAP_PROP_FRAME_COUNT) * duration
                raise VideoError(_ending(time, stated))
            previous, image = time, None
            if position < len(times) and times[position] < time + lookahead * duration:
                image = capture.retrieve()[1]  # None if it fails
    return position


def _ending(end: float, stated: float) -> str:
    """Why there is no frame after `end` seconds of a video whose header states `stated`."""
    if stated - end > 1.0:
        return f"breaks off at {end:.2f} s of the {stated:.2f} s that its header states"
    return f"ends at {end:.2f} s"


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    """Open a video for decoding in this thread; OpenCV's own errors become :class:`VideoError`."""
    try:  # OpenCV gives no reason
        path.open("rb").close()
    except FileNotFoundError:
        raise VideoError("is missing") from None
    except OSError as error:
        raise VideoError(f"cannot be read from the disk: {error.strerror}") from error
    _quiet()
    # one decoding thread: the others belong to the network that runs at the same time
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        if not capture.isOpened():
            _begin(path)  # says it if there are no pictures
            raise VideoError(f"cannot be opened as a video ({path.stat().st_size} bytes)")
        yield capture
    except cv2.error as error:
        raise VideoError(f"cannot be decoded: {error.err}") from error
    finally:
        capture.release()


def _quiet() -> None:
    """Keep OpenCV and FFmpeg from writing to stderr; what matters is raised and reported."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    # read by OpenCV when it opens its first video; -8 is AV_LOG_QUIET
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def _frame_duration(capture: cv2.VideoCapture) -> float:
    """Seconds from one frame to the next, as the stream states it."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    if not (math.isfinite(rate) and rate > 0):
        raise VideoError(f"states an impossible frame rate: {rate}")
    return 1.0 / rate


def _begin(path: Path) -> float:
    """When the pictures of a file begin, in seconds after the file itself.

    OpenCV counts from the first picture, whatever came before, such as sound.
    """
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError("holds no pictures")
            pictures, start = container.streams.video[0], (container.start_time or 0) / 1_000_000
            if pictures.start_time is None or pictures.time_base is None:
                return 0.0
            begin = float(pictures.start_time * pictures.time_base) - start
    except av.FFmpegError:  # OpenCV, which has another FFmpeg, has opened it
        return 0.0
    return begin if begin > _SAME else 0.0


def _presentation_time(
    capture: cv2.VideoCapture, previous: float, duration: float, begin: float
) -> float:
    """Presentation time of the frame just grabbed, in seconds; always after `previous`."""
    # POS_MSEC belongs to the frame just grabbed; it is 0 where there is none or no timestamp
    time = begin + capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
    return time if time > previous else previous + duration
