"""The linear classifier: its pooled values, its solution, and what it takes and refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.synthetic import make_store
from pipeline import params
from pipeline.evaluation import prediction
from pipeline.evaluation.prediction import predict
from pipeline.models.classifier import Classifier
from pipeline.models.linear import Linear
from pipeline.store import FeatureStore, StoreError
from pipeline.store.inputs import of_model
from pipeline.training import folds, linear
from pipeline.training.fitting import class_weights
from tests import test_training
from tests.test_training import LABELS, settings

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    with FeatureStore(make_store(tmp_path_factory.mktemp("linear"))) as opened:
        yield opened


def chosen(**model) -> params.Params:
    streams = {"audio": ["mfcc", "prosody"], "text": "glove", "video": "resnet"}
    return settings(**{"name": "linear", "streams": streams, **model})


def fitted(store: FeatureStore, parameters: params.Params, train, development, targets=LABELS):
    dataset = of_model(store, parameters.model, parameters.train.max_steps)
    classifier, rows = test_training.fitted(dataset, parameters, train, development, targets)
    return classifier, dataset, rows


def parts() -> tuple[np.ndarray, np.ndarray]:
    labelled = np.flatnonzero(LABELS >= 0)
    return labelled[::2], labelled[1::2]


def test_pooled_values_are_means_and_deviations_of_valid_steps() -> None:
    model = Linear({"mfcc": 2, "words": 3}, {"egemaps": 4}, 5)
    random = np.random.default_rng(0)
    sequences = {"mfcc": random.normal(size=(2, 6, 2)), "words": random.normal(size=(2, 4, 3))}
    lengths = {"mfcc": [6, 2], "words": [3, 0]}
    values = random.normal(size=(2, 4))
    found = model.pooled(
        {name: torch.tensor(x, dtype=torch.float32) for name, x in sequences.items()},
        {name: torch.tensor(n) for name, n in lengths.items()},
        {"egemaps": torch.tensor(values, dtype=torch.float32)},
    ).numpy()
    for row in range(2):
        expected = []
        for name, x in sequences.items():
            steps = x[row, : lengths[name][row]]
            width = x.shape[2]
            if len(steps):
                expected += [*steps.mean(axis=0), *steps.std(axis=0)]
            else:
                expected += [np.nan] * (2 * width)
        np.testing.assert_allclose(found[row], [*expected, *values[row]], atol=1e-5)


def test_missing_values_count_as_the_mean_of_the_training_part() -> None:
    torch.manual_seed(0)
    model = Linear({}, {"egemaps": 3}, 2)
    model.standardise.mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    missing = torch.full((1, 3), torch.nan)
    at_mean = model.standardise.mean[None]
    torch.testing.assert_close(
        model({}, {}, {"egemaps": missing}), model({}, {}, {"egemaps": at_mean})
    )


@pytest.mark.parametrize("targets", ["majority", "votes"])
@pytest.mark.parametrize("balance", ["none", "weights"])
@pytest.mark.parametrize("few", [False, True])  # fewer utterances than values, and more
def test_the_solution_minimises_the_penalised_loss(
    store: FeatureStore, targets: str, balance: str, few: bool
) -> None:
    """At the minimum the gradient of |W|^2 / 2 + C sum of losses is zero, in float64 NumPy."""
    train, development = parts()
    parameters = chosen(
        modalities=["audio"], streams={"audio": "prosody", "text": "glove", "video": "resnet"}
    )
    if few:
        train, development, parameters = train[:14], development[:14], chosen()
    raw = parameters.model_dump()
    raw["train"] |= {"balance": balance}
    parameters = params.parse(raw)
    random = np.random.default_rng(0)
    shares = np.eye(7)[np.maximum(LABELS, 0)]
    if targets == "votes":
        shares = (0.8 * shares + 0.2 * random.dirichlet(np.ones(7), len(shares))).astype(np.float32)
    classifier, dataset, rows = fitted(
        store, parameters, train, development, shares if targets == "votes" else LABELS
    )
    best = max(
        rows, key=lambda row: (row["development/unweighted_accuracy"], -row["development/loss"])
    )
    both = np.concatenate([train, development])
    values = linear.pooled(classifier, dataset, both)
    assert (values.shape[1] > len(both)) == few
    mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    x = (values - mean) / np.where(deviation > 1e-6 * (1 + abs(mean)), deviation, 1)
    x = np.nan_to_num(x)  # an utterance that lacks a stream
    weights = classifier.model.classifier.weight.detach().double().numpy()
    bias = classifier.model.classifier.bias.detach().double().numpy()
    logits = x @ weights.T + bias
    likely = np.exp(logits - logits.max(axis=1, keepdims=True))
    likely /= likely.sum(axis=1, keepdims=True)
    wanted = shares[both].astype(np.float64)
    each = class_weights(wanted.argmax(axis=1)) if balance == "weights" else np.ones(7)
    # a share of class c weighs each[c]: the gradient of sum_c wanted_c each_c log p_c
    scale = wanted @ each
    slope = likely * scale[:, None] - wanted * each
    gradient = weights + best["strength"] * slope.T @ x
    size = np.abs(best["strength"] * (wanted * each).T @ x).max() + 1
    assert np.abs(gradient).max() < 2e-3 * size
    assert np.abs(best["strength"] * slope.sum(axis=0)).max() < 2e-3 * size


def test_it_classifies_what_it_was_fitted_to_and_keeps_its_figures(store: FeatureStore) -> None:
    train, development = parts()
    classifier, dataset, rows = fitted(store, chosen(), train, development)
    assert [row["strength"] for row in rows] == list(linear.STRENGTHS)
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    both = np.concatenate([train, development])
    probabilities = predict(classifier, dataset, both, 8, CPU)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == LABELS[both]).mean() > 0.8


def test_a_class_that_the_training_part_lacks_is_never_predicted(store: FeatureStore) -> None:
    train, development = parts()
    train, development = train[LABELS[train] > 0], development[LABELS[development] > 0]
    classifier, dataset, _ = fitted(store, chosen(), train, development)
    everyone = np.arange(len(LABELS))
    assert predict(classifier, dataset, everyone, 8, CPU)[:, 0].max() == 0


def test_two_classes_get_two_logits(store: FeatureStore) -> None:
    train, development = (part[LABELS[part] < 2] for part in parts())
    classifier, dataset, _ = fitted(store, chosen(), train, development)
    probabilities = predict(classifier, dataset, train, 8, CPU)
    np.testing.assert_allclose(probabilities[:, :2].sum(axis=1), 1, atol=1e-6)
    assert (probabilities.argmax(axis=1) == LABELS[train]).mean() > 0.8


def test_a_saved_model_and_a_second_fit_are_the_same(store: FeatureStore, tmp_path: Path) -> None:
    train, development = parts()
    paths = [tmp_path / name for name in ("one.safetensors", "two.safetensors")]
    for path in paths:
        classifier, dataset, _ = fitted(store, chosen(), train, development)
        classifier.save(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    loaded = Classifier.load(paths[0])
    np.testing.assert_array_equal(
        predict(loaded, dataset, train, 8, CPU), predict(classifier, dataset, train, 8, CPU)
    )
    assert loaded.settings.label == "linear"


def test_it_trains_in_folds_is_kept_and_tested_without_a_modality(
    store: FeatureStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> str:
        jobs = folds.plan(
            store.path,
            chosen(),
            lists=tmp_path,
            models=tmp_path / "models",
            curves=tmp_path / "curves",
            checkpoints=tmp_path / "kept",
            device="cpu",
        )
        folds.train_folds(jobs, 2)
        return capsys.readouterr().out

    assert "computed 5, kept 0" in run()
    first = [path.read_bytes() for path in sorted((tmp_path / "models").iterdir())]
    assert "computed 0, kept 5" in run()
    assert first == [path.read_bytes() for path in sorted((tmp_path / "models").iterdir())]
    whole = prediction.test_folds(store, tmp_path / "models", CPU)
    bare = prediction.test_folds(store, tmp_path / "models", CPU, "audio")
    assert (whole.filter(regex="^p_") != bare.filter(regex="^p_")).any(axis=None)


def test_only_it_takes_utterance_level_streams(store: FeatureStore) -> None:
    streams = {"audio": "prosody", "text": "glove", "video": "resnet"}
    parameters = settings(streams=streams)
    with pytest.raises(StoreError, match="set it to a stream with steps, or model.name to linear"):
        of_model(store, parameters.model, parameters.train.max_steps)
    dataset = of_model(
        store, chosen(streams=streams, modalities=["audio"]).model, parameters.train.max_steps
    )
    assert dataset.sizes.joined == ["prosody"]
    assert [len(part) for part in dataset.in_order(np.arange(5), 2)] == [2, 2, 1]
