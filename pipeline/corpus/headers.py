"""The headers of recordings: length, and whether there is sound and video. Nothing is decoded.

Readers use them where no label file gives the length of an utterance.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

_POINTER = b"version https://git-lfs"
_THREADS = 8  # a network disk serves several requests at once


class Header(NamedTuple):
    """The header of an audio or video file.

    Attributes
    ----------
    seconds
        Time of the end of the sound; without sound, of the pictures.
    sound, picture
        Whether it has an audio track and a video track.
    """

    seconds: float
    sound: bool
    picture: bool


class HeaderError(Exception):
    """The file is not a recording; the message does not name the file."""


def read_all(root: Path, paths: Iterable[str]) -> dict[str, Header | str]:
    """Read the headers of files below `root`, by path; where one cannot be read, the reason."""

    def header_or_reason(path: str) -> Header | str:
        try:
            return read(root / path)
        except HeaderError as error:
            return str(error)

    paths = list(paths)
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(paths, pool.map(header_or_reason, paths), strict=True))


def read(path: Path) -> Header:
    """Read the header of a file.

    Raises
    ------
    HeaderError
        If it cannot be opened as audio or video, or is a pointer of Git LFS.
    """
    import av

    try:
        if is_pointer(path):
            raise HeaderError(
                "is a pointer of Git LFS and not the recording; run `git lfs pull` in the clone"
            )
        with av.open(str(path)) as container:
            sound = next(iter(container.streams.audio), None)
            pictures = [
                stream
                for stream in container.streams.video
                if not stream.disposition & stream.disposition.attached_pic  # cover art
            ]
            stream = sound or next(iter(pictures), None)
            if stream is None:
                raise HeaderError("contains neither sound nor pictures")
            return Header(_end(container, stream), sound is not None, bool(pictures))
    except av.FFmpegError as error:
        raise HeaderError(f"cannot be opened as audio or video: {error.strerror}") from error
    except OSError as error:
        raise HeaderError(f"cannot be read from the disk: {error.strerror}") from error


def is_pointer(path: Path) -> bool:
    """Whether a file is a Git LFS pointer, as in a clone that did not fetch the recordings."""
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def _end(container: InputContainer, stream: Stream) -> float:
    """The end of a stream, in seconds from the start of the file."""
    begin = (container.start_time or 0) / 1_000_000
    if stream.duration is not None:
        end = (stream.start_time or 0) + stream.duration
    else:  # Matroska, WebM and FLV store at most the duration of the whole file
        end = max(
            (
                packet.pts + (packet.duration or 0)
                for packet in container.demux(stream)
                if packet.pts is not None
            ),
            default=0,
        )
    return float(end * (stream.time_base or 0)) - begin
