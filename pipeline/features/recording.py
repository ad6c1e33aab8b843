"""The samples of utterances, and checks of their recordings.

A recording of one utterance must have the length of its label; IEMOCAP's sentence files are cut at
the times of the labels. A recording that differs by more than :data:`SLACK` plus
:data:`SLACK_SHARE` of the label's length is another recording or a part of this one. It is left
out, since nobody could see from its features that they are of half an utterance. An utterance
within a longer recording is cut out of it, and left out if the recording ends too early.

Formats that libsndfile does not read, such as the audio of MP4, AVI and FLV files, are decoded by
PyAV. Times are relative to the start of the file, since its audio and video may start at different
times.
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
"""Distributions that determine the samples, for the provenance of audio streams."""

SLACK = 0.1  # seconds, for rounding by tools that cut recordings
SLACK_SHARE = 0.1  # share of the label's length, for silence that was added or removed
_UNKNOWN_SIZE = 0x7FFF0000  # bytes; programs that write to a pipe state this size or a larger one

_CACHED = 128  # recordings of one utterance, about a dialog, for the next stream that reads them
_CACHED_LONG = 2  # recordings of several utterances
_SILENCE = 1e-4  # of full scale: -80 dB, three steps of 16-bit samples
_GAP = 0.05  # seconds by which an audio frame may be late before silence is inserted
_SNDFILE = {
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".snd"),
    *(".sph", ".w64", ".wav"),
}
"""Formats that are read by libsndfile instead of PyAV."""

_WEIGHTS = {"FC": 1.0, "FL": 0.707, "FR": 0.707, "LFE": 0.0}
"""Weights for mixing more than two channels, after ITU-R BS.775; other channels have 0.5."""


class RecordingError(ValueError):
    """A recording that cannot be used; the message names the file and the fault.

    Parameters
    ----------
    path
        The recording.
    fault
        What is wrong with it; without a path, so that reports are the same on every machine.
    """

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"{path}: {fault}")
        self.fault = fault


def signals(
    utterances: Sequence[Utterance], root: Path, sampling_rate: int
) -> Iterator[tuple[Utterance, np.ndarray, str]]:
    """Yield each utterance with the results of :func:`of_utterance`.

    The caller's computations between two utterances run with one BLAS thread. The processes of an
    extraction share the cores, and so the bytes do not depend on the number of cores.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        for utterance in utterances:
            yield utterance, *of_utterance(utterance, root, sampling_rate)


def of_utterance(utterance: Utterance, root: Path, sampling_rate: int) -> tuple[np.ndarray, str]:
    """Read the recording of an utterance.

    Returns
    -------
    signal
        [samples] float32, as of :func:`read`; empty if there is no usable recording.
    problem
        What is wrong with it, and whether it is used; empty if nothing is wrong.
    """
    nothing = np.zeros(0, np.float32)
    if utterance.audio is None:
        return nothing, "there is no recording of it"
    name, path = utterance.audio.path, root / utterance.audio.path
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        changed = 0  # read() says why
    try:
        if utterance.audio.place == WITHIN:
            signal, remark = _read_long(path, sampling_rate, changed)
            signal = _part(path, signal, utterance.start, utterance.end, sampling_rate)
        else:
            seconds = utterance.end - utterance.start
            signal, remark = _read_cached(path, sampling_rate, seconds, changed)
    except RecordingError as error:
        return nothing, f"{name}: {error.fault}; left out"
    if remark:
        remark += "; kept, since its length is the label's"
    elif np.abs(signal).max() < _SILENCE:
        remark = "holds nothing but silence; kept"
    return signal, remark and f"{name}: {remark}"


@lru_cache(_CACHED_LONG)
def _read_long(path: Path, sampling_rate: int, changed: int) -> tuple[np.ndarray, str]:
    return read(path, sampling_rate, None)


@lru_cache(_CACHED)
def _read_cached(
    path: Path, sampling_rate: int, seconds: float, changed: int
) -> tuple[np.ndarray, str]:
    return read(path, sampling_rate, seconds)


def _part(
    path: Path, signal: np.ndarray, start: float, end: float, sampling_rate: int
) -> np.ndarray:
    """Cut an utterance out of a recording.

    Raises
    ------
    RecordingError
        If the recording ends too early.
    """
    first, last = round(start * sampling_rate), round(end * sampling_rate)
    length = len(signal) / sampling_rate
    if first >= len(signal) or end - length > SLACK + SLACK_SHARE * (end - start):
        raise RecordingError(
            path, f"ends at {length:.2f} s, {start:.2f} s to {end:.2f} s are wanted"
        )
    return signal[first:last]


