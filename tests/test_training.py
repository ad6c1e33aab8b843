"""Batches, training and evaluation on a small synthetic store."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipeline import params, training
from pipeline.batches import Examples
from pipeline.evaluation import predict
from pipeline.models.classifier import Classifier
from pipeline.store import FeatureStore, StoreError
from tests.synthetic import CODES, make_store, table

ROOT = Path(__file__).parents[1]
LABELS = np.array([CODES.index(code) for code in table()["emotion"]])
CPU = torch.device("cpu")


def settings(**model) -> params.Params:
    raw = copy.deepcopy(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")))
    raw["model"] |= {"hidden": {"audio": 8, "text": 8, "video": 8}, "hops": 3, **model}
    raw["model"]["streams"]["text"] = "glove"
    raw["model"]["dropout"] = {"audio": 0.0, "text": 0.0, "video": 0.0}
    raw["train"] |= {"batch_size": 8, "epochs": 40, "learning_rate": 0.01}
    return params.parse(raw)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    with FeatureStore(make_store(tmp_path_factory.mktemp("training"))) as opened:
        yield opened


@pytest.fixture
def examples(store: FeatureStore) -> Examples:
    return Examples(store, settings().model, settings().train.max_steps)


def fitted(examples: Examples, chosen: params.Params, train, development):
    torch.manual_seed(0)
    classifier = training.build(
        examples, chosen.model, chosen.train.max_steps, list(CODES), np.asarray(train)
    )
    log: list[dict[str, float]] = []
    training.fit(
        classifier,
        examples,
        LABELS,
        np.asarray(train),
        np.asarray(development),
        settings=chosen.train,
        device=CPU,
        random=np.random.default_rng(0),
        log=log.append,
    )
    return classifier, log


def test_a_batch_is_padded_with_zeros_and_keeps_lengths(examples: Examples) -> None:
    batch = examples.batch([3, 20, 9])
    for name, stream in examples.streams.items():
        assert batch.lengths[name].tolist() == stream.lengths[[3, 20, 9]].tolist()
        for row, index in enumerate([3, 20, 9]):
            n = stream.lengths[index]
            np.testing.assert_array_equal(batch.sequences[name][row, :n].numpy(), stream[index])
            assert (batch.sequences[name][row, n:] == 0).all()


def test_an_utterance_without_steps_is_one_step_of_padding(examples: Examples) -> None:
    empty = int(np.flatnonzero(examples.lengths["audio"] == 0)[0])
    batch = examples.batch([empty])
    assert batch.lengths["audio"].tolist() == [0]
    assert batch.sequences["audio"].shape == (1, 1, 4)


def test_sequences_are_cut_at_the_most_steps(store: FeatureStore) -> None:
    cut = Examples(store, settings().model, params.MaxSteps(audio=2, text=1, video=3))
    batch = cut.batch(np.arange(35))
    assert {name: int(n.max()) for name, n in batch.lengths.items()} == {
        "audio": 2,
        "text": 1,
        "video": 3,
    }


def test_shuffled_batches_hold_every_utterance_once_and_differ_by_epoch(examples: Examples) -> None:
    random = np.random.default_rng(0)
    indices = np.arange(1, 34)
    epochs = [np.concatenate(list(examples.shuffled(indices, 4, random))) for _ in range(2)]
    assert all(sorted(epoch) == sorted(indices) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])


def test_statistics_come_from_the_training_part_only(examples: Examples) -> None:
    train = np.arange(7, 21)
    mean, deviation = examples.statistics("video", train)
    steps = np.concatenate([examples.sequence("video", index) for index in train.tolist()]).astype(
        float
    )
    np.testing.assert_allclose(mean, steps.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(deviation, steps.std(axis=0), atol=1e-12)


def test_it_learns_and_restores_its_best_weights(examples: Examples) -> None:
    train, development = np.arange(21), np.arange(21, 28)
    classifier, log = fitted(examples, settings(), train, development)
    probabilities = predict(classifier, examples, development, 8, CPU)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    accuracy = (probabilities.argmax(axis=1) == LABELS[development]).mean()
    assert accuracy == max(figures["development/weighted_accuracy"] for figures in log) > 0.8
    assert log[-1]["train/loss"] < log[0]["train/loss"]


def test_it_stops_when_patience_is_used_up(examples: Examples) -> None:
    raw = settings().model_dump()
    raw["train"] |= {"patience": 2, "learning_rate": 1e-9}
    _, log = fitted(examples, params.parse(raw), np.arange(21), np.arange(21, 28))
    best = max(
        range(len(log)),
        key=lambda k: (log[k]["development/weighted_accuracy"], -log[k]["development/loss"]),
    )
    assert len(log) == min(best + 3, 40)


def test_the_same_seed_gives_the_same_model(examples: Examples) -> None:
    first, _ = fitted(examples, settings(), np.arange(21), np.arange(21, 28))
    second, _ = fitted(examples, settings(), np.arange(21), np.arange(21, 28))
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[name], atol=0, rtol=0)


@pytest.mark.parametrize("tune", [True, False])
def test_embeddings_are_tuned_or_kept(examples: Examples, tune: bool) -> None:
    classifier, _ = fitted(
        examples, settings(tune_embeddings=tune), np.arange(21), np.arange(21, 28)
    )
    vectors = examples.streams["text"].vectors
    assert np.array_equal(classifier.inputs["text"].weight.detach().numpy(), vectors) != tune


def test_predictions_do_not_depend_on_the_batch(examples: Examples) -> None:
    classifier, _ = fitted(examples, settings(), np.arange(21), np.arange(21, 28))
    alone = predict(classifier, examples, np.arange(35), 1, CPU)
    np.testing.assert_allclose(
        predict(classifier, examples, np.arange(35), 16, CPU), alone, atol=1e-5
    )


def test_a_saved_model_is_the_same_and_has_the_same_bytes(
    examples: Examples, tmp_path: Path
) -> None:
    classifier, _ = fitted(examples, settings(share_hops=True), np.arange(21), np.arange(21, 28))
    classifier.save(tmp_path / "a.safetensors")
    loaded = Classifier.load(tmp_path / "a.safetensors")
    loaded.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    np.testing.assert_array_equal(
        predict(classifier, examples, np.arange(35), 8, CPU),
        predict(loaded, examples, np.arange(35), 8, CPU),
    )
    assert loaded.max_steps == settings().train.max_steps
    assert loaded.settings == classifier.settings


def test_a_stream_without_steps_is_refused(store: FeatureStore) -> None:
    chosen = settings(streams={"audio": "prosody", "text": "glove", "video": "resnet"})
    with pytest.raises(StoreError, match="no stream prosody; it has"):
        Examples(store, chosen.model, chosen.train.max_steps)
