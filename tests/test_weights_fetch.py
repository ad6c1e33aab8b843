"""Where pretrained weights are found or fetched, and what to do where they cannot be."""

import socket
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch

from pipeline.features import pretrained
from pipeline.features.hub import TOKENIZER, Model
from pipeline.features.pretrained import WeightsError
from pipeline.features.visual import Torchvision

FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
    "README.md": b"not loaded",
}
# what the hub says of a model
FOUND = SimpleNamespace(
    sha="1234abcd", siblings=[SimpleNamespace(rfilename=name) for name in FILES]
)

# --- models of transformers ------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Stand in for the hub: a list of calls, and what its download does."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    calls: list[str] = []
    cache = tmp_path / "cache"

    def info(self, name, **options):
        calls.append("ask")
        assert options["timeout"] <= 60
        raise ConnectionError("[Errno -2] Name or service not known\nand a long story")

    def download(name, *, allow_patterns, revision=None, local_files_only=False):
        calls.append("cache" if local_files_only else "download")
        if local_files_only and not cache.exists():
            raise LocalEntryNotFoundError("not in the cache")
        if not local_files_only:
            cache.mkdir(exist_ok=True)
            for file, content in FILES.items():
                (cache / file).write_bytes(content)
        return str(cache)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return calls


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


def test_a_bert_out_of_reach_is_asked_for_once_and_says_how_to_get_it(hub):
    with pytest.raises(WeightsError) as caught:
        Model("acme/tiny-bert", TOKENIZER).folder()
    assert hub == ["cache", "ask"], "the download, which repeats itself, is not begun"
    message = str(caught.value)
    for part in (
        "model: there is no complete model at acme/tiny-bert",
        "Name or service not known",
        "https://huggingface.co/acme/tiny-bert by hand",
        "Fetch config.json, model.safetensors and tokenizer.json",
        "data/weights/tiny-bert and set model to it",
    ):
        assert part in message
    assert "long story" not in message


def test_a_bert_in_reach_is_downloaded_once(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: FOUND)
    first = Model("acme/tiny-bert", TOKENIZER).files()
    assert sorted(first) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert Model("acme/tiny-bert", TOKENIZER).files() == first
    assert hub == ["cache", "download", "cache"]


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
