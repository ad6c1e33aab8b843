"""Embeddings of the frames of utterances, and dialogs with every kind of fault."""

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from pipeline import InputError
from pipeline.corpus.utterance import from_table
from pipeline.features import crops, video
from pipeline.features.crops import Crop, Cut
from pipeline.features.extraction import extract
from pipeline.features.extractor import Context, Steps
from pipeline.features.pretrained import WeightsError
from pipeline.features.resnet import Embedder
from pipeline.features.video import wanted_times
from pipeline.features.visual import Torchvision
from pipeline.params import Visual
from tests.videos import RATE, SQUARE, picture, write_avi

FRAMES = 60
VIDEO = "Session1/dialog/avi/DivX/Ses01F_impro01.avi"
STREAM = Torchvision(network="resnet18", weights="random", crop=96, batch_size=4)
SHARED = Visual(frames_per_second=3.0, max_frames=32, streams={})


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    (root / VIDEO).parent.mkdir(parents=True)
    write_avi(root / VIDEO, FRAMES)
    content = (root / VIDEO).read_bytes()
    (root / "cut.avi").write_bytes(content[: len(content) // 3])
    (root / "garbage.avi").write_bytes(b"no video" * 1000)
    return root


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder("resnet18", "random", "cpu")


def rows_of(*spans, video=VIDEO) -> pd.DataFrame:
    """Rows of utterances from (start, end, side)."""
    starts, ends, sides = zip(*spans, strict=True)
    return pd.DataFrame(
        {
            "utterance": [f"Ses01F_impro01_{index:03d}" for index in range(len(spans))],
            "dialog": "Ses01F_impro01",
            "start": starts,
            "end": ends,
            "video": video,
            "place": sides,
        }
    )


def context(root: Path, **changes) -> Context:
    """Where the streams run, with some parameters of `visual` changed."""
    return Context(root, "cpu", SHARED.model_copy(update=changes))


def stream(**changes) -> Torchvision:
    return STREAM.model_copy(update=changes)


def steps_of(root: Path, rows: pd.DataFrame, **changes) -> list[Steps]:
    return stream(**changes).extract(from_table(rows), {}, context(root))


def lengths(steps: list[Steps]) -> list[int]:
    return [len(step.values) for step in steps]


def values(steps: list[Steps]) -> np.ndarray:
    return np.concatenate([step.values for step in steps])


def times(steps: list[Steps]) -> np.ndarray:
    return np.concatenate([step.times for step in steps if step.times is not None])


def test_an_utterance_gets_the_embeddings_of_its_frames(root, embedder):
    rows = rows_of((0.2, 1.0, "left"), (1.2, 1.9, "right"))
    steps = steps_of(root, rows, crop=SQUARE)
    assert not any(step.problem for step in steps)
    assert lengths(steps) == [2, 2]
    wanted = np.concatenate([wanted_times(0.2, 1.0, 3, 32), wanted_times(1.2, 1.9, 3, 32)])
    indices = np.floor(wanted * RATE).astype(int)
    starts = np.array([0.2, 0.2, 1.2, 1.2])
    np.testing.assert_allclose(times(steps), indices / RATE - starts, atol=1e-3)
    assert times(steps).dtype == np.float64
    sides = ["left", "left", "right", "right"]
    drawn = [
        Cut(size=SQUARE)(picture(index), side) for index, side in zip(indices, sides, strict=True)
    ]
    # the drawn pictures went through a lossy codec
    expected = embedder(np.stack(drawn))
    distance = np.linalg.norm(values(steps)[:, None] - expected[None], axis=-1)
    assert distance.argmin(axis=1).tolist() == [0, 1, 2, 3]


def test_the_batch_size_and_company_do_not_matter(root):
    rows = rows_of((0.0, 1.9, "left"), (0.3, 1.4, "right"), (0.5, 1.0, "left"))
    together = steps_of(root, rows)
    single = steps_of(root, rows, batch_size=1)
    assert times(together).tolist() == times(single).tolist()
    np.testing.assert_allclose(values(together), values(single), rtol=1e-4, atol=1e-5)
    (alone,) = steps_of(root, rows.iloc[1:2])
    np.testing.assert_allclose(together[1].values, alone.values, rtol=1e-4, atol=1e-5)


def test_the_same_frames_are_embedded_once(root, monkeypatch):
    sizes = []
    embed = Embedder.__call__

    def counting(self: Embedder, images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        return embed(self, images)

    monkeypatch.setattr(Embedder, "__call__", counting)
    rows = rows_of((0.0, 1.0, "left"), (0.0, 1.0, "left"), (0.0, 1.0, "right"))
    first, second, third = (step.values for step in steps_of(root, rows))
    assert sizes == [4, 2]
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, third)


def test_two_runs_give_the_same_bytes(root):
    rows = rows_of((0.0, 1.9, "left"), (0.3, 1.4, "right"))
    first, second = (steps_of(root, rows) for _ in range(2))
    assert values(first).tobytes() == values(second).tobytes()
    assert times(first).tobytes() == times(second).tobytes()


def test_no_byte_depends_on_the_number_of_cores(root):
    rows = rows_of((0.0, 1.9, "left"), (0.3, 1.4, "right"))
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)  # as torch does by itself, one per core
            found.append(values(steps_of(root, rows)).tobytes())
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("changes", "frames"), [({}, 6), ({"frames_per_second": 2.0}, 4), ({"max_frames": 3}, 3)]
)
def test_the_rate_and_the_limit_set_the_number_of_frames(root, changes, frames):
    utterances = from_table(rows_of((0.0, 1.9, "left")))
    assert lengths(STREAM.extract(utterances, {}, context(root, **changes))) == [frames]


