"""Streams of several layers: in the store, in the batches, and mixed by a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import synthetic
from benchmarks.synthetic import CODES, Noise, make_store
from pipeline import params
from pipeline.corpus.utterance import Utterance
from pipeline.evaluation import layers
from pipeline.export import means
from pipeline.export.common import ExportError
from pipeline.features.extractor import Context, Extractor, State, Steps
from pipeline.models.classifier import Classifier
from pipeline.models.standardise import LayerMix, Standardise
from pipeline.store import FeatureStore
from pipeline.store.checking import verify
from pipeline.store.dataset import StoreDataset
from pipeline.store.describing import describe
from pipeline.training import folds
from tests.test_classifier import build
from tests.test_training import settings
from tests.trained import jobs_of, make_models

NUMBERS = [6, 9, 12]


class Layered(Noise):
    """Three layers; the emotion shows in the second of them alone."""

    def layer_numbers(self) -> list[int]:
        return NUMBERS

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        random = np.random.default_rng(0)
        return [
            replace(
                step,
                values=np.stack(
                    [
                        random.normal(5, 3, step.values.shape),
                        10 * step.values,
                        random.normal(size=step.values.shape),
                    ],
                    axis=1,
                ).astype(np.float32),
            )
            for step in super().extract(utterances, state, context)
        ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    streams = synthetic.streams()

    def layered(**options: Any) -> dict[str, dict[str, Extractor]]:
        return {**streams, "audio": {"mfcc": Layered(), "prosody": streams["audio"]["prosody"]}}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "streams", layered)
        path = make_store(tmp_path_factory.mktemp("layers"))
    with FeatureStore(path) as opened:
        yield opened


def test_the_store_has_the_layers(store: FeatureStore) -> None:
    stream = store.stream("mfcc")
    assert (stream.layers, stream.width) == (NUMBERS, 4)
    assert stream.group["values"].shape[1:] == (3, 4)
    assert store.stream("resnet").layers == []
    assert verify(store.path) == []
    assert "3x4" in describe(store.path)


def test_statistics_are_of_each_value_of_each_layer(store: FeatureStore) -> None:
    stream = store.stream("mfcc")
    rows = np.array([0, 1, 2, 20])
    steps = np.concatenate([stream[row] for row in rows]).astype(np.float64)
    mean, deviation = stream.statistics(rows)
    np.testing.assert_allclose(mean, steps.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(deviation, steps.std(axis=0), atol=1e-12)


def test_batches_are_padded_in_time(store: FeatureStore) -> None:
    dataset = StoreDataset(store, ["mfcc"])
    batch = dataset.batch([3, 20])
    lengths = batch.lengths["mfcc"].tolist()
    assert batch.sequences["mfcc"].shape == (2, max(lengths), 3, 4)
    np.testing.assert_array_equal(
        batch.sequences["mfcc"][1, : lengths[1]], store.stream("mfcc")[20]
    )


def test_the_mix_is_the_mean_weighted_by_a_softmax() -> None:
    random = np.random.default_rng(0)
    values, logits = random.normal(size=(2, 5, 3, 4)), np.array([0.5, -1.0, 2.0])
    mix = LayerMix(3)
    np.testing.assert_allclose(mix.weights.detach(), [1 / 3] * 3, rtol=1e-6)
    with torch.no_grad():
        mix.logits.copy_(torch.from_numpy(logits))
    weights = np.exp(logits) / np.exp(logits).sum()
    expected = (values * weights[:, None]).sum(axis=2)
    mixed = mix(torch.from_numpy(values).float())
    np.testing.assert_allclose(mixed.detach(), expected, atol=1e-6)


def test_a_speakers_statistics_standardise_every_layer() -> None:
    random = np.random.default_rng(0)
    values, own = random.normal(size=(2, 5, 3, 4)), random.uniform(1, 2, size=(2, 2, 3, 4))
    own[1] = np.nan
    found = Standardise(3, 4)(torch.from_numpy(values), torch.from_numpy(own))
    np.testing.assert_allclose(found[0], (values[0] - own[0, 0]) / own[0, 1])
    np.testing.assert_allclose(found[1], values[1])  # the layer's own: 0 and 1


@pytest.mark.parametrize("normalise", ["training", "speaker"])
def test_a_model_learns_which_layer_tells_the_emotion(
    store: FeatureStore, tmp_path: Path, normalise: str
) -> None:
    raw = settings(modalities=["audio"], hops=1, normalise=normalise).model_dump()
    raw["train"] |= {"epochs": 30, "learning_rate": 0.05, "seeds": [0]}
    raw["train"]["max_steps"]["audio"] = 8
    chosen = params.parse(raw)
    jobs = jobs_of(store.path, chosen, tmp_path / "models")
    folds.train_folds(jobs[:2], 1)
    table = layers.weights(tmp_path / "models").set_index("layer")
    assert table.index.tolist() == NUMBERS and (table["stream"] == "mfcc").all()
    assert table["weight"].sum() == pytest.approx(1.0)
    weights = dict(zip(table.index, table["weight"], strict=True))
    assert max(weights, key=weights.__getitem__) == 9 and weights[9] > 0.4


def test_saved_models_have_the_same_mix(store: FeatureStore, tmp_path: Path) -> None:
    classifier, dataset = build(store)
    mix: Any = classifier.layers["mfcc"]
    with torch.no_grad():
        mix.logits.copy_(torch.tensor([0.0, 1.0, -1.0]))
    classifier.save(tmp_path / "m.safetensors")
    loaded = Classifier.load(tmp_path / "m.safetensors")
    assert loaded.layer_weights() == classifier.layer_weights()
    assert list(loaded.layer_weights()["mfcc"]) == NUMBERS
    torch.testing.assert_close(loaded(dataset.batch([3, 20])), classifier(dataset.batch([3, 20])))


def test_layers_weigh_the_same_in_a_linear_model(store: FeatureStore) -> None:
    classifier, dataset = build(store, name="linear", modalities=["audio"])
    batch = dataset.batch([20])
    pooled = classifier.model.pooled(*classifier.standardised(batch))
    values = store.stream("mfcc")[20].astype(np.float64)
    standardise: Any = classifier.inputs["mfcc"]
    mixed = ((values - standardise.mean.numpy()) / standardise.deviation.numpy()).mean(axis=1)
    expected = np.concatenate([mixed.mean(axis=0), mixed.std(axis=0)])
    np.testing.assert_allclose(pooled[0].detach(), expected, atol=1e-4)
    assert classifier.parameter_counts["trained"] == (8 + 1) * len(CODES)


def test_no_layers_no_rows(tmp_path: Path) -> None:
    with FeatureStore(make_store(tmp_path)) as plain:
        assert layers.weights(make_models(plain, tmp_path / "models")).empty


def test_exports_want_one_layer(store: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"mfcc has the layers \[6, 9, 12\]; extract one"):
        means.write(store, tmp_path / "means.csv")
