"""The parameter file: every fault is an error that names the key and what is allowed."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import params
from tests.clone import Clone

ROOT = Path(__file__).parents[1]
DEFAULT = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def changed(key: str, value: Any) -> dict[str, Any]:
    """The default parameters with one key set."""
    raw = copy.deepcopy(DEFAULT)
    group = raw
    *path, last = key.split(".")
    for part in path:
        group = group[part]
    group[last] = value
    return raw


def test_the_default_file_is_valid() -> None:
    settings = params.load(ROOT / "params.yaml")
    assert settings.model_dump(exclude_unset=True) == DEFAULT
    assert params.parse(settings.model_dump()) == settings


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.hops", 0, "model.hops: Input should be greater than or equal to 1, got 0"),
        ("model.hop", 3, r"model.hop: no such key \(did you mean hops\?\); allowed are name, "),
        ("train.batch_size", "abc", "train.batch_size: Input should be a valid integer, got 'abc'"),
        ("train.batch_size", 2.5, "train.batch_size: Input should be a valid integer"),
        ("train.batch_size", True, "train.batch_size: Input should be a valid integer"),
        ("model.dropout.text", 1.0, "model.dropout.text: Input should be less than 1"),
        ("model.modalities", ["audio", "smell"], "'audio', 'text' or 'video', got 'smell'"),
        ("model.modalities", ["audio", "audio"], "model: modalities has a modality twice"),
        ("model.modalities", [], "model.modalities: List should have at least 1 item"),
        (
            "labels.scheme",
            "eight",
            "labels.scheme is eight; IEMOCAP has seven, six, four, or w",
        ),
        (
            "split.protocol",
            "leave",
            "split.protocol is leave; there are session, sessions, group",
        ),
        ("split.protocol", "file", "split.list: is null, but split.protocol file needs the name"),
        ("split.list", "mine", "split.list: is mine, but split.protocol session makes its own"),
        ("split.list", "../mine", "split.list: String should match pattern"),
        ("model.name", "amx", "model.name: no model amx; there are amh, mdre, mha"),
        ("model.name", "mha", "model: mha is defined for 2 modalities.* names 3: audio, text"),
        ("model.streams.text", 3, r"model.streams.text: Input should be a valid string"),
        (
            "model.streams.text",
            ["glove", "glove"],
            "model: streams has a stream twice: mfcc, glove",
        ),
        ("model.streams.video", "mfcc", "model: streams has a stream twice"),
        ("train.seeds", [], "train.seeds: List should have at least 1 item"),
        ("train.seeds", [1, 1], r"train.seeds: has a seed twice: \[1, 1\]"),
        ("train.schedule", "step", "train.schedule: Input should be 'constant', 'cosine', 'plat"),
        ("audio.streams", {"../x": {"extractor": "prosody"}}, "audio.streams.../x"),
        ("train.targets", "soft", "train.targets: Input should be 'majority' or 'votes'"),
        ("train.validate_every", 0.0, "train.validate_every: Input should be greater than 0"),
        ("train.validate_every", 1.5, "train.validate_every: Input should be less than or equal"),
        (
            "audio.streams.mfcc.step",
            0.5,
            r"streams.mfcc: step \(0.5\) must not exceed window",
        ),
        (
            "audio.streams.mfcc.steps",
            1,
            r"mfcc.steps: no such key \(did you mean step\?\); allowed",
        ),
        ("audio.streams.mfcc.extractor", "glove", "audio.streams.mfcc: must name an extractor of"),
        (
            "audio.streams.mfcc",
            40,
            "audio.streams.mfcc: must name an extractor of audio, one",
        ),
        ("audio.streams", [], "audio.streams: Input should be a valid dictionary"),
        (
            "visual.streams.mfcc",
            {"extractor": "torchvision"},
            "visual.streams.mfcc.network: is",
        ),
        ("model.streams.audio", "mfc", "model.streams.audio is mfc, which is no stream; there are"),
        ("model.prosody", "pitch", "model.prosody is pitch, which is no stream; there are mfcc, "),
        (
            "text.streams.mfcc",
            {"extractor": "external", "path": "x"},
            "two streams are named mfcc; rename one",
        ),
        ("corpus.name", "own", "visual.streams.resnet.weights is random, which only the embedded"),
        ("train.learning_rate", 1e38, "train.learning_rate: Input should be less than or equal"),
        ("train.weight_decay", 1e300, "train.weight_decay: Input should be less than or equal"),
        ("corpus.name", "../elsewhere", "corpus.name: String should match pattern"),
        (
            "corpus.roof",
            "x",
            r"corpus.roof: no such key \(did you mean root\?\); allowed are name, ",
        ),
        ("corpus.reader", "x", r"corpus.reader: no such key .*allowed are name, root, format, iem"),
        (
            "corpus.embedded",
            {},
            "corpus.embedded: is now the group embedded; `python -m .* migrate",
        ),
        ("corpus.format", "emo", "corpus.format: no format 'emo'; there are iemocap"),
        ("corpus.iemocap.marked_actor", "up", "corpus.iemocap.marked_actor: Input should be 'left"),
        ("corpus.iemocap.marked", "left", r"corpus.iemocap.marked: no such key \(did you mean mar"),
        ("labels.scenarios", ["read"], "labels.scenarios names read; IEMOCAP has improvised, scri"),
        ("labels.scenarios", [], "labels.scenarios: List should have at least 1 item"),
        ("extra", {}, "extra: no such key.*allowed are corpus, embedded, audio"),
    ],
)
def test_a_bad_value_names_its_key(key: str, value: Any, message: str) -> None:
    with pytest.raises(params.ParamsError, match=message):
        params.parse(changed(key, value))


def test_protocol_file_with_a_list_is_accepted() -> None:
    raw = changed("split.protocol", "file")
    raw["split"]["list"] = "mine"
    assert params.parse(raw).split.list == "mine"


def test_prosody_needs_audio() -> None:
    raw = changed("model.prosody", "prosody")
    assert params.parse(raw).model.prosody == "prosody"
    raw["model"]["modalities"] = ["text"]
    with pytest.raises(params.ParamsError, match=r"modalities has no audio; set model.prosody to"):
        params.parse(raw)


def test_a_modality_reads_one_stream_or_several() -> None:
    streams = params.parse(changed("model.streams.text", ["glove", "bert"])).model.streams
    assert streams.names("text") == ["glove", "bert"]
    assert streams.names("audio") == ["mfcc"]


@pytest.mark.parametrize(
    ("name", "modalities", "label"),
    [("amh", ["audio", "text", "video"], "AMH-7"), ("mdre", ["text"], "MDRE")],
)
def test_a_model_has_the_name_that_papers_give_it(
    name: str, modalities: list[str], label: str
) -> None:
    raw = changed("model.name", name)
    raw["model"]["modalities"] = modalities
    assert params.parse(raw).model.label == label


def test_a_missing_key_is_named() -> None:
    raw = copy.deepcopy(DEFAULT)
    del raw["train"]["patience"]
    with pytest.raises(params.ParamsError, match="train.patience: is missing"):
        params.parse(raw)


def test_every_fault_is_reported_at_once() -> None:
    raw = changed("model.hops", 0)
    raw["train"]["epochs"] = 0
    with pytest.raises(params.ParamsError, match=r"(?s)model.hops.*train.epochs"):
        params.parse(raw)


def test_random_weights_are_for_the_embedded_corpus_only() -> None:
    with pytest.raises(params.ParamsError, match=r"resnet.weights is random.*IMAGENET1K_V2"):
        params.parse(changed("corpus.name", "iemocap"))


def test_an_own_label_mapping_is_accepted() -> None:
    mapping = {"ang": "negative", "sad": "negative", "hap": "positive"}
    assert params.parse(changed("labels.scheme", mapping)).labels.scheme == mapping


PATHS = {"glove.vectors": "text", "bert.model": "text", "resnet.weights": "visual"}


@pytest.mark.parametrize("key", [f"{group}.streams.{key}" for key, group in PATHS.items()])
def test_a_home_folder_is_put_in_the_place_of_its_sign(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    group, _, stream, last = key.split(".")

    def found(path: str) -> str:
        settings = params.parse(changed(key, path))
        return getattr(getattr(settings, group).streams[stream], last)

    assert found("~/weights/it.pth") == str(tmp_path / "weights/it.pth")
    assert found("package:some//module/~") == "package:some//module/~"
    with pytest.raises(params.ParamsError, match=f"{key}: ~nobody-/x: there is no user"):
        params.parse(changed(key, "~nobody-/x"))


def test_a_path_that_dvc_reads_is_to_be_written_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(params.ParamsError, match=f"corpus.root: ~/it: .*write {tmp_path}/it$"):
        params.parse(changed("corpus.root", "~/it"))


@pytest.mark.slow
def test_dvc_stops_at_a_sign_of_the_home_folder(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    path = clone.folder / "params.yaml"
    text = path.read_text(encoding="utf-8").replace("root: data/raw/embedded/", "root: ~/")
    path.write_text(text, encoding="utf-8")
    printed = clone.run("dvc", "repro", "embedded/dvc.yaml:make", fails=True)
    assert re.search(r"error: params\.yaml:\n  corpus\.root: ~/.*; write /.*_release\n", printed)
    # where parse is the first to run, DVC itself misses the folder, by its name in full
    printed += clone.run("dvc", "repro", "parse", fails=True)
    assert f"No such file or directory: '{tmp_path}/~/IEMOCAP_full_release'" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("content", ["- a\n- b\n", "key: [unclosed"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(params.ParamsError, match="params.yaml"):
        params.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(params.ParamsError, match="absent.yaml: cannot be read"):
        params.load(tmp_path / "absent.yaml")


def test_a_file_is_read_as_dvc_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert "learning_rate: 0.001\n" in text
    path.write_text(text.replace("learning_rate: 0.001", "learning_rate: 5e-05"), "utf-8")
    assert params.load(path).train.learning_rate == 5e-5
    path.write_text(text.replace("learning_rate: 0.001", "learning_rate: .inf"), "utf-8")
    with pytest.raises(params.ParamsError, match="train.learning_rate: Input should be a finite"):
        params.load(path)
    path.write_text(text + "corpus: {}\n", "utf-8")
    with pytest.raises(params.ParamsError, match=r"(?s)not valid YAML.*duplicate key .corpus"):
        params.load(path)
    path.write_text(text + "day: 2001-13-45\n", "utf-8")
    with pytest.raises(params.ParamsError, match="not valid YAML"):
        params.load(path)
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(params.ParamsError, match="is not UTF-8 text"):
        params.load(path)


def test_parameters_are_written_so_that_they_are_read_again(tmp_path: Path) -> None:
    raw = changed("train.learning_rate", 5e-5)
    path = tmp_path / "params.yaml"
    path.write_text(params.as_yaml(raw), encoding="utf-8")
    assert params.load(path) == params.parse(raw)
    assert list(params.read_yaml(path)) == list(raw)
