"""A model reads the streams that it was trained on, and says how others differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from pipeline import attention, evaluation
from pipeline.models.classifier import Classifier
from pipeline.report import looks
from pipeline.store import FeatureStore, StoreError, hashing
from tests import synthetic
from tests.synthetic import make_store
from tests.trained import make_models


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Models of sound and GloVe ids, trained on the synthetic store."""
    with FeatureStore(make_store(tmp_path / "own")) as store:
        streams = {"audio": "mfcc", "text": "glove", "video": "resnet"}
        return make_models(
            store, tmp_path / "models", modalities=["audio", "text"], streams=streams
        )


def evaluated(store: Path, models: Path) -> None:
    with FeatureStore(store) as opened:
        evaluation.test_folds(opened, models, torch.device("cpu"))


def test_another_vocabulary_is_refused(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ids would be looked up among the vectors of other words."""
    constants = synthetic.Words.constants

    def others(self: synthetic.Words) -> dict[str, np.ndarray]:
        found = constants(self)
        return {**found, "glove/vectors": found["glove/vectors"][::-1].copy()}

    monkeypatch.setattr(synthetic.Words, "constants", others)
    other = make_store(tmp_path / "other")
    with pytest.raises(StoreError, match=r"store.h5: its stream glove is not.*vectors: \S+ /"):
        evaluated(other, models)


def test_other_parameters_are_named(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = synthetic.described

    def finer(stream: str, **parameters: Any) -> dict[str, Any]:
        return described(stream, **parameters, step=0.005)

    monkeypatch.setattr(synthetic, "described", finer)
    other = make_store(tmp_path / "other")
    with pytest.raises(StoreError, match="stream mfcc is not.*parameters.step: absent / 0.005; tr"):
        evaluated(other, models)


def test_other_digits_and_streams_that_it_does_not_read_do_not_matter(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialog = synthetic.Noise.dialog

    def elsewhere(self: synthetic.Noise, rows: Any) -> Any:
        arrays, problems = dialog(self, rows)
        name = f"{self.stream}/values"
        return {**arrays, name: np.nextafter(arrays[name], np.float32(np.inf))}, problems

    def wider(self: synthetic.Noise) -> dict[str, Any]:
        width = 99 if self.stream == "resnet" else self.width
        return synthetic.described(self.stream, width=width)

    monkeypatch.setattr(synthetic.Noise, "dialog", elsewhere)
    monkeypatch.setattr(synthetic.Noise, "identity", wider)
    evaluated(make_store(tmp_path / "other"), models)


def test_a_store_of_before_streams_had_identities_is_read(tmp_path: Path) -> None:
    """Its values are what they were; only what made them is said in another form."""
    path = make_store(tmp_path / "old")
    with h5py.File(path, "r+") as file:
        old = {"parameters": {"mfcc": 40}, "versions": {"librosa": "0.11.0"}}
        file.attrs["extractors"] = json.dumps(dict.fromkeys(("audio", "text", "visual"), old))
        file.attrs["parameters"] = json.dumps({"audio": {"step": 0.01}, "visual": {"crop": 112}})
    with FeatureStore(path) as store:
        assert store.stream("mfcc").identity == {"external": "mfcc"}
        assert set(store.stream("glove").identity) == {"external", "vectors"}
        assert hashing.identity(store.file)
        models = make_models(store, tmp_path / "models")
        predictions = evaluation.test_folds(store, models, torch.device("cpu"))
        classifier = Classifier.load(evaluation.models(models)[0].path)
        dataset = classifier.dataset(store)
        hops = attention.of_utterance(classifier, dataset, 0)
        looked = looks.look(store, classifier, dataset, 0, hops=hops, media=None)
    assert len(predictions) and looked.tracks


def test_identities_are_part_of_the_file(models: Path) -> None:
    path = evaluation.models(models)[0].path
    found = Classifier.load(path)
    assert set(found.identities) == {"mfcc", "glove"}
    copy = path.with_name("copy.safetensors")
    found.save(copy)
    assert copy.read_bytes() == path.read_bytes()
