"""Embeddings of frames, the weights they come from, and dialogs with every kind of fault."""

import copy
import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from pipeline.features.extraction import extract
from pipeline.features.resnet import Embedder, headless
from pipeline.features.video import square, wanted_times
from pipeline.features.visual import VisualExtractor
from pipeline.params import Visual
from pipeline.torchvision_shim import torchvision_operators
from pipeline.weights import WeightsError, sha256
from tests.videos import RATE, SQUARE, picture, write_avi

torchvision_operators()
from torchvision import models  # noqa: E402

FRAMES = 60
VIDEO = "Session1/dialog/avi/DivX/Ses01F_impro01.avi"
PARAMETERS = Visual(
    network="resnet18",
    weights="random",
    frames_per_second=3.0,
    max_frames=32,
    crop=96,
    marked_actor="left",
    batch_size=4,
)


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


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.stack([square(picture(index), "left", 128) for index in (1, 40, 77)])


def trained(name: str) -> torch.nn.Module:
    """Build a whole network, with a last layer and batch norms that are not the default."""
    torch.manual_seed(7)
    network = models.get_model(name, weights=None).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return network


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return trained("resnet18")


def reference(network: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """Pool the last feature maps of torchvision's own forward pass, in float64."""
    body = torch.nn.Sequential(*list(copy.deepcopy(network).double().children())[:-2])
    mean = np.array([0.485, 0.456, 0.406])
    std = np.array([0.229, 0.224, 0.225])
    scaled = torch.from_numpy((images / 255.0 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        return body(scaled).mean(dim=(2, 3)).numpy()


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
            "side": sides,
        }
    )


def extractor(root: Path, **changes) -> VisualExtractor:
    return VisualExtractor(PARAMETERS.model_copy(update=changes), root, "cpu")


# --- weights ---------------------------------------------------------------------------------


def assert_rounded(values: np.ndarray, exact: np.ndarray) -> None:
    """Assert that `values` are `exact` but for the rounding of float32 in a deep network."""
    error = np.abs(values - exact).max() / np.abs(exact).max()
    assert error < 16 * np.finfo(np.float32).eps


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])  # of basic and of bottleneck blocks
def test_a_state_dict_gives_the_values_of_torchvisions_own_network(tmp_path, images, name, ending):
    network = trained(name)
    path = tmp_path / f"weights{ending}"
    (save_file if ending == ".safetensors" else torch.save)(network.state_dict(), path)
    embedder = Embedder(name, str(path), "cpu")
    assert_rounded(embedder(images), reference(network, images))
    assert embedder.identity["weights"] == path.name


@pytest.mark.parametrize("name", ["resnet18", "resnet101"])
def test_folding_batch_norms_changes_neither_values_nor_identity(images, name):
    embedder = Embedder(name, "random", "cpu")
    network, size = headless(name, "random")
    network.fc = torch.nn.Linear(size, 1)  # what `reference` leaves out
    assert_rounded(embedder(images), reference(network, images))
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        if not key.startswith("fc.") and value.ndim:  # no counters
            digest.update(f"{key} {value.dtype} {list(value.shape)}\n".encode())
            digest.update(value.numpy().tobytes())
    assert embedder.identity["weights_sha256"] == digest.hexdigest()


def test_the_digest_is_of_what_decides_the_values(tmp_path, network):
    state = network.state_dict()
    without = {
        name: value
        for name, value in state.items()
        if not name.startswith("fc.") and "num_batches" not in name
    }
    changed = dict(without, **{"bn1.bias": without["bn1.bias"] + 1e-6})
    digests = []
    for number, content in enumerate((state, without, changed)):
        torch.save(content, tmp_path / f"{number}.pth")
        embedder = Embedder("resnet18", str(tmp_path / f"{number}.pth"), "cpu")
        digests.append(embedder.identity["weights_sha256"])
    assert digests[0] == digests[1] != digests[2]


def test_random_weights_are_the_same_each_time_and_leave_the_generator_alone(embedder, images):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    again = Embedder("resnet18", "random", "cpu")
    assert torch.equal(torch.rand(2), expected)
    assert again.identity == embedder.identity
    assert again(images).tobytes() == embedder(images).tobytes()


