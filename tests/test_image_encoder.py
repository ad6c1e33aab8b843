"""Vision encoders: pooled hidden states of frames, against those of transformers, one by one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import params
from pipeline.corpus.utterance import Source, Utterance
from pipeline.features import crops, video
from pipeline.features.extractor import Context, Steps
from pipeline.features.image_encoder import ImageEncoder
from pipeline.features.pretrained import WeightsError
from pipeline.system.torchvision_shim import torchvision_operators
from tests import videos
from tests.extractors import save_network

torchvision_operators()
import torch  # noqa: E402
import transformers  # noqa: E402

CROP, SIZE = 96, 32  # pixels, of crops and of what the networks read
SMALL: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL |= {"image_size": SIZE, "patch_size": 8}
WIDE = SMALL | {"intermediate_size": 48}
WORDS: dict[str, Any] = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 9,
}
WORDS |= {"intermediate_size": 8}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    videos.write_avi(root / "film.avi", 60, "MJPG")
    return root


FAMILIES: dict[str, tuple[Callable[[], Any], str, str, int]] = {
    # configuration, class of the vision part, image processor, tokens before the patches
    "clip": (lambda: transformers.CLIPVisionConfig(**WIDE), "CLIPVisionModel", "CLIP", 1),
    "whole clip": (
        lambda: transformers.CLIPConfig(vision_config=WIDE, text_config=WORDS, projection_dim=8),
        "CLIPVisionModel",
        "CLIP",
        1,
    ),
    "siglip": (lambda: transformers.SiglipVisionConfig(**WIDE), "SiglipVisionModel", "Siglip", 0),
    "whole siglip": (
        lambda: transformers.SiglipConfig(vision_config=WIDE, text_config=WORDS),
        "SiglipVisionModel",
        "Siglip",
        0,
    ),
    "dinov2": (lambda: transformers.Dinov2Config(**SMALL), "Dinov2Model", "Bit", 1),
    "dinov2 with registers": (
        lambda: transformers.Dinov2WithRegistersConfig(**SMALL, num_register_tokens=3),
        "Dinov2WithRegistersModel",
        "Bit",
        4,
    ),
    "vit": (lambda: transformers.ViTConfig(**WIDE), "ViTModel", "ViT", 1),
    "convnext": (
        lambda: transformers.ConvNextConfig(
            num_stages=3, hidden_sizes=[6, 12, 24], depths=[1, 1, 1]
        ),
        "ConvNextModel",
        "ConvNext",
        0,
    ),
}
CLASSES = [name for name, (*_, tokens) in FAMILIES.items() if tokens]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Save a small model of a family with its image processor, once."""
    saved: dict[str, Path] = {}

    def save(family: str) -> Path:
        if family not in saved:
            saved[family] = tmp_path_factory.mktemp("model")
            config, _, processor, _ = FAMILIES[family]
            save_network(saved[family], config())
            sizes: dict[str, Any] = {"size": {"height": SIZE, "width": SIZE}}
            if processor in ("CLIP", "Bit"):
                sizes = {"size": {"shortest_edge": SIZE + 8}, "crop_size": SIZE}
            if processor == "ConvNext":
                sizes = {"size": {"shortest_edge": SIZE}, "crop_pct": 0.875}
            kind = getattr(transformers, f"{processor}ImageProcessor")
            kind(**sizes).save_pretrained(saved[family])
        return saved[family]

    return save


def context(root: Path) -> Context:
    return Context(root, "cpu", params.Visual(frames_per_second=4.0, max_frames=32, streams={}))


SEEN = [
    Utterance("U0", "D", 0.1, 1.2, video=Source("film.avi", "left")),
    Utterance("U1", "D", 0.9, 1.6, video=Source("film.avi", "right")),
    Utterance("U2", "D", 0.0, 1.0),
]


def embedded(root: Path, extractor: ImageEncoder) -> list[Steps]:
    extractor.prepare(SEEN, context(root))
    return extractor.extract(SEEN, {}, context(root))


def seen(root: Path) -> list[np.ndarray]:
    """The crops of the first utterance and of the second."""
    film = root / "film.avi"
    taken = []
    for one in SEEN[:2]:
        assert one.video
        segment = video.Segment(video.wanted_times(one.start, one.end, 4.0, 32), one.video.place)
        for _, crop in crops.crops(film, [segment], [crops.Cut(size=CROP)]):
            assert isinstance(crop, crops.Crop)
            taken.append(crop.image)
    return taken


