"""Pretrained weights: found, recorded, checked against the record, or how to get them."""

import hashlib
import json
import socket
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

import stages.text
import stages.visual
import stages.weights
from pipeline import weights
from pipeline.corpus.table import CorpusError
from pipeline.params import Text, Visual
from pipeline.weights import WeightsError

BERT_FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
    "README.md": b"not loaded",
}


@pytest.fixture
def bert(tmp_path) -> Path:
    """Make a folder with all that a BERT has but sense; the files are only hashed here."""
    folder = tmp_path / "bert"
    folder.mkdir()
    for name, content in BERT_FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def resnet(tmp_path) -> Path:
    path = tmp_path / "resnet.pth"
    path.write_bytes(b"a state dict")
    return path


def text(bert, glove="glove.txt") -> Text:
    return Text(glove=str(glove), bert=str(bert), bert_layer=-1, marks="word", batch_size=2)


def visual(resnet) -> Visual:
    return Visual(
        network="resnet18",
        weights=str(resnet),
        frames_per_second=3.0,
        max_frames=32,
        crop=96,
        marked_actor="left",
        batch_size=4,
    )


def record(tmp_path, bert, resnet, vectors=None) -> Path:
    folder = tmp_path / "interim"
    weights.record(text(bert), visual(resnet), vectors, folder)
    return folder


# --- the record ------------------------------------------------------------------------------


def test_the_record_holds_the_hash_of_each_file_by_name(tmp_path, bert, resnet):
    folder = record(tmp_path, bert, resnet)
    recorded = json.loads((folder / "bert-weights.json").read_text())
    assert sorted(recorded) == ["config.json", "model.safetensors", "tokenizer.json"]
    expected = hashlib.sha256(BERT_FILES["model.safetensors"]).hexdigest()
    assert recorded["model.safetensors"] == expected
    assert json.loads((folder / "resnet-weights.json").read_text()) == {
        "resnet.pth": weights.sha256(resnet)
    }


def test_random_weights_are_recorded_with_the_network(tmp_path, bert):
    recorded = record(tmp_path, bert, "random") / "resnet-weights.json"
    assert json.loads(recorded.read_text()) == {"resnet18": "random"}


def test_the_same_weights_elsewhere_give_the_same_bytes(tmp_path, bert, resnet):
    first = contents(record(tmp_path, bert, resnet))
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    again = record(tmp_path, bert.rename(moved / "other"), resnet.rename(moved / resnet.name))
    assert contents(again) == first


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_files_have_the_same_hash_if_and_only_if_they_are_the_same(tmp_path_factory, one, other):
    folder = tmp_path_factory.mktemp("files")
    (folder / "one").write_bytes(one)
    (folder / "other").write_bytes(other)
    hashes = {weights.sha256(folder / name) for name in ("one", "other")}
    assert (len(hashes) == 1) == (one == other)


def test_all_that_is_missing_is_named_at_once(tmp_path):
    with pytest.raises(WeightsError) as caught:
        record(tmp_path, tmp_path, tmp_path / "no.pth", tmp_path / "no.txt")
    for part in ("text.bert: ", "visual.weights: ", "text.glove: "):
        assert part in str(caught.value)
    assert not (tmp_path / "interim").exists()


def test_nothing_heavy_is_loaded_for_local_files(tmp_path, bert, resnet):
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pipeline import weights\n"
        "weights.bert_identity(sys.argv[1]); weights.resnet_identity('resnet18', sys.argv[2])\n"
        "print([name for name in ('torch', 'torchvision', 'transformers', 'huggingface_hub')"
        " if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", script, str(bert), str(resnet)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# --- the check -------------------------------------------------------------------------------


def test_the_recorded_weights_pass(tmp_path, bert, resnet):
    folder = record(tmp_path, bert, resnet)
    weights.check(folder / "bert-weights.json", weights.bert_identity(str(bert)))
    weights.check(folder / "resnet-weights.json", weights.resnet_identity("resnet18", str(resnet)))


def test_a_file_replaced_in_place_is_refused(tmp_path, bert, resnet):
    folder = record(tmp_path, bert, resnet)
    (bert / "model.safetensors").write_bytes(b"weightz")
    resnet.write_bytes(b"another dict")
    remedy = "dvc repro --force --single-item weights"
    with pytest.raises(WeightsError, match=rf"model\.safetensors was \w+, is .*{remedy}"):
        weights.check(folder / "bert-weights.json", weights.bert_identity(str(bert)))
    with pytest.raises(WeightsError, match=rf"resnet\.pth was \w+, is .*{remedy}"):
        weights.check(
            folder / "resnet-weights.json", weights.resnet_identity("resnet18", str(resnet))
        )


def test_a_file_more_or_less_is_refused(tmp_path, bert, resnet):
    folder = record(tmp_path, bert, resnet)
    (bert / "vocab.txt").write_text("[PAD]\n")
    with pytest.raises(WeightsError, match=r"vocab\.txt was missing, is \w+"):
        weights.check(folder / "bert-weights.json", weights.bert_identity(str(bert)))
    (bert / "vocab.txt").unlink()
    (bert / "tokenizer.json").rename(bert / "vocab.json")
    with pytest.raises(WeightsError, match=r"tokenizer\.json was \w+, is missing"):
        weights.check(folder / "bert-weights.json", weights.bert_identity(str(bert)))


def test_another_random_network_is_refused(tmp_path, bert):
    folder = record(tmp_path, bert, "random")
    with pytest.raises(WeightsError, match="resnet18 was random, is missing"):
        weights.check(folder / "resnet-weights.json", weights.resnet_identity("resnet34", "random"))


