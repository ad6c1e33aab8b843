"""The whole classifier: input layers of streams, several streams of a modality, its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.synthetic import CODES, make_store, without_prosody
from pipeline import InputError
from pipeline.models.classifier import Classifier, concatenate_steps
from pipeline.store import FeatureStore, StoreError
from pipeline.store.dataset import StoreDataset
from pipeline.store.inputs import of_model
from pipeline.training import folds
from tests.test_training import settings

TWO_STREAMS = {
    "modalities": ["audio", "text"],
    "streams": {"audio": "mfcc", "text": ["glove", "resnet"], "video": "unused"},
    "hidden": {"audio": 4, "text": 7, "video": 1},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    with FeatureStore(make_store(tmp_path_factory.mktemp("classifier"))) as opened:
        yield opened


def build(store: FeatureStore, **model) -> tuple[Classifier, StoreDataset]:
    chosen = settings(**model)
    dataset = of_model(store, chosen.model, chosen.train.max_steps)
    torch.manual_seed(0)
    classifier = folds.build(
        dataset, chosen.model, chosen.train.max_steps, list(CODES), np.arange(21)
    )
    return classifier.eval(), dataset


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=5),
)
def test_streams_follow_each_other_without_a_gap(lengths: list[tuple[int, int]]) -> None:
    first, second = torch.tensor(lengths).T
    torch.manual_seed(0)
    a, b = torch.randn(len(lengths), 4, 2), torch.randn(len(lengths), 3, 2)
    joined, total = concatenate_steps([a, b], [first, second])
    assert joined.shape == (len(lengths), 7, 2)
    for row, (n, m) in enumerate(lengths):
        assert total[row] == n + m
        torch.testing.assert_close(joined[row, : n + m], torch.cat([a[row, :n], b[row, :m]]))
        assert (joined[row, n + m :] == 0).all()


def test_two_streams_are_read_one_after_the_other(store: FeatureStore) -> None:
    """Against the input layers applied to one utterance by hand."""
    classifier, dataset = build(store, **TWO_STREAMS)
    index = 20
    logits, weights = classifier(dataset.batch([index, 3]), attention=True)
    ids = torch.from_numpy(dataset[index]["streams"]["glove"])
    words = classifier.mixing["glove"](classifier.inputs["glove"](ids))
    frames = torch.from_numpy(dataset[index]["streams"]["resnet"])
    frames = classifier.mixing["resnet"](classifier.inputs["resnet"](frames))
    text = torch.cat([words, frames])[None]
    sound = classifier.inputs["mfcc"](torch.from_numpy(dataset[index]["streams"]["mfcc"]))[None]
    expected = classifier.model(
        {"audio": sound, "text": text},
        {"audio": torch.tensor([sound.shape[1]]), "text": torch.tensor([text.shape[1]])},
    )
    torch.testing.assert_close(logits[0], expected[0])
    on_text = weights[classifier.model.targets.index("text")][0]
    assert (on_text[: text.shape[1]] > 0).all() and (on_text[text.shape[1] :] == 0).all()


def test_prosody_is_standardised_and_joined(store: FeatureStore) -> None:
    classifier, dataset = build(store, prosody="prosody")
    layer: Any = classifier.inputs["prosody"]
    values = store.stream("prosody").group["values"][:21].astype(np.float64)
    np.testing.assert_allclose(layer.mean.numpy(), values.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(layer.deviation.numpy(), values.std(axis=0), rtol=1e-5)
    batch = dataset.batch([20, 3])
    assert classifier.model.classifier.in_features == 3 * 8 + 3
    batch.joined["prosody"][0] += 1
    assert not torch.equal(classifier(batch)[0], classifier(dataset.batch([20, 3]))[0])


def test_an_utterance_without_prosody_is_given_the_mean_of_the_training_part(
    store: FeatureStore, tmp_path: Path
) -> None:
    """One of the training part, and one that is not in it."""
    copy = without_prosody(store.path, tmp_path / "copy", [3, 25])
    with FeatureStore(copy) as gaps:
        classifier, dataset = build(gaps, prosody="prosody")
        layer: Any = classifier.inputs["prosody"]
        values = np.delete(store.stream("prosody").group["values"][:21].astype(float), 3, axis=0)
        np.testing.assert_allclose(layer.mean.numpy(), values.mean(axis=0), rtol=1e-6)
        batch = dataset.batch([3, 20, 25])
        assert torch.isnan(batch.joined["prosody"]).all(dim=1).tolist() == [True, False, True]
        logits = classifier(batch)
        assert torch.isfinite(logits).all()
        batch.joined["prosody"][[0, 2]] = layer.mean
        torch.testing.assert_close(logits, classifier(batch), atol=1e-6, rtol=0)
        batch.joined["prosody"][[0, 2]] += 1
        changed = (logits != classifier(batch)).any(dim=1)
        assert changed.tolist() == [True, False, True]


def test_a_model_learns_from_a_batch_of_which_some_have_no_prosody(
    store: FeatureStore, tmp_path: Path
) -> None:
    copy = without_prosody(store.path, tmp_path / "copy", [3])
    with FeatureStore(copy) as gaps:
        classifier, dataset = build(gaps, prosody="prosody")
        loss = torch.nn.functional.cross_entropy(
            classifier.train()(dataset.batch([3, 20])), torch.tensor([0, 1])
        )
        loss.backward()
    for key, parameter in classifier.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), key


def test_a_batch_without_a_stream_is_as_if_it_were_empty(store: FeatureStore) -> None:
    classifier, dataset = build(store, prosody="prosody")
    batch = dataset.batch([20, 3])
    silent = batch.without(["mfcc"])
    assert silent.lengths["mfcc"].tolist() == [0, 0]
    silent.sequences["mfcc"][:] = 7.0
    silent.joined["prosody"][:] = 7.0
    torch.testing.assert_close(classifier(silent), classifier(batch.without(["mfcc"])))
    assert torch.isfinite(classifier(batch.without(["mfcc", "glove", "resnet"]))).all()


@pytest.mark.parametrize("name", ["amh", "mdre", "mha"])
@pytest.mark.parametrize(
    "options",
    [{}, {"layers": 2, "bidirectional": True}, {"prosody": "prosody"}, TWO_STREAMS],
)
def test_every_trained_parameter_gets_a_gradient(
    store: FeatureStore, name: str, options: dict
) -> None:
    modalities = ["audio", "text"] if name == "mha" else ["audio", "text", "video"]
    classifier, dataset = build(store, **{"name": name, "modalities": modalities, **options})
    classifier.train()
    indices = [index for index in range(35) if dataset.lengths["mfcc"][index] > 2][:12]
    truth = torch.arange(12) % 7
    torch.nn.functional.cross_entropy(classifier(dataset.batch(indices)), truth).backward()
    for key, parameter in classifier.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), key


def test_parameters_are_counted(store: FeatureStore) -> None:
    tuned, _ = build(store, name="mdre", modalities=["text"])
    # 9 vectors of 6; a GRU of 8 states with two biases; a linear layer to 7 classes
    expected = 9 * 6 + 3 * 8 * (6 + 8 + 2) + 8 * 7 + 7
    assert tuned.parameter_counts == {"trained": expected, "all": expected}
    kept, _ = build(store, name="mdre", modalities=["text"], tune_embeddings=False)
    assert kept.parameter_counts == {"trained": expected - 9 * 6, "all": expected}


def test_an_option_the_model_does_not_take_is_named(store: FeatureStore) -> None:
    with pytest.raises(
        InputError, match=r"model.options.heads: unknown option; options of amh: none"
    ):
        build(store, options={"heads": 2})


@pytest.mark.parametrize("content", [b"", b"no model"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fold-1.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"fold-1.safetensors: not a model that this version can"):
        Classifier.load(path)


def test_prosody_must_have_one_row_an_utterance(store: FeatureStore) -> None:
    with pytest.raises(StoreError, match="model.prosody is glove, which has steps"):
        build(store, prosody="glove", modalities=["audio", "video"])


@pytest.mark.parametrize(
    "options", [TWO_STREAMS, {"prosody": "prosody"}, {"bidirectional": True, "layers": 2}]
)
def test_a_saved_model_is_the_same(store: FeatureStore, tmp_path: Path, options: dict) -> None:
    classifier, dataset = build(store, **options)
    classifier.save(tmp_path / "fold-1.safetensors")
    loaded = Classifier.load(tmp_path / "fold-1.safetensors")
    batch = dataset.batch(np.arange(30))
    torch.testing.assert_close(loaded(batch), classifier(batch), atol=0, rtol=0)
