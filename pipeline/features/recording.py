"""The recording of an utterance: its samples, and whether it is the one that the label describes.

IEMOCAP's sentences are cut at the times of their labels, so a recording has its label's length. One
that lasts :data:`SLACK` and :data:`SLACK_SHARE` of the label longer or shorter is another sound or
a piece of this one. It is left out: values of half an utterance look like values of a whole one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.corpus.utterance import Utterance

SLACK = 0.1  # seconds, as of other tools that cut and round
SLACK_SHARE = 0.1  # of the label's length, which silence at the ends may add or lack
_UNKNOWN_SIZE = 0x7FFF0000  # bytes; programs that write to a pipe promise this or more

_REMEMBERED = 128  # recordings, as of a dialog, for the next stream that reads them


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
        signal, remark = _remembered(path, sampling_rate, utterance.end - utterance.start, changed)
    except RecordingError as error:
        return nothing, f"{name}: {error.fault}; left out"
    return signal, remark and f"{name}: {remark}; kept, since its length is the label's"


@lru_cache(_REMEMBERED)
def _remembered(
    path: Path, sampling_rate: int, seconds: float, changed: int
) -> tuple[np.ndarray, str]:
    """As :func:`read`; streams that read one dialog after the other decode it once."""
    signal, remark = read(path, sampling_rate, seconds)
    signal.flags.writeable = False
    return signal, remark


def read(path: Path, sampling_rate: int, seconds: float) -> tuple[np.ndarray, str]:
    """Read a recording as mono at a given rate.

    Parameters
    ----------
    path
        Any file that libsndfile reads; several channels are averaged.
    sampling_rate
        Hertz; a recording of another rate is resampled (soxr, high quality).
    seconds
        How long its label says that it is.

    Returns
    -------
    signal
        [samples] float32, full scale is 1.
    remark
        How many bytes are there, where a WAV header promises more; else empty.

    Raises
    ------
    RecordingError
        If the file is missing, corrupt, holds no sample or one that is not finite, or if its length
        is not that of the label.
    """
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
    if not np.isfinite(channels).all():
        raise RecordingError(path, "holds samples that are not finite")
    signal = channels.mean(axis=1)
    if rate != sampling_rate:
        import librosa

        signal = librosa.resample(signal, orig_sr=rate, target_sr=sampling_rate, res_type="soxr_hq")
    return signal, remark


def _length_fault(found: float, label: float) -> str:
    """Say how a recording of `found` seconds misses its label's; empty if it does not."""
    if not found:
        return "holds no sample"
    if abs(found - label) <= SLACK + SLACK_SHARE * label:
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
