"""Recordings: reading them, and those that are not what their label or their header says."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.corpus.utterance import WITHIN, Source, Utterance
from pipeline.features import recording

RATE = 16000


def write(path: Path, seconds: float, **options: str) -> Path:
    """Write noise of a length."""
    samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE))
    soundfile.write(path, samples, RATE, **options)
    return path


def cut(path: Path, size: int) -> None:
    """Leave the first `size` bytes of a file."""
    path.write_bytes(path.read_bytes()[:size])


def promise(path: Path, size: int) -> None:
    """Write another size of the sound into the header of a WAV file."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"data") + 4, size)
    path.write_bytes(content)


def test_reads_sixteen_bit_samples_as_they_are(tmp_path: Path) -> None:
    samples = np.array([0, 1, -1, 32767, -32768], np.int16)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="PCM_16")
    signal, _ = recording.read(tmp_path / "a.wav", RATE, 5 / RATE)
    assert signal.dtype == np.float32
    np.testing.assert_array_equal(signal * 32768, samples)


def test_channels_are_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.tile([[0.5, -0.25]], (100, 1)), RATE)
    signal, _ = recording.read(tmp_path / "a.wav", RATE, 100 / RATE)
    np.testing.assert_allclose(signal, 0.125)


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_another_rate_is_resampled(tmp_path: Path, rate: int) -> None:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
    signal, _ = recording.read(tmp_path / "a.wav", RATE, 1.0)
    assert len(signal) == RATE
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    # away from the ends, which the resampling filter rounds off
    np.testing.assert_allclose(signal[1000:-1000], expected[1000:-1000], atol=1e-3)


def break_file(path: Path, fault: str) -> None:
    if fault == "zero bytes":
        path.write_bytes(b"")
    elif fault == "not audio":
        path.write_bytes(b"not audio at all" * 10)
    elif fault == "no sample":
        soundfile.write(path, np.zeros(0), RATE)
    elif fault == "not finite":
        soundfile.write(path, np.array([0.0, np.nan]), RATE, subtype="FLOAT")
    elif fault == "a folder":
        path.mkdir()


