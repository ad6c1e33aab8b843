"""Sound and pictures out of the containers of phones and corpora: each case kept or named."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks import clips
from pipeline.corpus import headers
from pipeline.corpus.utterance import WITHIN, Source, Utterance
from pipeline.features.crops import Cut
from pipeline.features.recording import RecordingError, of_utterance, read
from pipeline.features.video import VideoError, displayed

RATE = 16000


def loud(signal: np.ndarray) -> tuple[float, float]:
    """The seconds between which a signal is not silent."""
    found = np.flatnonzero(np.abs(signal) > 0.05)
    return float(found[0]) / RATE, float(found[-1]) / RATE


@pytest.mark.parametrize(
    ("name", "codecs", "rate"),
    [
        ("a.mp4", ("aac", "libx264"), 44100),
        ("a.mov", ("aac", "libx264"), 48000),
        ("a.mkv", ("aac", "libx264"), 16000),
        ("a.avi", ("libmp3lame", "mpeg4"), 44100),
        ("a.flv", ("libmp3lame", "flv1"), 22050),
        ("a.webm", ("libopus", "libvpx"), 48000),
    ],
)
def test_sound_of_a_container_is_the_sound(
    tmp_path: Path, name: str, codecs: tuple[str, str], rate: int
) -> None:
    sound = clips.tone(1.5, rate)
    path = clips.write(tmp_path / name, sound, clips.plain(15), rate=rate, codecs=codecs)
    signal, remark = read(path, RATE, 1.5)
    assert not remark and signal.dtype == np.float32
    middle = signal[RATE // 2 : RATE]
    assert np.abs(middle).max() == pytest.approx(0.3, abs=0.03)
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) * RATE / len(middle) == pytest.approx(220, abs=3)
    header = headers.read(path)
    assert header.sound and header.picture
    assert header.seconds == pytest.approx(1.5, abs=0.1)


def test_sound_without_pictures(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.m4a", clips.tone(1.0))
    assert loud(read(path, RATE, 1.0)[0]) == pytest.approx((0.0, 1.0), abs=0.03)
    assert not headers.read(path).picture
    with pytest.raises(VideoError, match="holds no pictures"):
        list(displayed(path, np.array([0.5])))


def test_pictures_without_sound(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.mp4", None, clips.plain(10))
    assert headers.read(path) == (pytest.approx(1.0), False, True)
    with pytest.raises(RecordingError, match="holds no sound"):
        read(path, RATE, 1.0)


def test_the_middle_of_six_channels_is_heard(tmp_path: Path) -> None:
    levels = []
    for channel in (0, 2, 3, 4):  # left, centre, bass, rear
        sound = np.zeros((6, RATE), np.float32)
        sound[channel] = clips.tone(1.0, pitch=100.0)
        path = clips.write(tmp_path / f"{channel}.mp4", sound, rate=RATE, layout="5.1")
        levels.append(float(np.abs(read(path, RATE, 1.0)[0][RATE // 4 : RATE // 2]).max()))
    left, centre, bass, rear = levels
    assert centre > left > rear > 5 * bass
    assert centre == pytest.approx(0.3 / 3.414, rel=0.15)


def test_the_middle_of_three_channels_counts_more(tmp_path: Path) -> None:
    sound = np.zeros((3, RATE), np.float32)
    sound[2] = clips.tone(1.0)  # centre
    path = clips.write(tmp_path / "a.mp4", sound, layout="3.0")
    heard = np.abs(read(path, RATE, 1.0)[0][RATE // 4 : RATE // 2]).max()
    assert heard == pytest.approx(0.3 / 2.414, rel=0.05)


def test_two_channels_are_averaged(tmp_path: Path) -> None:
    sound = np.stack([clips.tone(1.0), np.zeros(RATE, np.float32)])
    path = clips.write(tmp_path / "a.mp4", sound, layout="stereo")
    assert np.abs(read(path, RATE, 1.0)[0]).max() == pytest.approx(0.15, abs=0.03)


def test_sound_and_pictures_begin_when_the_file_says(tmp_path: Path) -> None:
    late_sound = clips.write(
        tmp_path / "sound.mp4", clips.tone(1.0), clips.plain(15), sound_begins=0.5
    )
    assert loud(read(late_sound, RATE, None)[0]) == pytest.approx((0.5, 1.5), abs=0.03)
    assert headers.read(late_sound).seconds == pytest.approx(1.5, abs=0.03)
    times = [0.5 + number / 10 for number in range(10)]
    late = clips.write(tmp_path / "film.mp4", clips.tone(2.0), clips.plain(10), times=times)
    shown = list(displayed(late, np.array([0.2, 0.95, 1.32])))
    assert [round(picture.time, 3) for picture in shown] == [0.5, 0.9, 1.3]
    # the first one also before it begins, and each by its grey
    assert [int(picture.image.mean()) for picture in shown] == pytest.approx([20, 60, 100], abs=8)


def test_times_are_from_the_start_that_the_file_states(tmp_path: Path) -> None:
    """A transport stream, whose clock does not start at zero."""
    path = clips.write(
        tmp_path / "a.ts", clips.tone(1.0), clips.plain(15), sound_begins=0.5, clock=2.0
    )
    with av.open(str(path)) as container:
        assert container.start_time == 2_000_000
    assert loud(read(path, RATE, None)[0]) == pytest.approx((0.5, 1.5), abs=0.05)
    shown = list(displayed(path, np.array([0.25, 0.95])))
    assert [round(picture.time, 2) for picture in shown] == [0.2, 0.9]


def test_a_stream_without_times_begins_at_zero(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.h264", None, clips.plain(10))
    with av.open(str(path)) as container:
        assert container.streams.video[0].start_time is None
    shown = list(displayed(path, np.array([0.01, 0.21])))  # FFmpeg takes 25 frames a second
    assert [round(picture.time, 2) for picture in shown] == [0.0, 0.2]


@pytest.mark.parametrize(("stated", "begin"), [(0.001, 0.0), (0.002, 0.002)])
def test_a_start_within_a_millisecond_is_rounding(
    tmp_path: Path, stated: float, begin: float
) -> None:
    times = [stated + number / 10 for number in range(10)]
    path = clips.write(tmp_path / "a.mp4", clips.tone(1.5), clips.plain(10), times=times)
    assert next(displayed(path, np.array([0.05]))).time == pytest.approx(begin, abs=1e-6)


def test_frames_that_come_when_they_come(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.52, 1.3]
    path = clips.write(tmp_path / "a.mp4", clips.tone(1.5), clips.plain(5), times=times)
    shown = list(displayed(path, np.array([0.03, 0.3, 0.51, 1.0])))
    assert [round(picture.time, 2) for picture in shown] == [0.0, 0.04, 0.5, 0.52]


@pytest.mark.parametrize("place", ["left", "whole"])
def test_pictures_of_any_size_are_scaled(tmp_path: Path, place: str) -> None:
    for width, height in ((160, 120), (1280, 720), (270, 480)):
        pictures = clips.plain(2, width, height)
        path = clips.write(tmp_path / f"{width}.mp4", None, pictures)
        image = next(displayed(path, np.array([0.05]))).image
        assert Cut("square", 224)(image, place).shape == (224, 224, 3)
    # of a half of 200 x 300, the middle 200 rows
    wide = np.full((300, 400, 3), 255, np.uint8)
    wide[:50] = wide[250:] = 0
    whole = Cut("square", 200)(wide, "left")
    assert whole.shape == (200, 200, 3) and whole.min() == 255
    wide[60] = 0
    assert Cut("square", 200)(wide, "left")[10].max() == 0
    with pytest.raises(VideoError, match="do not hold a crop of 224"):
        Cut(size=224)(clips.plain(1, 160, 120)[0], place)
    half = np.zeros((100, 400, 3), np.uint8)
    half[:, 200:] = (10, 20, 30)
    assert Cut("square", 50)(half, "right")[0, 0].tolist() == [30, 20, 10]


def test_a_turned_video_is_turned_back(tmp_path: Path) -> None:
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[:, :160] = 255  # left is white
    path = clips.write(tmp_path / "a.mp4", None, [picture] * 3)
    content = bytearray(path.read_bytes())
    # a quarter to the right, as phones that are held upright write it
    place = content.index(b"tkhd") + 4 + 40
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    content[place : place + 36] = turned
    path.write_bytes(content)
    image = next(displayed(path, np.array([0.1]))).image
    assert image.shape == (320, 240, 3)
    assert image[:100].mean() > 200 and image[-100:].mean() < 50  # left has become up


def test_a_file_that_was_cut_is_left_out_and_says_why(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.mkv", clips.tone(4.0), clips.plain(40))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    signal, _ = read(path, RATE, None)
    assert 1.0 < len(signal) / RATE < 3.5
    with pytest.raises(RecordingError, match="lasts .* s, its label says 4.00 s"):
        read(path, RATE, 4.0)
    moov = clips.write(tmp_path / "a.mp4", clips.tone(4.0))
    moov.write_bytes(moov.read_bytes()[: moov.stat().st_size // 2])  # its index is at its end
    for reads in (lambda: read(moov, RATE, None), lambda: headers.read(moov)):
        with pytest.raises((RecordingError, headers.HeaderError), match=r"cannot be (read|opened)"):
            reads()


def test_an_utterance_within_a_recording(tmp_path: Path) -> None:
    sound = np.concatenate(
        [np.zeros(RATE, np.float32), clips.tone(1.0), np.zeros(RATE, np.float32)]
    )
    clips.write(tmp_path / "a.mp4", sound)

    def heard(start: float, end: float) -> tuple[np.ndarray, str]:
        within = Utterance("a", "a", start=start, end=end, audio=Source("a.mp4", WITHIN))
        return of_utterance(within, tmp_path, RATE)

    signal, problem = heard(0.5, 2.5)
    assert not problem and len(signal) == 2 * RATE
    assert loud(signal) == pytest.approx((0.5, 1.5), abs=0.02)
    signal, problem = heard(2.2, 3.0)
    assert problem == "a.mp4: holds nothing but silence; kept" and len(signal) == 0.8 * RATE
    signal, problem = heard(2.0, 5.0)
    assert not len(signal)
    assert problem.startswith("a.mp4: ends at 3.") and problem.endswith("are wanted; left out")


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(headers.HeaderError, match="run `git lfs pull`"):
        headers.read(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_text("words")
    found = headers.read_all(tmp_path, ["a.txt", "none.wav"])
    assert "cannot be opened as audio or video" in str(found["a.txt"])
    assert "No such file" in str(found["none.wav"])
