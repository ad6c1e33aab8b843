"""Small files of sound and pictures in the containers of phones and corpora, written by PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TICKS = 1000  # of a second, the time base of pictures


def tone(seconds: float, rate: int = 16000, pitch: float = 220.0, level: float = 0.3) -> np.ndarray:
    """[samples] float32."""
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * pitch * time)).astype(np.float32)


def plain(count: int, width: int = 320, height: int = 240) -> list[np.ndarray]:
    """Pictures, each of one grey, up to 20 of them told apart; [height, width, 3] uint8."""
    return [np.full((height, width, 3), 20 + 10 * (n % 20), np.uint8) for n in range(count)]


def write(
    path: Path,
    sound: np.ndarray | None = None,
    pictures: Sequence[np.ndarray] = (),
    *,
    rate: int = 16000,
    layout: str = "mono",
    times: Sequence[float] | None = None,
    sound_begins: float = 0.0,
    clock: float = 0.0,
    codecs: tuple[str, str] = ("aac", "libx264"),
) -> Path:
    """Write a file.

    Parameters
    ----------
    sound
        [samples] of mono or [channels, samples], float32; None for no track of it.
    pictures
        [height, width, 3] uint8, blue, green, red; none for no track of them.
    times
        Seconds at which they are presented; None for ten a second.
    sound_begins
        Seconds after the pictures' zero.
    clock
        Seconds that the clock of the file shows at its start.
    codecs
        Of sound and of pictures.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    is_h264 = codecs[1] == "libx264"
    base = Fraction(1, TICKS if is_h264 else 10)
    options = {"output_ts_offset": str(clock)}
    with av.open(str(path), "w", options=options) as container:
        # all tracks are there before the first packet is written
        audio: av.AudioStream | None = None
        if sound is not None:
            track = container.add_stream(codecs[0], rate=rate, layout=layout)
            assert isinstance(track, av.AudioStream)
            audio = track
        if pictures:
            video = container.add_stream(codecs[1], rate=10)
            assert isinstance(video, av.VideoStream)
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt = "yuv420p"
            if is_h264:
                video.codec_context.time_base = base
                video.options = {"bf": "0", "preset": "ultrafast"}
            for number, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
                when = times[number] if times else number / 10
                frame.pts, frame.time_base = round(when / base), base
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if audio and sound is not None:
            whole = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(np.atleast_2d(sound)), format="fltp", layout=layout
            )
            whole.sample_rate = rate
            whole.pts, whole.time_base = round(sound_begins * rate), Fraction(1, rate)
            context = audio.codec_context
            assert isinstance(context, av.AudioCodecContext)
            fit = av.AudioResampler(context.format, layout, rate, context.frame_size or 1024)
            for part in [*fit.resample(whole), *fit.resample(None)]:
                container.mux(audio.encode(part))
            container.mux(audio.encode(None))
    return path