@pytest.mark.parametrize(("network", "size"), [("resnet18", 512), ("resnet101", 2048)])
def test_random_networks_of_any_depth_stay_in_range(images, network, size):
    values = Embedder(network, "random", "cpu")(images)
    assert values.shape == (len(images), size)
    assert values.dtype == np.float32
    assert 0.01 < np.abs(values).mean() < 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("conv1.weight"), "lacks conv1.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), "has an unknown extra"),
        (
            lambda state: state.update({"bn1.bias": torch.zeros(3)}),
            r"has bn1.bias of \[3\], not \[64\]",
        ),
        (lambda state: state["bn1.bias"].fill_(float("nan")), "in bn1.bias that are not finite"),
    ],
)
def test_a_state_dict_that_does_not_fit(tmp_path, network, change, message):
    state = {name: value.clone() for name, value in network.state_dict().items()}
    change(state)
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError, match=rf"visual\.weights: .*weights\.pth .*{message}"):
        Embedder("resnet18", str(path), "cpu")


def test_a_state_dict_of_another_network_is_summed_up(tmp_path, network):
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"does not fit visual\.network: .* and \d+ more"):
        Embedder("resnet50", str(tmp_path / "weights.pth"), "cpu")


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"no weights at all" * 99])
def test_a_file_without_weights(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"visual\.weights: .*{name}"):
        Embedder("resnet18", str(tmp_path / name), "cpu")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model"])
def test_a_state_dict_of_a_wrapped_network_or_a_checkpoint(tmp_path, network, prefix, key):
    plain = network.state_dict()
    state = {f"{prefix}{name}": value for name, value in plain.items()}
    torch.save(plain, tmp_path / "plain.pth")
    torch.save({"epoch": 3, key: state} if key else state, tmp_path / "wrapped.pth")
    digests = {
        Embedder("resnet18", str(tmp_path / f"{name}.pth"), "cpu").identity["weights_sha256"]
        for name in ("plain", "wrapped")
    }
    assert len(digests) == 1


def test_a_prefix_of_some_names_only_is_unknown(tmp_path, network):
    state = dict(network.state_dict())
    state["module.conv1.weight"] = state["conv1.weight"]
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"has an unknown module\.conv1\.weight"):
        Embedder("resnet18", str(tmp_path / "weights.pth"), "cpu")


@pytest.mark.filterwarnings("ignore")  # of torch.jit
@pytest.mark.parametrize("what", ["list", "model", "checkpoint", "script"])
def test_what_is_no_state_dict_says_what_to_save(tmp_path, network, what):
    path = tmp_path / "weights.pth"
    if what == "script":
        torch.jit.trace(network, torch.zeros(1, 3, 64, 64)).save(path)
    else:
        content = {"list": [1, 2], "model": network, "checkpoint": {"epoch": 3, "net": network}}
        torch.save(content[what], path)
    with pytest.raises(WeightsError, match="is not a state dict") as caught:
        Embedder("resnet18", str(path), "cpu")
    assert "torch.save(model.state_dict(), 'weights.pth')" in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_an_unknown_weight_name_lists_the_known():
    with pytest.raises(WeightsError, match="allowed are IMAGENET1K_V1, IMAGENET1K_V2, a state"):
        Embedder("resnet101", "IMAGENET1K_V3", "cpu")


def test_weights_put_in_place_by_hand_are_used(monkeypatch, tmp_path, network, images):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    made = tmp_path / "made.pth"
    torch.save(network.state_dict(), made)
    place = tmp_path / "checkpoints" / f"resnet18-{sha256(made)[:8]}.pth"
    place.parent.mkdir()
    made.rename(place)
    entry = models.ResNet18_Weights.IMAGENET1K_V1.value
    monkeypatch.setattr(entry, "url", f"https://download.pytorch.org/models/{place.name}")
    values = Embedder("resnet18", "IMAGENET1K_V1", "cpu")(images)
    assert_rounded(values, reference(network, images))


# --- dialogs ---------------------------------------------------------------------------------