@pytest.mark.parametrize("content", [None, "", "[]", "{}", "{", "1"])
def test_without_a_record_the_error_says_how_to_make_it(tmp_path, content):
    path = tmp_path / "bert-weights.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(WeightsError, match=r"weights\.json: .*--single-item weights"):
        weights.check(path, {"model.safetensors": "0" * 64})


# --- the stages ------------------------------------------------------------------------------

PARAMS = Path(__file__).parents[1] / "params.yaml"


@pytest.fixture
def checkout(tmp_path, monkeypatch, bert, resnet) -> Path:
    """Stand in a folder with a params.yaml that names the made-up files."""
    content = yaml.safe_load(PARAMS.read_text())
    content["text"]["bert"], content["visual"]["weights"] = str(bert), str(resnet)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_stage_writes_the_record(checkout, bert, resnet):
    stages.weights.main()
    assert contents(checkout / "data/interim") == contents(record(checkout, bert, resnet))


def test_the_stage_looks_for_vectors_that_the_pipeline_does_not_make(checkout):
    content = yaml.safe_load((checkout / "params.yaml").read_text())
    content["corpus"]["name"] = "iemocap"
    (checkout / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(
        WeightsError, match=r"text\.glove: .*2\.2 GB.*data/weights.*set text\.glove"
    ):
        stages.weights.main()


@pytest.mark.parametrize("stage", [stages.text, stages.visual])
def test_extraction_refuses_other_weights_before_any_work(checkout, bert, resnet, stage):
    stages.weights.main()
    with pytest.raises(CorpusError):  # no table here: the next that the stages need
        stage.main()
    for path in (bert / "model.safetensors", resnet):
        path.write_bytes(b"replaced in place")
    with pytest.raises(WeightsError, match=r"weights\.json: .* are not those recorded"):
        stage.main()


# --- BERT ------------------------------------------------------------------------------------


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

    def download(name, *, allow_patterns, local_files_only=False):
        calls.append("cache" if local_files_only else "download")
        if local_files_only and not cache.exists():
            raise LocalEntryNotFoundError("not in the cache")
        if not local_files_only:
            cache.mkdir(exist_ok=True)
            for file, content in BERT_FILES.items():
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
    remedy = r"model\.safetensors \(440 MB.*huggingface\.co/google-bert/bert-base-uncased"
    with pytest.raises(WeightsError, match=rf"text\.bert: .*{reason}.*\nFetch .*{remedy}"):
        weights.bert_folder(name.format(folder=tmp_path))


def test_a_bert_out_of_reach_is_asked_for_once_and_says_how_to_get_it(hub):
    with pytest.raises(WeightsError) as caught:
        weights.bert_folder("acme/tiny-bert")
    assert hub == ["cache", "ask"], "the download, which repeats itself, is not begun"
    message = str(caught.value)
    for part in (
        "text.bert: there is no BERT at acme/tiny-bert",
        "Name or service not known",
        "https://huggingface.co/acme/tiny-bert by hand",
        "model.safetensors (440 MB",
        "data/weights/tiny-bert and set text.bert",
    ):
        assert part in message
    assert "long story" not in message


def test_a_bert_in_reach_is_downloaded_once(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: None)
    first = weights.bert_identity("acme/tiny-bert")
    assert sorted(first) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert weights.bert_identity("acme/tiny-bert") == first
    assert hub == ["cache", "download", "cache"]


def test_a_name_that_is_neither_folder_nor_model_is_an_error(tmp_path):
    with pytest.raises(WeightsError, match=r"text\.bert: .*/missing: no such folder"):
        weights.bert_folder(str(tmp_path / "missing"))


# --- ResNet ----------------------------------------------------------------------------------


def test_a_resnet_out_of_reach_says_how_to_get_it(monkeypatch, tmp_path):
    def unreachable(*arguments, **options):
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(WeightsError) as caught:
        weights.resnet_identity("resnet101", "IMAGENET1K_V2")
    message = str(caught.value)
    for part in (
        "https://download.pytorch.org/models/resnet101-cd907fc2.pth (171 MiB)",
        str(tmp_path / "checkpoints" / "resnet101-cd907fc2.pth"),
        "set visual.weights",
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
    url = f"https://example.org/resnet18-{weights.sha256(made)[:8]}.pth"
    monkeypatch.setattr(weights.catalogue_entry("resnet18", "IMAGENET1K_V1").value, "url", url)
    before = socket.getdefaulttimeout()
    for _ in range(2):
        found = weights.resnet_identity("resnet18", "IMAGENET1K_V1")
        assert found == {url.rsplit("/", 1)[-1]: weights.sha256(made)}
    ((_, prefix, limit),) = downloads
    assert weights.sha256(made).startswith(prefix)
    assert limit is not None
    assert socket.getdefaulttimeout() == before


def test_a_damaged_copy_of_torchvisions_file_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    place = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    place.parent.mkdir()
    place.write_bytes(b"half a file")
    with pytest.raises(WeightsError, match=r"is damaged: .* with f37072fd\nFetch https://"):
        weights.resnet_file("resnet18", "IMAGENET1K_V1")


def test_a_missing_state_dict_names_the_parameter(tmp_path):
    with pytest.raises(WeightsError, match=r"visual\.weights: .*gone\.pth is missing"):
        weights.resnet_identity("resnet18", str(tmp_path / "gone.pth"))