def read(path: Path, sampling_rate: int, seconds: float | None) -> tuple[np.ndarray, str]:
    """Read a recording as mono at a given rate.

    Parameters
    ----------
    path
        A file in any format of libsndfile or FFmpeg. One or two channels are averaged, more are
        mixed after ITU-R BS.775.
    sampling_rate
        Hertz; a recording of another rate is resampled (soxr, high quality).
    seconds
        The length of its label; None for any length.

    Returns
    -------
    signal
        [samples] float32, full scale is 1; read-only.
    remark
        That data is missing at its end: a WAV header states more bytes than the file has, or
        decoding stopped with an error. Otherwise empty.

    Raises
    ------
    RecordingError
        If the file is missing or corrupt, if it has no samples or some that are not finite, or if
        its length is not that of the label.
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
    signal.flags.writeable = False  # it may be cached
    return signal, remark


def _sound_file(path: Path, seconds: float | None) -> tuple[np.ndarray, int, str]:
    """Decode a file by libsndfile: mono samples, their rate, and a remark; see :func:`read`."""
    import soundfile

    try:
        remark = _truncation(path)  # opens the file; libsndfile does not give the system's error
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            fault = _length_fault(file.frames / rate, seconds)
            if not fault:
                # GSM files need the number of frames; MP3 files may have fewer than stated
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
    """Decode the first audio track of a container by PyAV; results as of :func:`_sound_file`.

    Silence is inserted where audio is missing before or between frames, so that times in the signal
    are times in the file. A truncated file is decoded as far as possible.
    """
    import av

    samples = bytearray()  # grows in place, so that hours of sound are in memory once
    count, rate, remark = 0, 0, ""
    try:
        path.open("rb").close()  # for the system's error
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
                        samples += bytes(4 * late)
                        count += late
                    for block in map(_mono, as_floats.resample(frame)):
                        samples += block.data
                        count += len(block)
            except (av.FFmpegError, ValueError) as error:
                remark = f"breaks off at {count / max(rate, 1):.2f} s: {error}"
    except av.FFmpegError as error:
        raise RecordingError(path, f"cannot be read as audio: {error.strerror}") from error
    except OSError as error:
        raise RecordingError(path, f"cannot be read from the disk: {error.strerror}") from error
    if not count:
        raise RecordingError(path, "; ".join(filter(None, ("holds no sample", remark))))
    return np.frombuffer(samples, np.float32), rate, remark


def _mono(frame: AudioFrame) -> np.ndarray:
    """Mix the channels of an audio frame: [samples] float32."""
    names = [channel.name for channel in frame.layout.channels]
    weights = np.ones(len(names), np.float32)
    if len(names) > 2:
        weights = np.array([_WEIGHTS.get(name, 0.5) for name in names], np.float32)
    return (weights / weights.sum()) @ frame.to_ndarray()


def _length_fault(seconds: float, label: float | None) -> str:
    """Compare the length of a recording with that of its label; empty if they agree."""
    if not seconds:
        return "holds no sample"
    if label is None or abs(seconds - label) <= SLACK + SLACK_SHARE * label:
        return ""
    return f"lasts {seconds:.2f} s, its label says {label:.2f} s"


def _truncation(path: Path) -> str:
    """Compare the size of the audio data that a WAV header states with the size of the file.

    libsndfile reads a truncated file without an error.

    Returns
    -------
    str
        Both sizes if the file is truncated, or if its writer was stopped before it could write the
        size; empty for a complete file, another format, or a size that the writer could not know.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        order = {b"RIFF": "<", b"RIFX": ">"}.get(file.read(4))
        if not order or file.read(8)[4:] != b"WAVE":
            return ""
        while len(header := file.read(8)) == 8:
            chunk, stated = struct.unpack(f"{order}4sI", header)
            if chunk == b"data":
                actual = size - file.tell()
                if actual < stated < _UNKNOWN_SIZE or actual > stated == 0:
                    return f"its header promises {stated:,} bytes of sound, {actual:,} are there"
                return ""
            file.seek(stated + stated % 2, 1)  # chunks start at even bytes
    return ""