def test_an_utterance_gets_the_embeddings_of_its_frames(root, embedder):
    rows = rows_of((0.2, 1.0, "left"), (1.2, 1.9, "right"))
    arrays, problems = extractor(root, crop=SQUARE).dialog(rows)
    assert not problems
    assert arrays["resnet/lengths"].tolist() == [2, 2]
    wanted = np.concatenate([wanted_times(0.2, 1.0, 3, 32), wanted_times(1.2, 1.9, 3, 32)])
    indices = np.floor(wanted * RATE).astype(int)
    np.testing.assert_allclose(arrays["resnet/times"], indices / RATE, atol=1e-3)
    assert arrays["resnet/times"].dtype == np.float64
    sides = ["left", "left", "right", "right"]
    drawn = [
        square(picture(index), side, SQUARE) for index, side in zip(indices, sides, strict=True)
    ]
    # the drawn pictures went through a lossy codec
    expected = embedder(np.stack(drawn))
    distance = np.linalg.norm(arrays["resnet/values"][:, None] - expected[None], axis=-1)
    assert distance.argmin(axis=1).tolist() == [0, 1, 2, 3]


def test_the_batch_size_and_company_do_not_matter(root):
    rows = rows_of((0.0, 1.9, "left"), (0.3, 1.4, "right"), (0.5, 1.0, "left"))
    together, _ = extractor(root).dialog(rows)
    single, _ = extractor(root, batch_size=1).dialog(rows)
    assert together["resnet/times"].tolist() == single["resnet/times"].tolist()
    np.testing.assert_allclose(
        together["resnet/values"], single["resnet/values"], rtol=1e-4, atol=1e-5
    )
    alone, _ = extractor(root).dialog(rows.iloc[1:2])
    start, stop = np.cumsum(together["resnet/lengths"])[:2]
    np.testing.assert_allclose(
        together["resnet/values"][start:stop], alone["resnet/values"], rtol=1e-4, atol=1e-5
    )


def test_the_same_frames_are_embedded_once(root, monkeypatch):
    sizes = []
    embed = Embedder.__call__

    def counting(self: Embedder, images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        return embed(self, images)

    monkeypatch.setattr(Embedder, "__call__", counting)
    rows = rows_of((0.0, 1.0, "left"), (0.0, 1.0, "left"), (0.0, 1.0, "right"))
    arrays, _ = extractor(root).dialog(rows)
    assert sizes == [4, 2]
    first, second, third = np.split(arrays["resnet/values"], 3)
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, third)


def test_two_runs_give_the_same_bytes(root):
    rows = rows_of((0.0, 1.9, "left"), (0.3, 1.4, "right"))
    first, second = (extractor(root).dialog(rows)[0] for _ in range(2))
    assert {name: array.tobytes() for name, array in first.items()} == {
        name: array.tobytes() for name, array in second.items()
    }


def test_no_byte_depends_on_the_number_of_cores(root):
    rows = rows_of((0.0, 1.9, "left"), (0.3, 1.4, "right"))
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)  # as torch does by itself, one a core
            found.append(extractor(root).dialog(rows)[0]["resnet/values"].tobytes())
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]


def test_the_rate_and_the_limit_set_the_number_of_frames(root):
    rows = rows_of((0.0, 1.9, "left"))
    for changes, length in (({}, 6), ({"frames_per_second": 2.0}, 4), ({"max_frames": 3}, 3)):
        arrays, _ = extractor(root, **changes).dialog(rows)
        assert arrays["resnet/lengths"].tolist() == [length]


def test_an_utterance_past_the_end_keeps_the_frames_it_has(root):
    rows = rows_of((0.5, 1.0, "left"), (1.0, 3.0, "right"), (2.5, 3.0, "left"))
    arrays, problems = extractor(root).dialog(rows)
    assert arrays["resnet/lengths"].tolist() == [1, 3, 0]
    assert [(problem.utterance, problem.reason) for problem in problems] == [
        ("Ses01F_impro01_001", f"3 of 6 frames: {VIDEO} ends at 2.00 s"),
        ("Ses01F_impro01_002", f"0 of 1 frames: {VIDEO} ends at 2.00 s"),
    ]


