"""The video of a dialog: two drawn actors side by side, in the release's format.

720 x 480 pixels, 29.97 frames per second, MPEG-4 (XVID) in an AVI file.
"""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

from embedded import face
from embedded.screenplay import Dialog, Speaker
from embedded.textfiles import TimedTurn

FRAMES_PER_SECOND = 29.97

_MOUTH_LEVELS = 4
_HOLD = 0.05  # seconds of expression before and after the words
_JITTER = np.array([5.0, 5.0, 2.5])  # of the head: right, down (pixels), tilt (degrees)
_LOUD = 0.1  # loudness at which the mouth is fully open, relative to full scale
_REST = (face.EXPRESSIONS["neu"], 1.0, 0, (0.0, 0.0, 0.0))

_State = tuple[face.Expression, float, int, tuple[float, ...]]


def shoot(
    path: Path,
    dialog: Dialog,
    timed: list[TimedTurn],
    *,
    loudness: dict[Speaker, np.ndarray],
    frames: int,
    rng: np.random.Generator,
) -> None:
    """Write the video of a dialog.

    Parameters
    ----------
    path
        The AVI file.
    timed
        The utterances with their times.
    loudness
        [frames] root mean square of each speaker, relative to full scale.
    frames
        Number of frames.

    Raises
    ------
    OSError
        If OpenCV cannot write the file.
    """
    size = (2 * face.WIDTH, face.HEIGHT)
    codec = cv2.VideoWriter.fourcc(*"XVID")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, FRAMES_PER_SECOND, size)
    if not writer.isOpened():
        raise OSError(
            f"{path}: OpenCV cannot write an XVID video; is the folder writable, and is "
            "opencv-python-headless the build from PyPI, which includes FFmpeg?"
        )
    sides: tuple[Speaker, Speaker] = ("F", "M") if dialog.marked == "F" else ("M", "F")
    actors = {s: face.ACTORS[f"Ses{dialog.session:02d}{s}"] for s in sides}
    states = {s: _states(s, timed, loudness[s], frames, rng) for s in sides}
    drawn: dict[tuple[Speaker, _State], np.ndarray] = {}
    try:
        for frame in range(frames):
            halves = []
            for speaker in sides:
                state = states[speaker][frame]
                if (speaker, state) not in drawn:
                    expression, strength, mouth, offset = state
                    speech = mouth / (_MOUTH_LEVELS - 1)
                    drawn[speaker, state] = face.draw(
                        actors[speaker], expression, strength, speech, offset
                    )
                halves.append(drawn[speaker, state])
            writer.write(np.hstack(halves))
    finally:
        writer.release()


def misstate(path: Path) -> None:
    """Make the header of an AVI file claim 3 frames too many and 30 frames per second.

    The rate of the stream, which determines presentation times, stays correct.
    """
    with path.open("r+b") as file:
        head = bytearray(file.read(256))
        main, stream = head.index(b"avih") + 8, head.index(b"strh") + 8
        (frames,) = struct.unpack_from("<I", head, main + 16)
        struct.pack_into("<I", head, main, round(1e6 / 30))
        struct.pack_into("<I", head, main + 16, frames + 3)
        struct.pack_into("<I", head, stream + 32, frames + 3)
        file.seek(0)
        file.write(head)


def _states(
    speaker: Speaker,
    timed: list[TimedTurn],
    loudness: np.ndarray,
    frames: int,
    rng: np.random.Generator,
) -> list[_State]:
    """The appearance of a speaker in each frame."""
    mouth = np.rint(np.clip(loudness / _LOUD, 0, 1) * (_MOUTH_LEVELS - 1)).astype(int)
    states: list[_State] = [_REST] * frames
    for t in timed:
        if t.turn.speaker != speaker:
            continue
        offset = tuple(rng.uniform(-_JITTER, _JITTER).round(1).tolist())
        expression = face.EXPRESSIONS[t.turn.cues.video]
        first = max(0, round((t.start - _HOLD) * FRAMES_PER_SECOND))
        last = min(frames, round((t.end + _HOLD) * FRAMES_PER_SECOND) + 1)
        for frame in range(first, last):
            states[frame] = (expression, t.turn.strength, int(mouth[frame]), offset)
    return states
