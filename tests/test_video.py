"""Frames by presentation time, halves and crops, and videos that are damaged."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.features.crops import Crop, Cut, crops
from pipeline.features.video import Segment, VideoError, displayed, wanted_times
from tests.videos import (
    HEIGHT,
    RATE,
    SQUARE,
    WIDTH,
    code,
    index_of,
    leave_out,
    state_frames,
    state_main_rate,
    write_avi,
    write_b_frames,
)

FRAMES = 60


@pytest.fixture(scope="module")
def avi(tmp_path_factory) -> Path:
    return write_avi(tmp_path_factory.mktemp("video") / "dialog.avi", FRAMES)


def shown(path: Path, times) -> tuple[list[tuple[int, float, list[int]]], str]:
    """Index, time and wanted positions of each frame on display, and how the video ended."""
    found = []
    try:
        for picture in displayed(path, np.asarray(times, float)):
            found.append((index_of(picture.image), picture.time, list(picture.wanted)))
    except VideoError as error:
        return found, str(error)
    return found, ""


def test_wanted_times_are_the_middles_of_intervals():
    np.testing.assert_allclose(wanted_times(2.0, 3.0, 3.0, 32), [2 + 1 / 6, 2.5, 2 + 5 / 6])
    np.testing.assert_allclose(wanted_times(0.0, 1.0, 2.0, 32), [0.25, 0.75])


def test_wanted_times_of_a_short_utterance_are_its_middle():
    np.testing.assert_allclose(wanted_times(5.0, 5.1, 3.0, 32), [5.05])


def test_wanted_times_of_a_long_utterance_are_the_first():
    np.testing.assert_array_equal(
        wanted_times(1.0, 30.0, 3.0, 32), wanted_times(1.0, 60.0, 3.0, 999)[:32]
    )


@given(st.floats(0, 1e4), st.floats(0.0, 60.0), st.floats(0.1, 30.0), st.integers(1, 64))
def test_wanted_times_lie_inside_at_the_rate(start, length, rate, most):
    times = wanted_times(start, start + length, rate, most)
    assert 1 <= len(times) <= most
    assert start <= times[0]
    assert times[-1] <= start + length
    np.testing.assert_allclose(np.diff(times), 1 / rate, atol=1e-8)


def test_each_time_gets_the_frame_on_display(avi):
    indices = [0, 1, 7, 8, 31, 58, 59]
    times = (np.array(indices) + 0.4) / RATE
    found, ending = shown(avi, times)
    assert [index for index, _, _ in found] == indices
    np.testing.assert_allclose([time for _, time, _ in found], np.array(indices) / RATE, atol=2e-4)
    assert not ending


@settings(max_examples=30)
@given(st.lists(st.floats(0.0, 1.99), max_size=12).map(sorted))
def test_any_times_get_the_frames_on_display(avi, times):
    found, ending = shown(avi, times)
    assert not ending
    assert [position for _, _, wanted in found for position in wanted] == list(range(len(times)))
    for index, start, wanted in found:
        for position in wanted:
            assert start <= times[position] < (index + 1) / RATE + 1e-3
            assert abs(start - index / RATE) < 1e-3


def test_times_on_one_frame_share_it(avi):
    found, _ = shown(avi, [0.505, 0.51, 0.52, 1.0])
    assert [wanted for _, _, wanted in found] == [[0, 1, 2], [3]]


def test_a_frame_is_on_display_from_its_own_time(avi):
    found, _ = shown(avi, [0.51, 1.01])
    again, _ = shown(avi, [time for _, time, _ in found])
    assert [index for index, _, _ in again] == [index for index, _, _ in found]


def test_no_time_reads_nothing(avi):
    assert shown(avi, []) == ([], "")


def test_a_time_past_the_end_has_no_frame(avi):
    found, ending = shown(avi, [1.0, FRAMES / RATE - 0.01, FRAMES / RATE + 0.01, 9.0])
    assert [wanted for _, _, wanted in found] == [[0], [1]]
    assert ending == "ends at 2.00 s"


def test_b_frames_come_in_the_order_of_display(tmp_path):
    path = write_avi(tmp_path / "b.avi", FRAMES, "mpg2")
    # FFmpeg presents such a stream one frame late, and states no time for its last frame
    indices = [0, 1, 2, 3, 4, 20, 21, 22, 58, 59]
    found, ending = shown(path, np.append(0.0, (np.array(indices) + 1.4) / RATE))
    assert [index for index, _, _ in found] == indices
    assert found[0][2] == [0, 1], "the first frame is also on display before its time"
    assert not ending
    assert np.all(np.diff([time for _, time, _ in found]) > 0)


@pytest.mark.parametrize("packed", [False, True])
def test_b_frames_of_divx_come_in_the_order_of_display(tmp_path, packed):
    path = write_b_frames(tmp_path / "b.avi", 39, packed=packed)
    # one frame late as well, and the last one without a time
    found = list(displayed(path, (np.arange(39) + 1.4) / RATE))
    assert [list(picture.wanted) for picture in found] == [[k] for k in range(39)]
    images = [picture.image.astype(float) for picture in found]
    assert [index_of(images[k]) for k in range(0, 39, 2)] == list(range(0, 39, 2))
    means = [(images[k - 1] + images[k + 1]) / 2 for k in range(1, 39, 2)]
    for number, image in enumerate(images[1::2]):
        distances = [np.abs(image - mean).mean() for mean in means]
        assert np.argmin(distances) == number


def test_frames_left_out_keep_the_one_before_on_display(tmp_path):
    path = write_avi(tmp_path / "gap.avi", FRAMES, "MJPG")
    leave_out(path, range(20, 40))
    found, ending = shown(path, (np.array([5, 19, 25, 39, 40, 50]) + 0.4) / RATE)
    assert [(index, wanted) for index, _, wanted in found] == [
        (5, [0]),
        (19, [1, 2, 3]),
        (40, [4]),
        (50, [5]),
    ]
    assert not ending


@pytest.mark.parametrize("stated", [FRAMES - 3, FRAMES + 3, FRAMES // 2])
def test_a_stated_frame_count_does_not_matter(tmp_path, stated):
    path = write_avi(tmp_path / "count.avi", FRAMES)
    state_frames(path, stated)
    found, ending = shown(path, (np.array([3, 33, 59]) + 0.5) / RATE)
    assert [index for index, _, _ in found] == [3, 33, 59]
    assert not ending


@pytest.mark.parametrize("rate", [25.0, 30.0, 1000.0])
def test_the_rate_of_the_main_header_does_not_matter(tmp_path, rate):
    path = write_avi(tmp_path / "rate.avi", FRAMES)
    state_main_rate(path, rate)
    found, ending = shown(path, (np.array([3, 33, 59]) + 0.5) / RATE)
    assert [index for index, _, _ in found] == [3, 33, 59]
    assert not ending


def test_a_cut_file_keeps_the_frames_before_the_cut(tmp_path):
    path = write_avi(tmp_path / "cut.avi", 120)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    found, ending = shown(path, (np.array([3, 30, 115]) + 0.5) / RATE)
    assert [index for index, _, _ in found] == [3, 30]
    assert ending.startswith("breaks off at")
    assert ending.endswith("of the 4.00 s that its header states")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "is missing"),
        (b"", "cannot be opened as a video (0 bytes)"),
        (np.random.default_rng(0).bytes(20000), "cannot be opened as a video (20000 bytes)"),
    ],
)
def test_no_video(tmp_path, content, reason):
    path = tmp_path / "dialog.avi"
    if content is not None:
        path.write_bytes(content)
    assert shown(path, [0.5]) == ([], reason)


def test_a_video_that_the_system_does_not_let_read(tmp_path):
    (tmp_path / "dialog.avi").mkdir()
    found = shown(tmp_path / "dialog.avi", [0.5])
    assert found == ([], "cannot be read from the disk: Is a directory")


def test_headers_without_frames(tmp_path, avi):
    path = tmp_path / "headers.avi"
    content = avi.read_bytes()
    path.write_bytes(content[: content.index(b"movi") + 4])
    found, ending = shown(path, [0.5])
    assert not found
    assert ending


def test_decoders_write_nothing_to_stderr(tmp_path, avi):
    (tmp_path / "garbage.avi").write_bytes(b"x" * 5000)
    content = avi.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    script = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from pipeline.features.video import VideoError, displayed\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        list(displayed(Path(name), np.array([0.1, 1.9])))\n"
        "    except VideoError as error:\n"
        "        print(error)\n"
    )
    files = [str(tmp_path / name) for name in ("garbage.avi", "cut.avi")]
    run = subprocess.run(
        [sys.executable, "-c", script, *files], capture_output=True, text=True, check=True
    )
    assert len(run.stdout.splitlines()) == 2
    assert not run.stderr


def test_square_is_central_in_the_half_and_rgb():
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Cut(size=224)(image, "left"), image[128:352, 68:292, ::-1])
    np.testing.assert_array_equal(Cut(size=224)(image, "right"), image[128:352, 428:652, ::-1])
    np.testing.assert_array_equal(Cut(size=360)(image, "right"), image[60:420, 360:, ::-1])
    assert Cut(size=64)(image, "left").flags.c_contiguous


def test_square_of_the_whole_picture_is_central():
    image = np.random.default_rng(0).integers(0, 256, (480, 720, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Cut(size=480)(image, "whole"), image[:, 120:600, ::-1])


def test_square_that_does_not_fit_names_the_parameter():
    image = np.zeros((240, 320, 3), np.uint8)
    with pytest.raises(VideoError, match=r"320 x 240 .* set the stream's crop to 160 or less"):
        Cut(size=224)(image, "left")


def read(path: Path, segments: list[Segment]) -> list[Crop]:
    found = [crop for _, crop in crops(path, segments, [Cut(size=SQUARE)])]
    return [crop for crop in found if not isinstance(crop, VideoError)]


def test_crops_show_the_right_half_at_the_right_time(avi):
    found = read(avi, [Segment(np.array([0.51]), "left"), Segment(np.array([1.01]), "right")])
    first, second = (round(crop.time * RATE) for crop in found)
    assert (first, second) == (15, 30)
    assert [code(crop.image) for crop in found] == [first, 127 - second]
    red = found[0].image[SQUARE * 7 // 8, SQUARE // 2]
    assert red[0] > 200
    assert red[2] < 60


def test_overlapping_segments_share_frames_of_the_same_half(avi):
    times = np.array([0.2, 0.6, 1.0])
    found = read(
        avi,
        [Segment(times, "left"), Segment(times[1:] + 0.001, "right"), Segment(times[1:], "left")],
    )
    assert [(crop.segments, round(crop.time, 1)) for crop in found] == [
        ([0], 0.2),
        ([0, 2], 0.6),
        ([1], 0.6),
        ([0, 2], 1.0),
        ([1], 1.0),
    ]
    assert [code(crop.image) > 63 for crop in found] == [False, False, True, False, True]


def test_only_frames_in_demand_are_converted(avi, monkeypatch):
    converted = []
    real = cv2.VideoCapture

    class Counting:
        def __init__(self, *arguments):
            self._capture = real(*arguments)

        def __getattr__(self, name):
            if name == "retrieve":
                converted.append(name)
            return getattr(self._capture, name)

    monkeypatch.setattr(cv2, "VideoCapture", Counting)
    found, _ = shown(avi, [0.5, 1.0, 1.5])
    assert len(found) == 3
    assert len(converted) <= 2 * len(found)


def state(monkeypatch, name: int, value: float) -> None:
    """Have videos state another value of one property."""
    real = cv2.VideoCapture

    class Stating:
        def __init__(self, *arguments):
            self._capture = real(*arguments)

        def __getattr__(self, attribute):
            return getattr(self._capture, attribute)

        def get(self, asked):
            return value if asked == name else self._capture.get(asked)

    monkeypatch.setattr(cv2, "VideoCapture", Stating)


@pytest.mark.parametrize("rate", [0.0, -25.0, np.nan, np.inf])
def test_a_frame_rate_that_cannot_be_is_an_error(avi, monkeypatch, rate):
    state(monkeypatch, cv2.CAP_PROP_FPS, rate)
    assert shown(avi, [0.5]) == ([], f"states an impossible frame rate: {rate}")


def test_without_times_frames_follow_each_other_at_the_stated_rate(avi, monkeypatch):
    state(monkeypatch, cv2.CAP_PROP_POS_MSEC, 0.0)
    found, ending = shown(avi, (np.array([3, 33, 59]) + 0.5) / RATE)
    assert [index for index, _, _ in found] == [3, 33, 59]
    assert not ending


@pytest.mark.parametrize(
    ("missing", "ending"),
    [(0, "ends at 2.00 s"), (29, "ends at 2.00 s"), (31, "breaks off at 2.00 s of the 3.04 s")],
)
def test_a_video_breaks_off_if_its_header_states_a_second_more(tmp_path, missing, ending):
    path = write_avi(tmp_path / "short.avi", FRAMES)
    state_frames(path, FRAMES + missing)
    assert shown(path, [9.0])[1].startswith(ending)
