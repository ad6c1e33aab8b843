"""Pretrained networks of transformers: their weights, pickled or not, and never their code."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.features.pretrained import WeightsError
from pipeline.features.text_encoder import TextEncoder
from tests.extractors import save_bert, spoken, text_context

TEXT = "I am sad"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save_bert(tmp_path_factory.mktemp("bert")))


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def values(extractor: TextEncoder) -> np.ndarray:
    """States of one text, and of the same layers."""
    said = spoken(TEXT)
    (steps,) = extractor.extract(said, extractor.prepare(said, text_context()), text_context())
    return steps.values


def pickled(folder: Path) -> Path:
    """Replace a model's weights by pickled ones."""
    import torch
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    torch.save(load_file(file), folder / "pytorch_model.bin")
    file.unlink()
    return folder


class Malicious:
    """Its pickle makes a folder when it is loaded."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.made),)


def test_pickled_weights_are_refused_with_the_remedy(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"^model: .*pickle format only; .*pickled_weights"):
        TextEncoder(model=str(pickled(folder))).files()


def test_pickled_weights_give_the_same_values_by_parameter(tiny: Path, folder: Path) -> None:
    extractor = TextEncoder(model=str(pickled(folder)), pickled_weights=True)
    np.testing.assert_array_equal(values(extractor), values(TextEncoder(model=str(tiny))))
    assert "pytorch_model.bin" in extractor.files()


def test_a_malicious_pickle_does_not_run(folder: Path, tmp_path: Path) -> None:
    import torch

    made = tmp_path / "made"
    torch.save({"weight": Malicious(made)}, pickled(folder) / "pytorch_model.bin")
    with pytest.raises(
        WeightsError, match=r"^model: the weights in .* more than tensors"
    ) as caught:
        values(TextEncoder(model=str(folder), pickled_weights=True))
    assert not made.exists() and "weights_only" not in str(caught.value)
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert made.exists(), "the test's pickle does what it should"


def with_code(folder: Path, tmp_path: Path, *, model_type: str, file: str) -> Path:
    """Add code to a model that its configuration or tokenizer asks for; return what it makes."""
    made = tmp_path / "made"
    code = f"import os\nos.mkdir({str(made)!r})\n"
    (folder / "own.py").write_text(code + "class Own:\n    pass\n")
    settings = json.loads((folder / file).read_text())
    classes = dict.fromkeys(("AutoConfig", "AutoModel"), "own.Own")
    settings["auto_map"] = classes | {"AutoTokenizer": ["own.Own", "own.Own"]}
    if file == "config.json":
        settings |= {"model_type": model_type}
    else:
        settings |= {"tokenizer_class": "Own"}
    (folder / file).write_text(json.dumps(settings))
    return made


def test_a_model_that_needs_code_of_its_own_is_an_error(folder: Path, tmp_path: Path) -> None:
    made = with_code(folder, tmp_path, model_type="own", file="config.json")
    with pytest.raises(WeightsError, match="needs code of its own, which is never run") as caught:
        values(TextEncoder(model=str(folder)))
    assert "trust_remote_code" not in str(caught.value)
    assert not made.exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_beside_a_model_that_transformers_has_is_not_run(
    folder: Path, tiny: Path, tmp_path: Path, file: str
) -> None:
    made = with_code(folder, tmp_path, model_type="bert", file=file)
    found = values(TextEncoder(model=str(folder)))
    np.testing.assert_array_equal(found, values(TextEncoder(model=str(tiny))))
    assert not made.exists()


def test_weights_in_parts_give_the_same_values(folder: Path, tiny: Path) -> None:
    from transformers import BertModel

    (folder / "model.safetensors").unlink()
    BertModel.from_pretrained(tiny).save_pretrained(folder, max_shard_size="4KB")
    extractor = TextEncoder(model=str(folder))
    parts = [name for name in extractor.files() if name.startswith("model-")]
    assert len(parts) > 1 and "model.safetensors.index.json" in extractor.files()
    np.testing.assert_array_equal(values(extractor), values(TextEncoder(model=str(tiny))))


def test_identity_has_the_precision_only_where_it_is_not_the_default(tiny: Path) -> None:
    context = text_context()
    plain = TextEncoder(model=str(tiny)).identity(context)
    assert not {"precision", "special_tokens"} & set(plain["parameters"]), "as of earlier features"
    for option in ({"precision": "bfloat16"}, {"special_tokens": True}):
        own = TextEncoder.model_validate({"model": str(tiny), **option}).identity(context)
        assert own["parameters"] == plain["parameters"] | option


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_networks_compute_in_the_precision(tiny: Path, precision: str) -> None:
    exact = TextEncoder(model=str(tiny))
    half = TextEncoder.model_validate({"model": str(tiny), "precision": precision})
    assert {str(p.dtype) for p in half.net("cpu").parameters()} == {f"torch.{precision}"}
    assert 0 < np.abs(values(half) - values(exact)).max() < 0.1
