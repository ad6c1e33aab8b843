"""Bundles: models that predict as before, and errors that are sentences."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from pipeline import InputError, bundle, params
from pipeline.bundle.writing import CARD
from pipeline.models.classifier import Classifier
from pipeline.predict import Predictor
from pipeline.predict.loading import CONFIG, TENSORS, VOCABULARY
from pipeline.store import FeatureStore
from tests.bundled import Trained


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    yield Trained(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def copied(world: Trained, tmp_path: Path) -> Path:
    """A bundle to damage."""
    return Path(shutil.copytree(world.bundle, tmp_path / "copied"))


@pytest.mark.parametrize("chosen", [{}, {"folds": [2]}, {"folds": [1, 3], "seeds": [1]}])
def test_a_bundle_predicts_exactly_as_its_models(world: Trained, chosen: dict[str, Any]) -> None:
    (before,) = world.predictor(**chosen).predict(world.utterances[:1], world.media)
    (after,) = world.predictor(world.bundle, **chosen).predict(world.utterances[:1], world.media)
    assert after.probabilities == before.probabilities
    for one, other in zip(after.hops, before.hops, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
        assert one.words == other.words


def test_the_same_models_give_the_same_bytes(world: Trained, tmp_path: Path) -> None:
    again = world.bundled(tmp_path / "again")
    names = {path.name for path in again.iterdir()}
    assert names == {CONFIG, TENSORS, VOCABULARY, CARD}
    assert all((again / n).read_bytes() == (world.bundle / n).read_bytes() for n in names)


def test_one_fold_alone(world: Trained, tmp_path: Path) -> None:
    folder = world.bundled(tmp_path / "one", "--fold", "2")
    models = json.loads((folder / CONFIG).read_text())["models"]
    assert [(model["fold"], model["seed"]) for model in models] == [(2, 0), (2, 1)]
    assert {name.split(".")[0] for name in load_file(folder / TENSORS)} == {
        "fold-2-seed-0",
        "fold-2-seed-1",
    }
    text = (folder / CARD).read_text(encoding="utf-8")
    assert "The weights here are of fold 2; the figures are of all 5 folds." in text
    (found,) = world.predictor(folder).predict(world.utterances[:1], world.media)
    (expected,) = world.predictor(folds=[2]).predict(world.utterances[:1], world.media)
    assert found.probabilities == expected.probabilities


def test_the_configuration_is_readable(world: Trained) -> None:
    config = json.loads((world.bundle / CONFIG).read_text(encoding="utf-8"))
    classifier = Classifier.load(world.models / "fold-1-seed-0.safetensors")
    assert config["classes"] == classifier.classes
    assert config["model"] == json.loads(json.dumps(classifier.settings.model_dump()))
    assert config["streams"]["mfcc"]["identity"] == classifier.identities["mfcc"]
    assert config["streams"]["mfcc"]["parameters"]["coefficients"] == 40
    assert config["streams"]["glove"]["vocabulary"] == 4  # words; they are in a file of their own
    assert json.loads((world.bundle / VOCABULARY).read_text()) == {
        "glove": classifier.extractors["glove"]["vocabulary"]
    }


def test_no_name_of_this_machine_or_utterance_is_inside(world: Trained) -> None:
    ids = [one.id for one in world.utterances]
    for path in world.bundle.iterdir():
        content = path.read_bytes()
        for name in [*ids, str(world.models.parent), str(Path.home())]:
            assert name.encode() not in content, (path.name, name)


@pytest.mark.parametrize(
    ("file", "damage", "fault"),
    [
        (TENSORS, lambda data: data[:-100], r"model\.safetensors: is no part of a bundle"),
        (TENSORS, lambda data: b"", r"model\.safetensors: is no part of a bundle"),
        (TENSORS, None, r"model\.safetensors: cannot be read: No such file"),
        (CONFIG, lambda data: data[:-100], r"config\.json: is no part of a bundle"),
        (CONFIG, lambda data: b"[]", r"config\.json: is no part of a bundle"),
        (CONFIG, lambda data: b"{}", r"config\.json: is no part .*KeyError\('bundle'\)"),
        (
            CONFIG,
            lambda data: data.replace(b'"bundle": 1', b'"bundle": 2'),
            "version 2, this code reads 1",
        ),
        (
            CONFIG,
            lambda data: data.replace(b'"fold-1-seed-0."', b'"fold-9."'),
            r"model\.safetensors: is no part .*Missing key",
        ),
        (VOCABULARY, None, r"vocabulary\.json: cannot be read"),
        (VOCABULARY, lambda data: b'{"bert": []}', r"config\.json: is no part .*glove"),
    ],
)
def test_a_damaged_bundle_is_an_error(
    world: Trained, copied: Path, file: str, damage: Callable[[bytes], bytes] | None, fault: str
) -> None:
    path = copied / file
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=re.compile(fault, re.DOTALL)):
        world.predictor(copied)


def test_a_model_without_its_parameters_is_an_error(tmp_path: Path) -> None:
    """The name of a model has its seed only if there are several."""
    (tmp_path / "fold-1.safetensors").touch()
    with pytest.raises(InputError, match=r"parameters\.json: cannot be read: No such file"):
        Predictor.load(tmp_path)


def _refused(world: Trained, capsys: pytest.CaptureFixture, output: Path, **given: Any) -> str:
    assert world.run(output, *given.pop("options", ()), **given) == 1
    assert not output.exists()
    return capsys.readouterr().err


def test_an_existing_folder_is_kept(
    world: Trained, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert world.run(tmp_path) == 1
    assert "exists already; delete it, or name another folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_other_parameters_and_no_models_are_errors(
    world: Trained, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "out"
    raw = params.read_yaml(world.params)
    raw["model"]["hops"] = 5
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    given = ("--params", str(tmp_path / "other.yaml"))
    assert "model.hops was 3, is 5" in _refused(world, capsys, output, options=given)
    (tmp_path / "none").mkdir()
    fault = _refused(world, capsys, output, models=tmp_path / "none")
    assert "parameters.json: does not contain the parameters" in fault
    for name in ("parameters.json", "folds.csv"):
        shutil.copy(world.models / name, tmp_path / "none")
    assert "contains no fold-" in _refused(world, capsys, output, models=tmp_path / "none")
    fault = _refused(world, capsys, output, options=("--fold", "9"))
    assert "has no model of fold 9; it has the folds 1, 2, 3, 4, 5" in fault


def test_results_of_other_models_are_refused(
    world: Trained, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Results do not name their models, so these predict again."""
    models = Path(shutil.copytree(world.models, tmp_path / "models"))
    path = models / "fold-3-seed-1.safetensors"
    classifier = Classifier.load(path)
    with torch.no_grad():
        classifier.model.classifier.bias.add_(torch.arange(7.0))
    classifier.save(path)
    fault = _refused(world, capsys, tmp_path / "out", models=models)
    assert "predictions.csv" in fault and "fold-3-seed-1.safetensors predicts something" in fault
    path.unlink()
    fault = _refused(world, capsys, tmp_path / "out", models=models)
    assert "is not of the models in" in fault and "(fold 3, seed 1)" in fault


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (("metrics.json", None), "metrics.json: cannot be read: No such file"),
        (("metrics.json", "{"), "metrics.json: cannot be read (Expecting"),
        (("metrics.json", "{}"), "weighted_accuracy.mean is None, of predictions.csv it is 0."),
        (("predictions.csv", None), "predictions.csv: cannot be read: No such file"),
        (("predictions.csv", ""), "predictions.csv: cannot be read (No columns"),
    ],
)
def test_results_that_cannot_be_used_are_errors(
    world: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    damage: tuple[str, str | None],
    fault: str,
) -> None:
    file, content = damage
    results = Path(shutil.copytree(world.results, tmp_path / "results"))
    if content is None:
        (results / file).unlink()
    else:
        (results / file).write_text(content)
    options = ("--results", str(results))
    assert fault in _refused(world, capsys, tmp_path / "out", options=options)


