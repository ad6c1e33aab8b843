"""The recording of an utterance: its samples, and whether it is the one that the label describes.

IEMOCAP's sentences are cut at the times of their labels, so a recording has its label's length. One
that lasts :data:`SLACK` and :data:`SLACK_SHARE` of the label longer or shorter is another sound or
a piece of this one. It is left out: values of half an utterance look like values of a whole one. An
utterance within a longer recording is cut out of it, and left out where that ends too early.

What libsndfile does not read, such as the sound of MP4, AVI and FLV files, is decoded by PyAV. Its
seconds count from the begin of the file, where sound and pictures may begin at different times.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.corpus.utterance import WITHIN, Utterance

if TYPE_CHECKING:
    from av import AudioFrame

LIBRARIES = ("av", "soundfile", "soxr")
"""Distributions that decide the samples, for the provenance of what is made of them."""

SLACK = 0.1  # seconds, as of other tools that cut and round
SLACK_SHARE = 0.1  # of the label's length, which silence at the ends may add or lack
_UNKNOWN_SIZE = 0x7FFF0000  # bytes; programs that write to a pipe promise this or more

_REMEMBERED = 128  # recordings, as of a dialog, for the next stream that reads them
_LONG = 2  # the same of those that hold several utterances
_SILENCE = 1e-4  # of full scale, -80 dB: three steps of a sound of 16 bits
_GAP = 0.05  # seconds that a frame of sound may come late before silence is put in its place
_SNDFILE = {
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".snd"),
    *(".sph", ".w64", ".wav"),
}
"""What libsndfile reads, and best."""

_WEIGHTS = {"FC": 1.0, "FL": 0.707, "FR": 0.707, "LFE": 0.0}
"""Of the channels in a mix of more than two, as ITU-R BS.775 has it; all others weigh 0.5."""


class RecordingError(ValueError):
    """A recording that cannot be used; the message names the file and the fault.

    Parameters
    ----------
    path
        The recording.
    fault
        What is wrong with it; no path, so that reports read the same on every machine.
    """

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"{path}: {fault}")
        self.fault = fault


def signals(
    utterances: Sequence[Utterance], root: Path, sampling_rate: int
) -> Iterator[tuple[Utterance, np.ndarray, str]]:
    """Read the recordings of utterances, one after the other; as :func:`of_utterance`.

    What is computed from one before the next is read runs on one thread: processes share the cores,
    and bytes do not depend on how many there are.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        for utterance in utterances:
            yield utterance, *of_utterance(utterance, root, sampling_rate)


def of_utterance(utterance: Utterance, root: Path, sampling_rate: int) -> tuple[np.ndarray, str]:
    """Read the recording of an utterance.

    Returns
    -------
    signal
        [samples] float32 as of :func:`read`; empty if there is none, or it is left out.
    problem
        What is wrong with it, and whether it is kept; empty if nothing is.
    """
    nothing = np.zeros(0, np.float32)
    if utterance.audio is None:
        return nothing, "the corpus has no recording of it"
    name, path = utterance.audio.path, root / utterance.audio.path
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        changed = 0  # to read it says why
    try:
        if utterance.audio.place == WITHIN:
            signal, remark = _long(path, sampling_rate, changed)
            signal = _part(path, signal, utterance.start, utterance.end, sampling_rate)
        else:
            seconds = utterance.end - utterance.start
            signal, remark = _remembered(path, sampling_rate, seconds, changed)
    except RecordingError as error:
        return nothing, f"{name}: {error.fault}; left out"
    if remark:
        remark += "; kept, since its length is the label's"
    elif np.abs(signal).max() < _SILENCE:
        remark = "holds nothing but silence; kept"
    return signal, remark and f"{name}: {remark}"


@lru_cache(_LONG)
def _long(path: Path, sampling_rate: int, changed: int) -> tuple[np.ndarray, str]:
    """As :func:`read`, of a recording that holds several utterances."""
    return read(path, sampling_rate, None)


def _part(
    path: Path, signal: np.ndarray, start: float, end: float, sampling_rate: int
) -> np.ndarray:
    """Cut an utterance out of a recording.

    Raises
    ------
    RecordingError
        If the recording ends before it.
    """
    first, last = round(start * sampling_rate), round(end * sampling_rate)
    found, wanted = len(signal) / sampling_rate, end - start
    if first >= len(signal) or end - found > SLACK + SLACK_SHARE * wanted:
        raise RecordingError(
            path, f"ends at {found:.2f} s, {start:.2f} s to {end:.2f} s are wanted"
        )
    return signal[first:last]


@lru_cache(_REMEMBERED)
def _remembered(
    path: Path, sampling_rate: int, seconds: float, changed: int
) -> tuple[np.ndarray, str]:
    """As :func:`read`; streams that read one dialog after the other decode it once."""
    return read(path, sampling_rate, seconds)