def plain(folder: Path, family: str, pooling: str, images: list[np.ndarray]) -> list[np.ndarray]:
    """Each layer [T, D] by transformers alone, one picture at a time."""
    _, network, _, tokens = FAMILIES[family]
    model = getattr(transformers, network).from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="torchvision")
    rows = []
    for image in images:
        pixels = processor(images=image, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            hidden = model(pixels, output_hidden_states=True).hidden_states
        if family == "convnext":
            rows.append([layer[0].flatten(1).mean(1) for layer in hidden])
        elif pooling == "class":
            rows.append([layer[0, 0] for layer in hidden])
        else:
            assert hidden[0].shape[1] == tokens + (SIZE // 8) ** 2
            rows.append([layer[0, tokens:].mean(0) for layer in hidden])
    return [np.stack([row[layer].numpy() for row in rows]) for layer in range(len(rows[0]))]


@pytest.mark.parametrize(
    ("family", "pooling"),
    [*((name, "mean") for name in FAMILIES), *((name, "class") for name in CLASSES)],
)
def test_every_layer_equals_that_of_transformers(root, folder, family, pooling):
    path = folder(family)
    expected = plain(path, family, pooling, seen(root))
    for number, layer in enumerate(expected):
        for batch_size in (1, 3, 32) if number == len(expected) - 1 else (3,):
            extractor = ImageEncoder(
                model=str(path), crop=CROP, layers=[number], pooling=pooling, batch_size=batch_size
            )
            steps = embedded(root, extractor)
            assert [len(step.values) for step in steps] == [4, 3, 0]
            assert steps[2].values.shape == (0, layer.shape[1]) and "no video" in steps[2].problem
            found = np.concatenate([step.values for step in steps])
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, layer, rtol=1e-4, atol=1e-4)
    last, other = (layer[:, :6] for layer in expected[-2:])
    assert not np.allclose(last, other), "layers differ, so that one can be taken for another"


def test_several_layers_are_stacked(root, folder):
    path = folder("vit")
    expected = plain(path, "vit", "class", seen(root))
    several = ImageEncoder(model=str(path), crop=CROP, layers=[-1, 0], pooling="class")
    steps = embedded(root, several)
    assert several.layer_numbers() == [2, 0]
    assert steps[2].values.shape == (0, 2, 24)
    found = np.concatenate([step.values for step in steps])
    np.testing.assert_allclose(found, np.stack([expected[2], expected[0]], 1), atol=1e-4)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", ["vit", "convnext"])
def test_it_computes_in_the_precision(root, folder, family, precision):
    exact, coarse = (
        embedded(root, ImageEncoder(model=str(folder(family)), crop=CROP, precision=of))[0].values
        for of in ("float32", precision)
    )
    assert coarse.dtype == np.float32
    assert 0 < np.abs(coarse - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in CLASSES])
def test_without_a_class_token_there_is_only_the_mean(root, folder, family):
    extractor = ImageEncoder(model=str(folder(family)), crop=CROP, pooling="class")
    with pytest.raises(WeightsError, match=r"^pooling: is class, but .* has no class token; set m"):
        embedded(root, extractor)


def test_layers_of_different_width_are_no_stream(root, folder):
    extractor = ImageEncoder(model=str(folder("convnext")), crop=CROP, layers=[0, 1, 2])
    with pytest.raises(WeightsError, match=r"^layers: .* have 6, 6, 12 values; list layers of the"):
        embedded(root, extractor)
    same = extractor.model_copy(update={"layers": [0, 1]})
    assert embedded(root, same)[0].values.shape == (4, 2, 6)


def test_a_layer_that_is_not_there_is_an_error(root, folder):
    extractor = ImageEncoder(model=str(folder("convnext")), crop=CROP, layers=[4])
    with pytest.raises(WeightsError, match=r"^layers: is 4, .* to 3, or -4 to -1"):
        embedded(root, extractor)


def test_the_identity_names_what_decides_the_values(root, folder):
    extractor = ImageEncoder(model=str(folder("vit")), crop=CROP)
    identity = extractor.identity(context(root))
    assert json.loads(json.dumps(identity)) == identity
    assert identity["preprocessing"] == "torchvision"
    assert "preprocessor_config.json" in identity["weights"]
    change: dict[str, Any]
    for change in ({"batch_size": 9}, {"revision": "main"}, {"precision": "float32"}):
        assert extractor.model_copy(update=change).identity(context(root)) == identity
    for change in ({"crop": 64}, {"region": "square"}, {"pooling": "class"}, {"layers": [0]}):
        assert extractor.model_copy(update=change).identity(context(root)) != identity


def test_the_processor_of_a_whole_model_may_be_in_its_own_file(root, folder, tmp_path):
    """As processors of pictures and words together are saved."""
    for path in folder("whole clip").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    own = tmp_path / "preprocessor_config.json"
    content = {"image_processor": json.loads(own.read_text()), "processor_class": "CLIPProcessor"}
    own.unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps(content))
    found, expected = (
        embedded(root, ImageEncoder(model=str(path), crop=CROP))[0].values
        for path in (tmp_path, folder("whole clip"))
    )
    np.testing.assert_array_equal(found, expected)


def refused(folder: Path, config: Any) -> ImageEncoder:
    """A folder with settings that no picture encoder has; its weights are not read."""
    config.save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"")
    transformers.ViTImageProcessor().save_pretrained(folder)
    return ImageEncoder(model=str(folder))


def test_a_model_of_words_is_an_error(root, tmp_path):
    extractor = refused(tmp_path, transformers.BertConfig(num_hidden_layers=1))
    with pytest.raises(WeightsError, match=r"^model: .* is not an encoder of single pictures: "):
        embedded(root, extractor)


def test_a_model_that_hides_patches_at_random_is_an_error(root, tmp_path):
    extractor = refused(tmp_path, transformers.ViTMAEConfig(num_hidden_layers=1))
    with pytest.raises(WeightsError, match=r"^model: .* hides patches at random; set model_type"):
        embedded(root, extractor)


def test_weights_of_another_network_are_an_error(root, folder, tmp_path):
    for path in folder("vit").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = folder("convnext") / "model.safetensors"
    (tmp_path / weights.name).write_bytes(weights.read_bytes())
    with pytest.raises(WeightsError, match=r"^model: the weights in .* lack .* config.json req"):
        embedded(root, ImageEncoder(model=str(tmp_path), crop=CROP))