def test_an_utterance_past_the_end_keeps_the_frames_it_has(root):
    steps = steps_of(root, rows_of((0.5, 1.0, "left"), (1.0, 3.0, "right"), (2.5, 3.0, "left")))
    assert lengths(steps) == [1, 3, 0]
    assert [step.problem for step in steps] == [
        "",
        f"3 of 6 frames: {VIDEO} ends at 2.00 s",
        f"0 of 1 frames: {VIDEO} ends at 2.00 s",
    ]


@pytest.mark.parametrize(
    ("video", "reason"),
    [
        ("", "there is no video of it"),
        ("gone.avi", "gone.avi is missing"),
        ("garbage.avi", "garbage.avi cannot be opened as a video"),
    ],
)
def test_without_a_video_sequences_are_empty(root, video, reason):
    rows = rows_of((0.0, 1.0, "left"), (1.0, 1.5, "right"), video=video)
    steps = steps_of(root, rows)
    assert lengths(steps) == [0, 0]
    assert len(times(steps)) == 0
    assert values(steps).shape == (0, 512)
    assert values(steps).dtype == np.float32
    assert all(reason in step.problem for step in steps)


def test_each_utterance_is_read_from_its_own_video(root):
    rows = rows_of((0.0, 0.4, "left"), (0.5, 0.9, "left"), (0.5, 0.9, "left"))
    rows["video"] = ["gone.avi", VIDEO, ""]
    steps = steps_of(root, rows)
    assert lengths(steps) == [0, 1, 0]
    assert "gone.avi is missing" in steps[0].problem
    assert not steps[1].problem
    assert "there is no video of it" in steps[2].problem


def test_a_cut_video_keeps_the_frames_before_the_cut(root):
    rows = rows_of((0.0, 0.4, "left"), (1.5, 1.9, "right"), video="cut.avi")
    steps = steps_of(root, rows)
    assert lengths(steps) == [1, 0]
    assert not steps[0].problem
    assert "cut.avi breaks off at" in steps[1].problem


def test_a_crop_that_does_not_fit_is_reported(root):
    (step,) = steps_of(root, rows_of((0.0, 0.4, "left")), crop=400)
    assert "set the stream's crop to 360 or less" in step.problem


