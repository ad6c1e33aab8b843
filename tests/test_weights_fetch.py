"""Where pretrained weights are found or fetched, and what to do where they cannot be."""

import hashlib
import json
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from huggingface_hub import constants

from pipeline.features import pretrained
from pipeline.features.hub import TOKENIZER, Model
from pipeline.features.pretrained import WeightsError
from pipeline.features.text_encoder import TextEncoder
from pipeline.features.visual import Torchvision
from tests.extractors import text_context
from tests.hub import commit, serving

FILES = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"[]"}
TINY = Model("acme/tiny-bert", TOKENIZER)
INDEX = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
SHARDED = {
    **{name: FILES[name] for name in ("config.json", "tokenizer.json")},
    "model.safetensors.index.json": INDEX.encode(),
    "model-1.safetensors": b"half of the",
    "model-2.safetensors": b"weights",
}
PICKLED = {**FILES, "pytorch_model.bin": b"a pickle"}
del PICKLED["model.safetensors"]
OTHERS = {  # that a model may have too, and nobody reads
    "README.md": b"words",
    "modeling_tiny.py": b"code",
    "model.fp16.safetensors": b"half as long",
    "consolidated.safetensors": b"of another program",
    "pytorch_model.bin": b"a pickle",
    "onnx/model.onnx": b"of another program",
}

# --- models of transformers ------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path):
    with serving(tmp_path) as hub:
        hub.models["acme/tiny-bert@main"] = FILES
        yield hub


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("package:no_such_package/model", "no package no_such_package"),
        ("package:pipeline/features", "lacks config.json"),
        ("{folder}/empty", "lacks config.json"),
        ("{folder}/weightless", "lacks .*safetensors"),
    ],
)
def test_a_missing_bert_is_an_error_with_a_remedy(tmp_path, name, reason):
    for folder in ("empty", "weightless"):
        (tmp_path / folder).mkdir()
    (tmp_path / "weightless/config.json").write_text("{}")
    remedy = r"config\.json, model\.safetensors and tokenizer\.json or.*by hand"
    with pytest.raises(WeightsError, match=rf"^model: .*{reason}.*\nFetch .*{remedy}"):
        Model(name.format(folder=tmp_path), TOKENIZER).folder()


def test_a_model_out_of_reach_says_how_to_get_it(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(WeightsError) as caught:
        TINY.folder()
    message = str(caught.value)
    for part in (
        "model: there is no complete model at acme/tiny-bert",
        "the Hugging Face hub does not provide it",
        "refused",
        "https://huggingface.co/acme/tiny-bert by hand",
        "Fetch config.json, model.safetensors and tokenizer.json",
        "data/weights/tiny-bert and set model to it",
    ):
        assert part in message
    assert len(message.splitlines()) == 2


def test_the_record_names_all_models_out_of_reach_at_once(hub, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    streams = {name: TextEncoder(model=f"acme/{name}") for name in ("one", "two")}
    with pytest.raises(WeightsError) as caught:
        pretrained.record({"text": streams}, tmp_path / "weights")
    for name in streams:
        assert f"text.streams.{name}.model: there is no complete model at" in str(caught.value)
        assert f"https://huggingface.co/acme/{name} by hand" in str(caught.value)


@pytest.mark.parametrize("files", [FILES, SHARDED])
def test_a_model_in_reach_is_downloaded_once_without_what_is_not_read(hub, monkeypatch, files):
    hub.models["acme/tiny-bert@main"] = {**files, **OTHERS}
    expected = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert TINY.files() == expected
    assert sorted(hub.downloads) == sorted(files)
    hub.downloads.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert TINY.files() == expected
    assert not hub.downloads


def test_the_commit_is_that_of_the_hub_until_the_cache_is_deleted(hub):
    first = TINY.commit()
    assert first == commit(FILES)
    hub.models["acme/tiny-bert@main"] = {**FILES, "model.safetensors": b"better weights"}
    assert TINY.commit() == first, "a cached model is not updated"
    shutil.rmtree(hub.cache)
    assert TINY.commit() == commit(hub.models["acme/tiny-bert@main"]) != first


@pytest.mark.parametrize("kind", ["tag", "commit"])
def test_a_revision_is_a_tag_or_commit(hub, kind):
    old = {**FILES, "model.safetensors": b"worse weights"}
    hub.models["acme/tiny-bert@v1"] = old
    revision = "v1" if kind == "tag" else commit(old)
    model = replace(TINY, revision=revision)
    assert TINY.commit() == commit(FILES)
    assert model.commit() == commit(old)
    assert model.files()["model.safetensors"] != TINY.files()["model.safetensors"]


def test_a_revision_that_is_not_there_is_an_error(hub):
    with pytest.raises(WeightsError, match="does not provide it .*404"):
        replace(TINY, revision="v2").folder()


def test_the_commit_is_recorded_and_not_compared(hub, tmp_path):
    streams = {"bert": TextEncoder(model="acme/tiny-bert")}
    pretrained.record({"text": streams}, tmp_path)
    path = tmp_path / "text.json"
    assert json.loads(path.read_text())["bert"]["revision"] == commit(FILES)
    assert streams["bert"].parameters()["revision"] == commit(FILES)
    identity = streams["bert"].identity(text_context())
    assert commit(FILES) not in json.dumps(identity)
    copy = tmp_path / "tiny-bert"
    shutil.copytree(TINY.folder(), copy)
    local = TextEncoder(model=str(copy))
    pretrained.check(path, {"bert": local})
    assert local.identity(text_context()) == identity and not local.origin()


def test_weights_in_pickle_format_are_fetched_by_parameter_only(hub):
    hub.models["acme/tiny-bert@main"] = PICKLED
    with pytest.raises(WeightsError, match=r"pickle format only; set .*pickled_weights to true"):
        TINY.files()
    assert not hub.downloads
    assert sorted(replace(TINY, pickled=True).files()) == sorted(PICKLED)


def test_a_cached_pickle_has_the_same_remedy_without_a_network(hub, monkeypatch):
    hub.models["acme/tiny-bert@main"] = PICKLED
    replace(TINY, pickled=True).folder()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"in its cache .*; set .*pickled_weights to true"):
        TINY.files()


@pytest.mark.parametrize("pickled", [False, True])
def test_pickles_beside_other_weights_are_not_read(hub, pickled):
    hub.models["acme/tiny-bert@main"] = {**FILES, **OTHERS}
    assert sorted(replace(TINY, pickled=pickled).files()) == sorted(FILES)


def test_a_download_that_was_interrupted_goes_on(hub, monkeypatch):
    hub.models["acme/tiny-bert@main"] = SHARDED
    for name in ("model-2.safetensors", "tokenizer.json"):
        (TINY.folder() / name).unlink()
        with monkeypatch.context() as patch:
            patch.setattr(constants, "HF_HUB_OFFLINE", True)
            with pytest.raises(WeightsError, match="does not provide it"):
                TINY.folder()
        assert sorted(TINY.files()) == sorted(SHARDED)


def test_a_folder_without_all_parts_of_its_weights_names_them(tmp_path):
    for name in ("config.json", "tokenizer.json", "model.safetensors.index.json"):
        (tmp_path / name).write_bytes(SHARDED[name])
    lacks = r"it lacks model-1\.safetensors, model-2\.safetensors\n"
    with pytest.raises(WeightsError, match=lacks):
        Model(str(tmp_path), TOKENIZER).folder()


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"weight_map": 1}'])
def test_an_index_that_is_none_is_an_error(tmp_path, content):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes(SHARDED[name])
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(WeightsError, match=r"its model\.safetensors\.index\.json is no index"):
        Model(str(tmp_path), TOKENIZER).folder()


