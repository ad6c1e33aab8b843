"""What the header of a recording says: how long it is, and whether it is heard and seen.

Readers need it where no label file says how long an utterance is. Nothing is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

_POINTER = b"version https://git-lfs"
_THREADS = 8  # a disk far away answers several at once


class Header(NamedTuple):
    """A file of sound, pictures or both.

    Attributes
    ----------
    seconds
        When its sound ends, or, without sound, its pictures.
    sound, picture
        Whether there are any.
    """

    seconds: float
    sound: bool
    picture: bool


class HeaderError(Exception):
    """A file that is no recording; the message does not name it."""


def read_all(root: Path, paths: Mapping[str, str]) -> dict[str, Header | str]:
    """Read headers.

    Parameters
    ----------
    root
        The corpus's folder.
    paths
        Files below it, by any key.

    Returns
    -------
    dict
        By key; for a file without one a text that says why.
    """

    def answer(path: str) -> Header | str:
        try:
            return read(root / path)
        except HeaderError as error:
            return str(error)

    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(paths, pool.map(answer, paths.values()), strict=True))


def read(path: Path) -> Header:
    """Read the header of a file.

    Raises
    ------
    HeaderError
        If it cannot be opened as sound or video, or is a pointer of Git LFS.
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
                if not stream.disposition & stream.disposition.attached_pic  # a cover
            ]
            stream = sound or next(iter(pictures), None)
            if stream is None:
                raise HeaderError("holds neither sound nor pictures")
            return Header(_end(container, stream), sound is not None, bool(pictures))
    except av.FFmpegError as error:
        raise HeaderError(f"cannot be opened as sound or video: {error.strerror}") from error
    except OSError as error:
        raise HeaderError(f"cannot be read from the disk: {error.strerror}") from error


def is_pointer(path: Path) -> bool:
    """Whether a file is what a clone without Git LFS has in the place of a recording."""
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def _end(container: InputContainer, stream: Stream) -> float:
    """When a stream ends, in seconds from the begin of the file."""
    begin = (container.start_time or 0) / 1_000_000
    if stream.duration is not None:
        end = (stream.start_time or 0) + stream.duration
    else:  # Matroska, WebM and FLV say it of the whole file at most
        end = max(
            (
                packet.pts + (packet.duration or 0)
                for packet in container.demux(stream)
                if packet.pts is not None
            ),
            default=0,
        )
    return float(end * (stream.time_base or 0)) - begin
