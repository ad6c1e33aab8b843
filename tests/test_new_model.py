"""The worked example of docs/models.md: its file and registry line, taken from the page and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.synthetic import CODES, make_store
from pipeline import InputError
from pipeline.models.classifier import Classifier
from pipeline.registry import MODELS, Model
from pipeline.store import FeatureStore
from pipeline.store.dataset import StoreDataset
from pipeline.store.inputs import of_model
from pipeline.training import folds
from tests.documented import register
from tests.test_training import LABELS, settings

PAGE = (Path(__file__).parents[1] / "docs/models.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented file as a module of that name, and the documented line in the registry."""
    register(PAGE, "pipeline.models", tmp_path, monkeypatch, kind=Model, registry=MODELS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    with FeatureStore(make_store(tmp_path_factory.mktemp("new-model"))) as opened:
        yield opened


def build(store: FeatureStore, **model) -> tuple[Classifier, StoreDataset]:
    chosen = settings(name="pooling", **model)
    dataset = of_model(store, chosen.model, chosen.train.max_steps)
    torch.manual_seed(0)
    classifier = folds.build(
        dataset, chosen.model, chosen.train.max_steps, list(CODES), np.arange(21)
    )
    return classifier, dataset


@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("options", [{}, {"prosody": "prosody", "bidirectional": True}])
def test_the_documented_model_learns_and_is_saved(
    store: FeatureStore, tmp_path: Path, pool: str, options: dict
) -> None:
    classifier, dataset = build(store, options={"pool": pool}, **options)
    batch, truth = dataset.batch(np.arange(21)), torch.from_numpy(LABELS[:21])
    optimiser = torch.optim.Adam(classifier.parameters(), lr=0.02)
    for _ in range(40):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(classifier(batch), truth).backward()
        for key, parameter in classifier.named_parameters():
            assert parameter.grad is not None and (parameter.grad != 0).any(), key
        optimiser.step()
    assert (classifier(batch).argmax(dim=1) == truth).float().mean() > 0.9
    classifier.save(tmp_path / "model.safetensors")
    loaded = Classifier.load(tmp_path / "model.safetensors")
    classifier.eval()
    torch.testing.assert_close(loaded(batch), classifier(batch), atol=0, rtol=0)
    logits, weights = loaded(batch.without(["mfcc", "glove", "resnet"]), attention=True)
    torch.testing.assert_close(logits, loaded.model.classifier.bias.expand_as(logits))
    assert weights == loaded.model.targets == []


def test_it_has_no_context(store: FeatureStore) -> None:
    with pytest.raises(InputError, match=r"^model\.context: pooling does not take it"):
        build(store, context="past")


def test_it_pools_the_valid_steps_only(store: FeatureStore) -> None:
    indices = [20, 3, 8]
    for pool in ("mean", "max"):
        classifier, dataset = build(store, modalities=["audio"], options={"pool": pool})
        batch = dataset.batch(indices)
        batch.sequences["mfcc"][
            torch.arange(batch.sequences["mfcc"].shape[1]) >= batch.lengths["mfcc"][:, None]
        ] = 7.0
        for row, index in enumerate(indices):
            encoder: Any = classifier.model.encoders["audio"]
            steps, _ = encoder.gru(
                classifier.inputs["mfcc"](torch.from_numpy(dataset[index]["streams"]["mfcc"]))
            )
            summary = steps.amax(dim=0) if pool == "max" else steps.mean(dim=0)
            torch.testing.assert_close(classifier(batch)[row], classifier.model.classifier(summary))


def test_its_options_are_checked(store: FeatureStore) -> None:
    with pytest.raises(
        InputError, match=r"model.options.pol: unknown option; options of pooling: pool"
    ):
        build(store, options={"pol": "max"})
    with pytest.raises(InputError, match="model: pooling cannot be built: pool must be mean or"):
        build(store, options={"pool": "median"})