FAULTS = ["missing", "zero bytes", "not audio", "no sample", "not finite", "a folder"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_file_is_an_error_that_names_it(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "bad.wav"
    break_file(path, fault)
    with pytest.raises(recording.RecordingError, match=r"bad\.wav"):
        recording.read(path, RATE, 2 / RATE)


@pytest.mark.parametrize(
    ("fault", "reason"), [("missing", "No such file"), ("a folder", "Is a directory")]
)
def test_a_file_that_the_system_does_not_let_read_is_told_with_its_reason(
    tmp_path: Path, fault: str, reason: str
) -> None:
    path = tmp_path / "bad.wav"
    break_file(path, fault)
    with pytest.raises(recording.RecordingError) as caught:
        recording.read(path, RATE, 1.0)
    assert caught.value.fault.startswith(f"cannot be read from the disk: {reason}")


# --- the label's length ---------------------------------------------------------------------------


@pytest.mark.parametrize(("found", "label"), [(0.05, 2.48), (60, 1.4), (0.7, 1.0), (1.3, 1.0)])
def test_a_recording_of_another_length_than_its_label_is_refused(
    tmp_path: Path, found: float, label: float
) -> None:
    path = write(tmp_path / "a.wav", found)
    with pytest.raises(recording.RecordingError) as caught:
        recording.read(path, RATE, label)
    assert caught.value.fault == f"lasts {found:.2f} s, its label says {label:.2f} s"


@pytest.mark.parametrize(
    ("found", "label"), [(1.0, 1.0001), (0.85, 1.0), (1.15, 1.0), (27.5, 30.0), (0.02, 0.02)]
)
def test_a_recording_may_differ_a_little_from_its_label(
    tmp_path: Path, found: float, label: float
) -> None:
    signal, remark = recording.read(write(tmp_path / "a.wav", found), RATE, label)
    assert (len(signal), remark) == (round(found * RATE), "")


def test_the_length_is_measured_at_the_rate_of_the_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(44100), 44100)
    signal, _ = recording.read(tmp_path / "a.wav", RATE, 1.0)
    assert len(signal) == RATE


def test_the_length_is_that_of_the_sound_where_the_header_says_another(tmp_path: Path) -> None:
    """The header of an MP3 file that was cut still counts all frames."""
    path = write(tmp_path / "a.mp3", 2.0, format="MP3")
    cut(path, path.stat().st_size // 4)
    assert soundfile.info(path).duration == 2.0
    with pytest.raises(recording.RecordingError, match=r"lasts 0\.\d+ s, its label says 2.00 s"):
        recording.read(path, RATE, 2.0)


# --- the header's size ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"format": "WAVEX"}, {"endian": "BIG"}, {"subtype": "FLOAT"}]
)
def test_a_file_that_was_cut_is_refused_with_all_numbers(
    tmp_path: Path, options: dict[str, str]
) -> None:
    path = write(tmp_path / "a.wav", 1.0, **{"format": "WAV"} | options)
    whole = RATE * (4 if "subtype" in options else 2)
    header = path.stat().st_size - whole
    cut(path, header + whole // 4)
    with pytest.raises(recording.RecordingError) as caught:
        recording.read(path, RATE, 1.0)
    assert caught.value.fault == (
        "lasts 0.25 s, its label says 1.00 s; "
        f"its header promises {whole:,} bytes of sound, {whole // 4:,} are there"
    )


def test_a_file_that_was_cut_a_little_is_read_with_a_remark(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 1.0)
    cut(path, 44 + 31_000)
    signal, remark = recording.read(path, RATE, 1.0)
    assert len(signal) == 15_500
    assert remark == "its header promises 32,000 bytes of sound, 31,000 are there"


@pytest.mark.parametrize("size", [0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_a_size_that_the_writer_could_not_know_promises_nothing(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "a.wav", 1.0)
    promise(path, size)
    signal, remark = recording.read(path, RATE, 1.0)
    assert (len(signal), remark) == (RATE, "")


@pytest.mark.parametrize(("promised", "held"), [(0, 32_000), (32_000, 0)])
def test_a_file_without_a_sample_is_refused_with_what_its_header_says(
    tmp_path: Path, promised: int, held: int
) -> None:
    path = write(tmp_path / "a.wav", 1.0)
    promise(path, promised)
    cut(path, 44 + held)
    with pytest.raises(recording.RecordingError) as caught:
        recording.read(path, RATE, 1.0)
    assert caught.value.fault == (
        f"holds no sample; its header promises {promised:,} bytes of sound, {held:,} are there"
    )


def test_other_chunks_are_no_sound(tmp_path: Path) -> None:
    """Before the samples, of odd length, and after them."""
    path = write(tmp_path / "a.wav", 1.0)
    content, odd = path.read_bytes(), b"LIST" + struct.pack("<I", 5) + b"INFOx\0"
    path.write_bytes(content[:36] + odd + content[36:] + odd)
    signal, remark = recording.read(path, RATE, 1.0)
    assert (len(signal), remark) == (RATE, "")
    cut(path, 36 + len(odd) + 8 + 31_000)
    _, remark = recording.read(path, RATE, 1.0)
    assert remark == "its header promises 32,000 bytes of sound, 31,000 are there"


@pytest.mark.parametrize(
    "options",
    [
        {"format": "FLAC"},
        {"format": "RF64"},
        {"format": "WAV", "subtype": "PCM_24"},
        {"format": "WAVEX", "subtype": "PCM_24"},
        {"format": "WAV", "subtype": "GSM610"},  # cannot be sought in
    ],
)
def test_files_of_other_formats_are_read_too(tmp_path: Path, options: dict[str, str]) -> None:
    path = write(tmp_path / "a.wav", 1.0, **options)
    signal, remark = recording.read(path, RATE, 1.0)
    assert abs(len(signal) - RATE) <= 320  # GSM has blocks of 20 ms
    assert remark == ""


# --- of an utterance ------------------------------------------------------------------------------


def of(root: Path, name: str, seconds: float) -> tuple[np.ndarray, str]:
    utterance = Utterance("U", "D", 2.0, 2.0 + seconds, audio=Source(name))
    return recording.of_utterance(utterance, root, RATE)


def test_a_recording_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 1.0)
    first, _ = of(tmp_path, "a.wav", 1.0)
    soundfile.write(path, np.zeros(RATE), RATE)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    again, problem = of(tmp_path, "a.wav", 1.0)
    assert first.any() and not again.any()
    assert problem == "a.wav: holds nothing but silence; kept"
    path.unlink()
    nothing, problem = of(tmp_path, "a.wav", 1.0)
    assert not len(nothing) and problem.endswith("No such file or directory; left out")


def test_a_recording_that_the_system_does_not_let_see_is_left_out(tmp_path: Path) -> None:
    name = (
        "a" * 300
    )  # longer than file systems allow; as of a folder without rights, it is an error
    nothing, problem = of(tmp_path, name, 1.0)
    assert not len(nothing)
    assert problem == f"{name}: cannot be read from the disk: File name too long; left out"


@pytest.mark.parametrize(("start", "samples"), [(0.98, 320), (1.0, 0)])
def test_an_utterance_must_begin_within_its_recording(
    tmp_path: Path, start: float, samples: int
) -> None:
    write(tmp_path / "a.wav", 1.0)
    utterance = Utterance("U", "D", start, start + 0.05, audio=Source("a.wav", WITHIN))
    signal, problem = recording.of_utterance(utterance, tmp_path, RATE)
    assert len(signal) == samples
    wanted = "a.wav: ends at 1.00 s, 1.00 s to 1.05 s are wanted; left out"
    assert problem == ("" if samples else wanted)
