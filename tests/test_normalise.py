"""``model.normalise speaker``: each speaker standardised on their own, as float64 NumPy does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.synthetic import make_store
from pipeline.evaluation.prediction import predict
from pipeline.models.standardise import Standardise
from pipeline.store import FeatureStore
from pipeline.store import dataset as datasets
from pipeline.store.dataset import StoreDataset
from pipeline.store.inputs import of_model
from pipeline.training import folds
from tests.test_training import settings

STREAMS = ("mfcc", "prosody", "resnet")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    with FeatureStore(make_store(tmp_path_factory.mktemp("normalise"))) as opened:
        yield opened


def test_standardise_uses_the_speakers_statistics_where_there_are_some() -> None:
    layer = Standardise(2)
    layer.mean.copy_(torch.tensor([1.0, 2.0]))
    layer.deviation.copy_(torch.tensor([2.0, 4.0]))
    values = torch.arange(12.0).reshape(2, 3, 2)
    of_speakers = torch.tensor([[[3.0, 5.0], [0.5, 10.0]], [[torch.nan] * 2] * 2])
    found = layer(values, of_speakers)
    np.testing.assert_allclose(found[0], (values[0].numpy() - [3, 5]) / [0.5, 10])
    np.testing.assert_allclose(found[1], (values[1].numpy() - [1, 2]) / [2, 4])
    np.testing.assert_allclose(layer(values[:, 0], of_speakers), found[:, 0])


@pytest.mark.parametrize("max_steps", [None, 4])
def test_statistics_are_over_all_utterances_of_a_speaker(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, max_steps: int | None
) -> None:
    """Also those without a label or outside the dataset, and only up to the truncation."""
    monkeypatch.setattr(datasets, "FEWEST_UTTERANCES", 3)
    table = store.utterances
    some = table["utterance"].tolist()[::3]
    dataset = StoreDataset(store, STREAMS, utterances=some, max_steps=max_steps, by_speaker=True)
    batch = dataset.batch(range(len(some)))
    assert set(batch.of_speakers) == set(STREAMS)
    speakers = table.set_index("utterance")["speaker"]
    for name in STREAMS:
        for row, utterance in enumerate(batch.utterances):
            own = np.flatnonzero(table["speaker"] == speakers[utterance])
            stream = store.stream(name)
            values = [np.atleast_2d(stream[int(index)])[:max_steps] for index in own]
            values = [value for value in values if len(value) and not np.isnan(value).all()]
            found = batch.of_speakers[name][row].numpy()
            if len(values) < 3:
                assert np.isnan(found).all()
                continue
            joined = np.concatenate(values).astype(np.float64)
            deviation = joined.std(axis=0)
            constant = deviation <= 1e-6 * (1 + np.abs(joined.mean(axis=0)))
            np.testing.assert_allclose(found[0], joined.mean(axis=0), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(found[1], np.where(constant, 1, deviation), rtol=1e-5)


def test_without_it_batches_have_no_statistics(store: FeatureStore) -> None:
    assert StoreDataset(store, STREAMS).batch(range(3)).of_speakers == {}


@pytest.mark.parametrize("name", ["amh", "linear"])
def test_a_shift_and_scale_of_a_speaker_changes_no_probability(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Not with `speaker`; with `training` it does."""
    monkeypatch.setattr(datasets, "FEWEST_UTTERANCES", 2)
    table = store.utterances
    speaker = table["speaker"].iloc[0]
    own = np.flatnonzero(table["speaker"] == speaker)
    original = datasets.Stream.__getitem__

    def shifted(stream, index):
        values = original(stream, index)
        return 3 * values + 5 if index in own and values.dtype.kind == "f" else values

    for normalise in ("speaker", "training"):
        parameters = settings(
            name=name, normalise=normalise, modalities=["audio", "video"], prosody="prosody"
        )
        steps = parameters.train.max_steps
        dataset = of_model(store, parameters.model, steps)
        train = np.flatnonzero(table["speaker"] != speaker)
        torch.manual_seed(0)
        classifier = folds.build(dataset, parameters.model, steps, list("abcdefg"), train)
        before = predict(classifier, dataset, own, 4, torch.device("cpu"))
        with monkeypatch.context() as patch:
            patch.setattr(datasets.Stream, "__getitem__", shifted)
            fresh = of_model(store, parameters.model, steps)
            after = predict(classifier, fresh, own, 4, torch.device("cpu"))
        assert np.allclose(before, after, atol=1e-4) == (normalise == "speaker")


def test_a_speaker_of_few_utterances_is_counted_and_said(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = store.utterances["speaker"].value_counts()
    few = int((counts < datasets.FEWEST_UTTERANCES).sum())
    jobs = folds.plan(
        store.path,
        settings(normalise="speaker"),
        lists=tmp_path,
        models=tmp_path / "models",
        curves=tmp_path / "curves",
        checkpoints=tmp_path / "kept",
        device="cpu",
    )
    assert few and f"for {few} of {len(counts)} speakers" in folds.describe(jobs)


def test_a_models_key_has_the_features_of_all_utterances_of_its_speakers(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With random folds the test part has the same speakers; its features then count."""

    def keys(normalise: str) -> list[str]:
        parameters = settings(normalise=normalise).model_dump()
        parameters["split"] |= {"protocol": "random", "folds": 5}
        jobs = folds.plan(
            store.path,
            folds.params.parse(parameters),
            lists=tmp_path,
            models=tmp_path / "models",
            curves=tmp_path / "curves",
            checkpoints=tmp_path / "kept",
            device="cpu",
        )
        return [job.checkpoint.key for job in jobs]

    before = {name: keys(name) for name in ("speaker", "training")}
    original = StoreDataset.checksums.fget  # type: ignore[attr-defined]
    labelled = np.flatnonzero(store.utterances["emotion"] == "ang")

    def changed(dataset):
        found = {name: values.copy() for name, values in original(dataset).items()}
        found["mfcc"][labelled[0]] ^= 1
        return found

    monkeypatch.setattr(StoreDataset, "checksums", property(changed))
    after = {name: keys(name) for name in ("speaker", "training")}
    assert all(a != b for a, b in zip(before["speaker"], after["speaker"], strict=True))
    same = [a == b for a, b in zip(before["training"], after["training"], strict=True)]
    assert sum(same) == 1  # the fold that tests it