def test_a_folder_that_is_not_of_the_cache_has_no_commit(tmp_path):
    for folder in (tmp_path / "snapshots/mine", tmp_path / commit(FILES)):
        folder.mkdir(parents=True)
        for name, content in FILES.items():
            (folder / name).write_bytes(content)
        assert Model(str(folder), TOKENIZER).commit() == ""


def test_a_name_that_is_neither_folder_nor_model_is_an_error(tmp_path):
    with pytest.raises(WeightsError, match=r"^model: .*/missing: no such folder"):
        Model(str(tmp_path / "missing"), TOKENIZER).folder()


# --- ResNet ----------------------------------------------------------------------------------


def test_a_resnet_out_of_reach_says_how_to_get_it(monkeypatch, tmp_path):
    def unreachable(*arguments, **options):
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(WeightsError) as caught:
        pretrained.resnet_file("resnet101", "IMAGENET1K_V2")
    message = str(caught.value)
    for part in (
        "https://download.pytorch.org/models/resnet101-cd907fc2.pth (171 MiB)",
        str(tmp_path / "checkpoints" / "resnet101-cd907fc2.pth"),
        "set weights to its path",
        "Name or service not known",
    ):
        assert part in message


def test_a_resnet_in_reach_is_downloaded_once_within_limits(monkeypatch, tmp_path):
    downloads = []

    def download(url, place, hash_prefix):
        downloads.append((url, hash_prefix, socket.getdefaulttimeout()))
        Path(place).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    made = tmp_path / "made"
    made.write_bytes(b"weights")
    url = f"https://example.org/resnet18-{pretrained.sha256(made)[:8]}.pth"
    monkeypatch.setattr(pretrained.catalogue_entry("resnet18", "IMAGENET1K_V1").value, "url", url)
    before = socket.getdefaulttimeout()
    for _ in range(2):
        found = Torchvision(network="resnet18", weights="IMAGENET1K_V1").files()
        assert found == {url.rsplit("/", 1)[-1]: pretrained.sha256(made)}
    ((_, prefix, limit),) = downloads
    assert pretrained.sha256(made).startswith(prefix)
    assert limit is not None
    assert socket.getdefaulttimeout() == before


def test_a_damaged_copy_of_torchvisions_file_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    place = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    place.parent.mkdir()
    place.write_bytes(b"half a file")
    with pytest.raises(WeightsError, match=r"is damaged: .* with f37072fd\nFetch https://"):
        pretrained.resnet_file("resnet18", "IMAGENET1K_V1")


def test_a_missing_state_dict_names_the_parameter(tmp_path):
    with pytest.raises(WeightsError, match=r"^weights: .*gone\.pth is missing"):
        pretrained.resnet_file("resnet18", str(tmp_path / "gone.pth"))
