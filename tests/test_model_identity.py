"""A model reads the streams that it was trained on, and says how others differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import synthetic
from benchmarks.synthetic import make_store
from pipeline.corpus.utterance import Utterance
from pipeline.evaluation import prediction, trained
from pipeline.features.extractor import State, Steps
from pipeline.models.classifier import Classifier
from pipeline.store import FeatureStore, StoreError
from pipeline.store.writing import pack
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
        prediction.test_folds(opened, models, torch.device("cpu"))


def other_store(folder: Path, monkeypatch: pytest.MonkeyPatch, **noise: dict[str, Any]) -> Path:
    """A store with other parameters of the streams of noise, by name."""
    streams = synthetic.streams

    def changed(**options: Any) -> dict[str, dict[str, Any]]:
        return {
            modality: {
                name: its.model_copy(update=noise.get(name, {})) for name, its in group.items()
            }
            for modality, group in streams(**options).items()
        }

    monkeypatch.setattr(synthetic, "streams", changed)
    return make_store(folder)


def test_another_vocabulary_is_refused(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ids would be looked up among the vectors of other words."""
    prepare = synthetic.Words.prepare

    def others(self: synthetic.Words, *given: Any) -> State:
        found = prepare(self, *given)
        return {**found, "vectors": found["vectors"][::-1].copy()}

    monkeypatch.setattr(synthetic.Words, "prepare", others)
    other = make_store(tmp_path / "other")
    pack(other, tmp_path / "packed.h5")
    for path in (other, tmp_path / "packed.h5"):
        words = rf"{path}: its stream glove is not.*vectors: \S+ /"
        with pytest.raises(StoreError, match=words):
            evaluated(path, models)


def test_other_parameters_are_named(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = other_store(tmp_path / "other", monkeypatch, mfcc={"step": 0.005})
    with pytest.raises(StoreError, match="stream mfcc is not.*parameters.step: 0.01 / 0.005; tra"):
        evaluated(other, models)


def test_other_digits_and_streams_that_it_does_not_read_do_not_matter(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract = synthetic.Noise.extract

    def elsewhere(
        self: synthetic.Noise, utterances: Sequence[Utterance], *given: Any
    ) -> list[Steps]:
        found = extract(self, utterances, *given)
        return [
            Steps(np.nextafter(step.values, np.float32(np.inf)), step.times, problem=step.problem)
            for step in found
        ]

    monkeypatch.setattr(synthetic.Noise, "extract", elsewhere)
    other = other_store(tmp_path / "other", monkeypatch, resnet={"width": 9})
    with FeatureStore(other) as store, FeatureStore(tmp_path / "own/store") as own:
        assert store.stream("mfcc").sha256 != own.stream("mfcc").sha256
        assert store.stream("resnet").identity != own.stream("resnet").identity
    evaluated(other, models)


def test_identities_are_part_of_the_file(models: Path) -> None:
    path = trained.models(models)[0].path
    found = Classifier.load(path)
    assert set(found.identities) == {"mfcc", "glove"}
    copy = path.with_name("copy.safetensors")
    found.save(copy)
    assert copy.read_bytes() == path.read_bytes()