def test_a_mixture_of_models_is_refused(world: Trained, tmp_path: Path) -> None:
    models = Path(shutil.copytree(world.models, tmp_path / "models"))
    path = models / "fold-2-seed-0.safetensors"
    classifier = Classifier.load(path)
    classifier.extractors["mfcc"]["parameters"]["window"] = 0.5
    classifier.save(path)
    with (
        FeatureStore(world.store) as store,
        pytest.raises(InputError, match=r"fold-2.*parameters\.window is 0\.5, there 0\.025"),
    ):
        settings = params.load(world.params)
        bundle.write(models, tmp_path / "out", store, world.results, settings)


def test_features_made_elsewhere_are_refused(world: Trained, tmp_path: Path) -> None:
    models = Path(shutil.copytree(world.models, tmp_path / "models"))
    for path in models.glob("*.safetensors"):
        classifier = Classifier.load(path)
        classifier.extractors["mfcc"]["extractor"] = "external"
        classifier.save(path)
    with (
        FeatureStore(world.store) as store,
        pytest.raises(InputError, match="mfcc was made by another program"),
    ):
        settings = params.load(world.params)
        bundle.write(models, tmp_path / "out", store, world.results, settings)


class Hub:
    """Stands in for the hub's API."""

    def __init__(self, private: bool = True, fault: Exception | None = None) -> None:
        self.private, self.fault = private, fault
        self.uploaded: dict[str, Any] = {}
        self.created: dict[str, Any] = {}

    def create_repo(self, name: str, **options: Any) -> str:
        self.created = {"name": name, **options}
        return f"https://huggingface.co/{name}"

    def model_info(self, name: str) -> Any:
        return SimpleNamespace(private=self.private)

    def upload_folder(self, **options: Any) -> None:
        if self.fault:
            raise self.fault
        self.uploaded = options