@pytest.mark.parametrize(
    ("video", "reason"),
    [
        ("", "the corpus has no video of the dialog"),
        ("gone.avi", "gone.avi is missing"),
        ("garbage.avi", "garbage.avi cannot be opened as a video"),
    ],
)
def test_without_a_video_sequences_are_empty(root, video, reason):
    rows = rows_of((0.0, 1.0, "left"), (1.0, 1.5, "right"), video=video)
    visual = extractor(root)
    arrays, problems = visual.dialog(rows)
    assert arrays["resnet/lengths"].tolist() == [0, 0]
    assert arrays["resnet/values"].shape == (0, 512)
    assert arrays["resnet/values"].dtype == np.float32
    assert [problem.utterance for problem in problems] == rows["utterance"].tolist()
    assert all(reason in problem.reason for problem in problems)
    assert visual.sources(rows) == ([root / video] if video else [])


def test_a_cut_video_keeps_the_frames_before_the_cut(root):
    rows = rows_of((0.0, 0.4, "left"), (1.5, 1.9, "right"), video="cut.avi")
    arrays, problems = extractor(root).dialog(rows)
    assert arrays["resnet/lengths"].tolist() == [1, 0]
    assert [problem.utterance for problem in problems] == ["Ses01F_impro01_001"]
    assert "cut.avi breaks off at" in problems[0].reason


def test_a_crop_that_does_not_fit_is_reported(root):
    _, problems = extractor(root, crop=400).dialog(rows_of((0.0, 0.4, "left")))
    assert "set visual.crop to 360 or less" in problems[0].reason


def test_identity_names_what_decides_the_values_and_no_more(root):
    identity = extractor(root).identity()
    assert json.loads(json.dumps(identity)) == identity
    assert identity == extractor(root, batch_size=9, marked_actor="right").identity()
    for change in ({"frames_per_second": 2.0}, {"max_frames": 5}, {"crop": 200}):
        assert identity != extractor(root, **change).identity()
    assert str(root) not in json.dumps(identity)


def test_an_extractor_can_be_sent_to_another_process(root):
    visual = extractor(root)
    rows = rows_of((0.0, 0.4, "left"))
    arrays, _ = visual.dialog(rows)
    sent = pickle.dumps(visual)
    assert len(sent) < 5000, "the network is not sent"
    assert pickle.loads(sent).embedder is visual.embedder, "a process builds one network"
    again, _ = pickle.loads(sent).dialog(rows)
    np.testing.assert_array_equal(arrays["resnet/values"], again["resnet/values"])


def test_extraction_writes_the_store_layout(root, tmp_path):
    table = rows_of((0.0, 1.0, "left"), (5.0, 6.0, "right"))
    extract(
        extractor(root),
        table,
        parts=tmp_path / "parts",
        output=tmp_path / "visual.h5",
        report=tmp_path / "visual.json",
    )
    with h5py.File(tmp_path / "visual.h5") as file:
        assert file["resnet/offsets"][:].tolist() == [0, 3, 3]
        assert file["resnet/values"].shape == (3, 512)
        assert file["resnet/times"].shape == (3,)
    assert len(json.loads((tmp_path / "visual.json").read_text())["problems"]) == 1


# --- torchvision beside a CPU build of torch --------------------------------------------------


def test_torchvision_imports_after_the_declarations_however_often_they_are_made():
    script = (
        "import torch\n"
        "from pipeline.torchvision_shim import torchvision_operators\n"
        "torchvision_operators(); torchvision_operators()\n"
        "import gc; gc.collect()\n"
        "import torchvision.models, torchvision.transforms\n"
        "torchvision_operators()\n"
        "print(torchvision.models.resnet18(weights=None).fc.in_features)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "512"


def test_a_cuda_build_is_left_alone():
    script = (
        "import torch\n"
        "torch.version.cuda = '13.0'\n"
        "from pipeline import torchvision_shim\n"
        "torchvision_shim.torchvision_operators()\n"
        "print(torchvision_shim._libraries)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