def test_identity_names_what_decides_the_values_and_no_more(root):
    identity = STREAM.identity(context(root))
    assert json.loads(json.dumps(identity)) == identity
    assert str(root) not in json.dumps(identity)
    for change in ({"batch_size": 9}, {"compression": "lzf"}):
        assert identity == stream(**change).identity(context(root))
    for change in ({"crop": 200}, {"network": "resnet34"}, {"dtype": "float16"}):
        assert identity != stream(**change).identity(context(root))
    assert identity != STREAM.identity(context(root, frames_per_second=2.0))
    assert identity != STREAM.identity(context(root, max_frames=5))


def test_identity_depends_on_what_weights_hold_and_not_on_where_they_lie(root, tmp_path):
    found = []
    for folder, content in (("one", b"weights"), ("other", b"weights"), ("third", b"others")):
        path = tmp_path / folder / "weights.pth"
        path.parent.mkdir()
        path.write_bytes(content)
        found.append(stream(weights=str(path)).identity(context(root)))
    assert found[0] == found[1] != found[2]
    assert str(tmp_path) not in json.dumps(found)


def test_a_relative_folder_is_no_part_of_an_identity(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for path in ("weights.pth", "folder/weights.pth"):
        (tmp_path / path).write_bytes(b"weights")
    here, there, whole = (
        stream(weights=path).identity(context(root))
        for path in ("weights.pth", "folder/weights.pth", str(tmp_path / "weights.pth"))
    )
    assert here == there == whole


def test_what_changes_the_last_digits_is_recorded_beside_the_identity(root):
    provenance = STREAM.provenance(context(root))
    assert json.loads(json.dumps(provenance)) == provenance
    assert provenance["device"] == "cpu"
    assert {"opencv-python-headless", "torch", "torchvision"} <= provenance["versions"].keys()
    assert provenance != stream(batch_size=9).provenance(context(root))


def test_weights_that_do_not_fit_name_the_stream_and_the_parameter(root, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    rows = rows_of((0.0, 0.4, "left"))
    with pytest.raises(WeightsError, match=r"^visual\.streams\.resnet\.weights: .*does not fit"):
        extracted(root, tmp_path, rows, resnet=stream(weights=str(path)))
    path.unlink()
    with pytest.raises(WeightsError, match=r"^visual\.streams\.resnet\.weights: .*is missing"):
        extracted(root, tmp_path, rows, resnet=stream(weights=str(path)))


def test_an_extractor_can_be_sent_to_another_process(root):
    rows = rows_of((0.0, 0.4, "left"))
    steps = steps_of(root, rows)
    sent = pickle.dumps(STREAM)
    assert len(sent) < 5000, "the network is not sent"
    received = pickle.loads(sent)
    again = received.extract(from_table(rows), {}, context(root))
    np.testing.assert_array_equal(values(steps), values(again))
    assert received.embedder("cpu") is STREAM.embedder("cpu"), "a process builds one network"


def extracted(
    root: Path, folder: Path, rows: pd.DataFrame, **streams: Torchvision
) -> dict[str, dict[str, np.ndarray]]:
    """The datasets of each stream's file."""
    extract(
        *("visual", streams, from_table(rows), context(root)),
        kept=folder / "kept",
        output=folder / "out",
    )
    found = {}
    for name in streams:
        with h5py.File(folder / "out" / f"{name}.h5") as file:
            found[name] = {key: file[key][()] for key in file}
    return found


def test_extraction_writes_the_stream(root, tmp_path):
    table = rows_of((0.5, 1.5, "left"), (5.0, 6.0, "right"))
    found = extracted(root, tmp_path, table, resnet=STREAM)["resnet"]
    assert found["offsets"].tolist() == [0, 3, 3]
    assert found["values"].shape == (3, 512) and found["values"].dtype == np.float32
    assert found["times"].shape == (3,) and found["times"].dtype == np.float64
    # seconds in the utterance, of the frames on display in the middles of its thirds
    assert (np.abs(found["times"] - [1 / 6, 1 / 2, 5 / 6]) < 1 / RATE).all()
    assert found["problem_rows"].tolist() == [1]
    assert found["problems"].tolist() == [f"0 of 3 frames: {VIDEO} ends at 2.00 s".encode()]


def test_two_streams_of_one_video_stand_side_by_side(root, tmp_path):
    rows = rows_of((0.0, 1.0, "left"), (5.0, 6.0, "right"))
    streams = {"small": STREAM, "large": stream(crop=128)}
    both = extracted(root, tmp_path / "both", rows, **streams)
    for name, extractor in streams.items():
        alone = extracted(root, tmp_path / name, rows, **{name: extractor})[name]
        for key, array in alone.items():
            np.testing.assert_array_equal(both[name][key], array)
    assert not np.array_equal(both["small"]["values"], both["large"]["values"])


def test_streams_of_one_film_decode_it_once_and_have_the_bytes_of_one_alone(
    root, tmp_path, monkeypatch
):
    opened = []
    decode = video._scan

    def counting(path: Path, *others):
        opened.append(path.name)
        return decode(path, *others)

    monkeypatch.setattr(video, "_scan", counting)
    rows = rows_of((0.0, 1.9, "left"), (0.3, 1.4, "right"), (5.0, 6.0, "left"))
    rows["video"] = [VIDEO, VIDEO, "garbage.avi"]
    streams = {
        "one": STREAM,
        "two": stream(region="square", crop=64, batch_size=3),
        "deep": stream(network="resnet34", batch_size=7),
    }
    together = extracted(root, tmp_path / "together", rows, **streams)
    assert opened == [Path(VIDEO).name, "garbage.avi"]
    for name, extractor in streams.items():
        extracted(root, tmp_path / name, rows, **{name: extractor})
        alone, beside = (tmp_path / of / "out" / f"{name}.h5" for of in (name, "together"))
        assert alone.read_bytes() == beside.read_bytes()
        assert together[name]["problem_rows"].tolist() == [2]
        assert b"garbage.avi cannot be opened" in together[name]["problems"][0]


def test_what_ends_one_stream_does_not_end_another(root, tmp_path):
    """A crop that does not fit into the frames, and a film that breaks off for both."""
    rows = rows_of((0.0, 0.4, "left"), (1.5, 1.9, "right"), video="cut.avi")
    found = extracted(root, tmp_path, rows, wide=stream(crop=300), wider=stream(crop=400))
    assert found["wide"]["offsets"].tolist() == [0, 1, 1]
    assert found["wide"]["problem_rows"].tolist() == [1]
    assert b"cut.avi breaks off at" in found["wide"]["problems"][0]
    assert found["wider"]["offsets"].tolist() == [0, 0, 0]
    assert all(b"crop to 360 or less" in problem for problem in found["wider"]["problems"])


def test_an_error_names_the_stream_that_has_it(root, tmp_path):
    class Failing(Torchvision):
        def embed(self, images, device):
            raise InputError("batch_size: too large")

    failing = Failing(**STREAM.model_dump())
    rows = rows_of((0.0, 0.4, "left"))
    with pytest.raises(InputError, match=r"^visual\.streams\.second\.batch_size: too large"):
        extracted(root, tmp_path, rows, first=STREAM, second=failing)


def test_a_batch_a_stream_is_held_and_no_film(root, monkeypatch):
    """Crops that live at a time, of a film of 30 of them, in batches of 4."""
    alive = most = 0

    class Counted(Crop):
        def __init__(self, *fields):
            nonlocal alive, most
            super().__init__(*fields)
            alive += 1
            most = max(most, alive)

        def __del__(self):
            nonlocal alive
            alive -= 1

    monkeypatch.setattr(crops, "Crop", Counted)
    few = context(root, frames_per_second=15.0)
    steps = stream(batch_size=4).extract(from_table(rows_of((0.0, 2.0, "left"))), {}, few)
    assert lengths(steps) == [30]
    assert 4 <= most <= 16


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_it_computes_in_the_precision(root, precision):
    rows = rows_of((0.0, 0.9, "left"))
    exact, coarse = (values(steps_of(root, rows, precision=of)) for of in ("float32", precision))
    assert coarse.dtype == np.float32
    assert 0 < np.abs(coarse - exact).max() < 0.05 * np.abs(exact).max()
    identity = stream(precision=precision).identity(context(root))
    assert identity["parameters"]["precision"] == precision
    assert "precision" not in STREAM.identity(context(root))["parameters"]