def read(path: Path, sampling_rate: int, seconds: float | None) -> tuple[np.ndarray, str]:
    """Read a recording as mono at a given rate.

    Parameters
    ----------
    path
        Any file that libsndfile or FFmpeg reads. One or two channels are averaged, more are mixed
        as ITU-R BS.775 has it.
    sampling_rate
        Hertz; a recording of another rate is resampled (soxr, high quality).
    seconds
        How long its label says that it is; None: any length.

    Returns
    -------
    signal
        [samples] float32, full scale is 1; read-only.
    remark
        What is missing at its end: how many bytes are there, where a WAV header promises more, or
        why decoding stopped; else empty.

    Raises
    ------
    RecordingError
        If the file is missing, corrupt, holds no sample or one that is not finite, or if its length
        is not that of the label.
    """
    if path.suffix.lower() in _SNDFILE:
        signal, rate, remark = _sound_file(path, seconds)
    else:
        signal, rate, remark = _container(path)
        if fault := _length_fault(len(signal) / rate, seconds):
            raise RecordingError(path, "; ".join(filter(None, (fault, remark))))
    if not np.isfinite(signal).all():
        raise RecordingError(path, "holds samples that are not finite")
    if rate != sampling_rate:
        import librosa

        signal = librosa.resample(signal, orig_sr=rate, target_sr=sampling_rate, res_type="soxr_hq")
    signal.flags.writeable = False  # it may be remembered
    return signal, remark


def _sound_file(path: Path, seconds: float | None) -> tuple[np.ndarray, int, str]:
    """Decode by libsndfile: mono samples, their rate, and a remark; else as :func:`read`."""
    import soundfile

    try:
        remark = _broken_promise(path)  # first, since libsndfile has no reason of the system
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            fault = _length_fault(file.frames / rate, seconds)
            if not fault:
                # the number is asked for by GSM files; those of MP3 may hold less than they say
                channels = file.read(file.frames, dtype="float32", always_2d=True)
                fault = _length_fault(len(channels) / rate, seconds)
            if fault:
                raise RecordingError(path, "; ".join(filter(None, (fault, remark))))
    except soundfile.LibsndfileError as error:
        raise RecordingError(path, f"cannot be read as audio: {error.error_string}") from error
    except OSError as error:
        raise RecordingError(path, f"cannot be read from the disk: {error.strerror}") from error
    return channels.mean(axis=1), rate, remark


def _container(path: Path) -> tuple[np.ndarray, int, str]:
    """Decode the first sound of a container by PyAV; else as :func:`_sound_file`.

    Silence takes the place of what is missing before or between frames, so that a second of the
    signal is that second of the file. A file that was cut is decoded as far as it goes.
    """
    import av

    blocks: list[np.ndarray] = []
    count, rate, remark = 0, 0, ""
    try:
        path.open("rb").close()  # the reason of the system, in its words
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise RecordingError(path, "holds no sound")
            stream, begin = container.streams.audio[0], (container.start_time or 0) / 1_000_000
            stream.codec_context.thread_count = 1
            as_floats = av.AudioResampler(format="fltp")
            try:
                for frame in container.decode(stream):
                    rate = rate or frame.sample_rate
                    late = round((frame.time - begin) * rate) - count if frame.time else 0
                    if late > _GAP * rate:
                        blocks.append(np.zeros(late, np.float32))
                        count += late
                    for block in map(_mono, as_floats.resample(frame)):
                        blocks.append(block)
                        count += len(block)
            except (av.FFmpegError, ValueError) as error:
                remark = f"breaks off at {count / max(rate, 1):.2f} s: {error}"
    except av.FFmpegError as error:
        raise RecordingError(path, f"cannot be read as audio: {error.strerror}") from error
    except OSError as error:
        raise RecordingError(path, f"cannot be read from the disk: {error.strerror}") from error
    if not count:
        raise RecordingError(path, "; ".join(filter(None, ("holds no sample", remark))))
    return np.concatenate(blocks), rate, remark


def _mono(frame: AudioFrame) -> np.ndarray:
    """Mix the channels of a frame of floats: [samples] float32."""
    names = [channel.name for channel in frame.layout.channels]
    weights = np.ones(len(names), np.float32)
    if len(names) > 2:
        weights = np.array([_WEIGHTS.get(name, 0.5) for name in names], np.float32)
    return (weights / weights.sum()) @ frame.to_ndarray()


def _length_fault(found: float, label: float | None) -> str:
    """Say how a recording of `found` seconds misses its label's; empty if it does not."""
    if not found:
        return "holds no sample"
    if label is None or abs(found - label) <= SLACK + SLACK_SHARE * label:
        return ""
    return f"lasts {found:.2f} s, its label says {label:.2f} s"


def _broken_promise(path: Path) -> str:
    """Compare the bytes of sound that a WAV header promises with those that follow it.

    libsndfile takes what is there and says nothing.

    Returns
    -------
    str
        Both numbers if the file was cut, or if its writer was stopped before it could fill in the
        size; empty for a good file, another format, or a size that the writer could not know.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        order = {b"RIFF": "<", b"RIFX": ">"}.get(file.read(4))
        if not order or file.read(8)[4:] != b"WAVE":
            return ""
        while len(header := file.read(8)) == 8:
            chunk, promised = struct.unpack(f"{order}4sI", header)
            if chunk == b"data":
                found = size - file.tell()
                if found < promised < _UNKNOWN_SIZE or found > promised == 0:
                    return f"its header promises {promised:,} bytes of sound, {found:,} are there"
                return ""
            file.seek(promised + promised % 2, 1)  # chunks start at even bytes
    return ""
