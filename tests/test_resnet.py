"""ResNets without their last layer, and the state dicts that fill them."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline.features.crops import Cut
from pipeline.features.pretrained import WeightsError, sha256
from pipeline.features.resnet import Embedder, headless
from pipeline.system.torchvision_shim import torchvision_operators
from tests.videos import picture

torchvision_operators()
from torchvision import models  # noqa: E402


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder("resnet18", "random", "cpu")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.stack([Cut(size=128)(picture(index), "left") for index in (1, 40, 77)])


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


def assert_rounded(values: np.ndarray, exact: np.ndarray) -> None:
    """Assert that `values` are `exact` but for the rounding of float32 in a deep network."""
    error = np.abs(values - exact).max() / np.abs(exact).max()
    assert error < 16 * np.finfo(np.float32).eps


@pytest.mark.parametrize(
    ("name", "ending"),
    # of basic and of bottleneck blocks
    [("resnet18", ".pth"), ("resnet50", ".safetensors")],
)
def test_a_state_dict_gives_the_values_of_torchvisions_own_network(tmp_path, images, name, ending):
    network = trained(name)
    path = tmp_path / f"weights{ending}"
    (save_file if ending == ".safetensors" else torch.save)(network.state_dict(), path)
    embedder = Embedder(name, str(path), "cpu")
    assert_rounded(embedder(images), reference(network, images))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_folding_batch_norms_changes_no_value(images, name):
    embedder = Embedder(name, "random", "cpu")
    network, size = headless(name, "random")
    network.fc = torch.nn.Linear(size, 1)  # what `reference` leaves out
    assert_rounded(embedder(images), reference(network, images))


def test_a_last_layer_and_counters_do_not_matter(tmp_path, network, images):
    state = network.state_dict()
    without = {
        name: value
        for name, value in state.items()
        if not name.startswith("fc.") and "num_batches" not in name
    }
    changed = dict(without, **{"bn1.bias": without["bn1.bias"] + 1e-3})
    found = []
    for number, content in enumerate((state, without, changed)):
        torch.save(content, tmp_path / f"{number}.pth")
        embedder = Embedder("resnet18", str(tmp_path / f"{number}.pth"), "cpu")
        found.append(embedder(images).tobytes())
    assert found[0] == found[1] != found[2]


def test_random_weights_are_the_same_each_time_and_leave_the_generator_alone(embedder, images):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    again = Embedder("resnet18", "random", "cpu")
    assert torch.equal(torch.rand(2), expected)
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
    with pytest.raises(WeightsError, match=rf"^weights: .*weights\.pth .*{message}"):
        Embedder("resnet18", str(path), "cpu")


def test_a_state_dict_of_another_network_is_summed_up(tmp_path, network):
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(
        WeightsError, match=r"^weights: .* does not fit the network: .* and \d+ more"
    ):
        Embedder("resnet50", str(tmp_path / "weights.pth"), "cpu")


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"no weights at all" * 99])
def test_a_file_without_weights(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"^weights: .*{name}"):
        Embedder("resnet18", str(tmp_path / name), "cpu")


def test_an_empty_file_is_said_to_be_one(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"weights\.pth cannot be read: .*(empty|cut|end)"):
        Embedder("resnet18", str(tmp_path / "weights.pth"), "cpu")


@pytest.mark.parametrize(
    ("prefix", "key"),
    [
        *[("module.", key) for key in (None, "state_dict", "model_state_dict", "model")],
        *[("module._orig_mod.", None), ("model.backbone.", "state_dict")],
    ],
)
def test_a_state_dict_of_a_wrapped_network_or_a_checkpoint(tmp_path, network, images, prefix, key):
    plain = network.state_dict()
    state = {f"{prefix}{name}": value for name, value in plain.items()}
    torch.save(plain, tmp_path / "plain.pth")
    torch.save({"epoch": 3, key: state} if key else state, tmp_path / "wrapped.pth")
    plain_values, wrapped_values = (
        Embedder("resnet18", str(tmp_path / f"{name}.pth"), "cpu")(images)
        for name in ("plain", "wrapped")
    )
    np.testing.assert_array_equal(plain_values, wrapped_values)


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


# --- torchvision beside a CPU build of torch --------------------------------------------------


def test_torchvision_imports_after_the_declarations_however_often_they_are_made():
    script = (
        "import torch\n"
        "from pipeline.system.torchvision_shim import torchvision_operators\n"
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
        "from pipeline.system import torchvision_shim\n"
        "torchvision_shim.torchvision_operators()\n"
        "print(torchvision_shim._libraries)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