def _with(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    return hub


def test_nothing_is_uploaded_unless_asked_for(
    world: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = _with(Hub(), monkeypatch)
    world.bundled(tmp_path / "a")
    assert not hub.created and not hub.uploaded
    output = world.bundled(tmp_path / "b", "--push-to", "lab/emotion")
    assert hub.created == {"name": "lab/emotion", "private": True, "exist_ok": True}
    assert (hub.uploaded["repo_id"], hub.uploaded["folder_path"]) == ("lab/emotion", output)
    assert "hf download lab/emotion" in (output / CARD).read_text(encoding="utf-8")


def test_a_public_repository_needs_another_option(
    world: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """An existing repository keeps its visibility, whatever one asks for."""
    hub = _with(Hub(private=False), monkeypatch)
    assert world.run(tmp_path / "a", "--push-to", "lab/emotion") == 1
    assert "lab/emotion: exists and is public" in capsys.readouterr().err and not hub.uploaded
    assert world.run(tmp_path / "b", "--push-to", "lab/emotion", "--public") == 0
    assert hub.uploaded and hub.created["private"] is False


def test_a_failed_upload_keeps_the_folder(
    world: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    _with(Hub(fault=OSError("no token\nmore")), monkeypatch)
    assert world.run(tmp_path / "a", "--push-to", "lab/emotion") == 1
    fault = capsys.readouterr().err
    assert "was not uploaded to lab/emotion (no token); after `hf auth login`" in fault
    assert (tmp_path / "a" / TENSORS).exists()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--push-to", "a b/c"), "--push-to: a b/c is no name on the hub"),
        (("--push-to", "emotion"), "has no owner; write USER/emotion"),
        (("--public",), "--public: is of --push-to"),
    ],
)
def test_impossible_uploads_write_nothing(
    world: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    options: tuple[str, ...],
    fault: str,
) -> None:
    assert fault in _refused(world, capsys, tmp_path / "out", options=options)
