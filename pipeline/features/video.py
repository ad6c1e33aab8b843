"""Frames of a dialog's video: decoded once from start to end, and chosen by time.

There is no seeking: frame numbers and seek tables of AVI files are wrong if the encoder dropped
frames or wrote B-frames as packed bitstreams. The time of a frame is the presentation time that
FFmpeg reports for it. If FFmpeg reports none (for the last frames after B-frames, or in streams
without timestamps), or one that does not increase, the frame follows the previous one by one frame
duration.
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

_ROUNDING = 0.001  # seconds; containers round times to milliseconds


class VideoError(Exception):
    """A video that cannot be read, or not completely; the message does not name the file."""


@dataclass(frozen=True)
class Frame:
    """A decoded frame and the wanted times at which it is displayed.

    Attributes
    ----------
    time
        Presentation time in seconds.
    image
        [height, width, 3] uint8, blue, green, red.
    wanted
        Indices of these wanted times.
    """

    time: float
    image: np.ndarray
    wanted: range


@dataclass(frozen=True)
class Segment:
    """The frames to take for one utterance.

    Attributes
    ----------
    times
        Seconds in the dialog, ascending.
    place
        The part of the picture: ``left``, ``right`` or ``whole``.
    """

    times: np.ndarray
    place: str


def wanted_times(start: float, end: float, frames_per_second: float, max_frames: int) -> np.ndarray:
    """The times of the frames of an utterance: the middles of equal intervals.

    These are ``start + (k + 0.5) / frames_per_second`` below `end`, for k = 0, 1, ..., and at most
    the first `max_frames` of them, as in the authors' code. If there is none, it is the middle of
    the utterance.

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


def shown(path: Path, segments: Sequence[Segment]) -> Iterator[tuple[Frame, str, list[int]]]:
    """Yield the frames of all segments in the order of time, once for each part that they use.

    Each comes with the part of the picture, and with the indices of the segments that use it, once
    per wanted time.

    Raises
    ------
    VideoError
        As :func:`displayed`.
    """
    owners = np.repeat(np.arange(len(segments)), [len(segment.times) for segment in segments])
    times = np.concatenate([segment.times for segment in segments])
    order = np.argsort(times, kind="stable")
    for frame in displayed(path, times[order]):
        places: dict[str, list[int]] = {}
        for owner in owners[order[frame.wanted.start : frame.wanted.stop]].tolist():
            places.setdefault(segments[owner].place, []).append(owner)
        for place, users in places.items():
            yield frame, place, users


def displayed(path: Path, times: np.ndarray) -> Iterator[Frame]:
    """Yield the frames that are displayed at the wanted times, each once, in the order of time.

    A frame is displayed from its presentation time until that of the next frame. The first frame is
    also displayed before its time, and the last one for one frame duration.

    Usually the file is decoded once, and only frames shortly before a wanted time are converted to
    images. If the stream drops frames there, it is decoded a second time, and every frame from the
    first missed one on is converted.

    Parameters
    ----------
    path
        A video in any format of FFmpeg.
    times
        Seconds, ascending.

    Raises
    ------
    VideoError
        If the video cannot be opened or decoded. If it ends before a wanted time, the error is
        raised after all frames have been yielded.
    """
    position = 0
    for lookahead in (2.0, math.inf):
        if position < len(times):
            position = yield from _scan(path, times, position, lookahead)
    if position < len(times):
        raise VideoError(f"has a frame before {times[position]:.2f} s that cannot be converted")


def _scan(
    path: Path, times: np.ndarray, position: int, lookahead: float
) -> Generator[Frame, None, int]:
    """Decode the video once, for the wanted times from index `position` on.

    A frame is converted if the next wanted time is less than `lookahead` frame durations ahead.
    Returns the index of the first wanted time whose frame was not converted, or `len(times)`.
    """
    with _opened(path) as capture:
        duration = _frame_duration(capture)
        previous, image, begin = -math.inf, None, _begin(path)
        while position < len(times):
            grabbed = capture.grab()
            if previous == -math.inf and not grabbed:
                raise VideoError("holds no frame that can be decoded")
            # the frame's time, 0 if it states none; after the last frame, the end of its display
            time = begin + capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
            if time <= previous:
                time = previous + duration
            stop = int(np.searchsorted(times, time))
            if previous > -math.inf and stop > position:
                if image is None:
                    break
                yield Frame(previous, image, range(position, stop))
                position = stop
            if not grabbed and position < len(times):
                stated = capture.get(cv2.CAP_PROP_FRAME_COUNT) * duration
                raise VideoError(_ending(time, stated))
            previous, image = time, None
            if position < len(times) and times[position] < time + lookahead * duration:
                image = capture.retrieve()[1]  # None on failure
    return position


def _ending(end: float, stated: float) -> str:
    """The message for a video that ends at `end` seconds, when its header states `stated`."""
    if stated - end > 1.0:
        return f"breaks off at {end:.2f} s of the {stated:.2f} s that its header states"
    return f"ends at {end:.2f} s"


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    """Open a video for decoding in one thread; OpenCV's errors become a :class:`VideoError`."""
    try:
        path.open("rb").close()  # for the system's error, which OpenCV does not report
    except FileNotFoundError:
        raise VideoError("is missing") from None
    except OSError as error:
        raise VideoError(f"cannot be read from the disk: {error.strerror}") from error
    # no messages on stderr; OpenCV reads the variable once, and -8 is FFmpeg's AV_LOG_QUIET
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # one decoding thread, since the network runs at the same time
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        if not capture.isOpened():
            _begin(path)  # raises an error if there is no video stream
            raise VideoError(f"cannot be opened as a video ({path.stat().st_size} bytes)")
        yield capture
    except cv2.error as error:
        raise VideoError(f"cannot be decoded: {error.err}") from error
    finally:
        capture.release()


def _frame_duration(capture: cv2.VideoCapture) -> float:
    """The duration of a frame in seconds, from the frame rate of the stream."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    if not (math.isfinite(rate) and rate > 0):
        raise VideoError(f"states an impossible frame rate: {rate}")
    return 1.0 / rate


def _begin(path: Path) -> float:
    """The start of the video stream, in seconds from the start of the file.

    OpenCV's times are relative to the first frame, even if the audio starts earlier.
    """
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError("holds no pictures")
            stream, start = container.streams.video[0], (container.start_time or 0) / 1_000_000
            if stream.start_time is None or stream.time_base is None:
                return 0.0
            begin = float(stream.start_time * stream.time_base) - start
    except av.FFmpegError:  # OpenCV, which has its own FFmpeg, has opened the file
        return 0.0
    return begin if begin > _ROUNDING else 0.0
