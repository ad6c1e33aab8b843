"""Planning and training on a small synthetic store."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from benchmarks.synthetic import CODES, make_store, table
from pipeline import InputError, params, report
from pipeline.corpus.iemocap import votes
from pipeline.corpus.iemocap.codes import DESCRIPTION
from pipeline.evaluation.prediction import predict
from pipeline.evaluation.trained import models
from pipeline.models.classifier import Classifier
from pipeline.report import facts
from pipeline.store import FeatureStore, StoreError
from pipeline.store.dataset import StoreDataset
from pipeline.store.inputs import of_model
from pipeline.training import folds, linear
from pipeline.training.fitting import balanced, class_weights, fit, learning_rate

ROOT = Path(__file__).parents[1]
LABELS = np.array([CODES.index(code) for code in table()["emotion"]])
CPU = torch.device("cpu")


def settings(external: Sequence[str] = (), **model) -> params.Params:
    raw = copy.deepcopy(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")))
    raw["model"] |= {"hidden": {"audio": 8, "text": 8, "video": 8}, "hops": 3}
    raw["model"]["streams"]["text"] = "glove"
    for name in external:
        stream = {"extractor": "external", "path": f"data/external/{name}"}
        raw["audio"]["streams"][name] = stream
    raw["model"] |= {"dropout": {"audio": 0.0, "text": 0.0, "video": 0.0}, **model}
    resnets = raw["visual"]["streams"]
    for name in np.atleast_1d(raw["model"]["streams"]["video"]).tolist():
        if name not in {*raw["audio"]["streams"], *raw["text"]["streams"]}:
            resnets.setdefault(name, resnets["resnet"])
    raw["train"] |= {"batch_size": 8, "epochs": 40, "learning_rate": 0.01}
    return params.parse(raw)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    with FeatureStore(make_store(tmp_path_factory.mktemp("training"))) as opened:
        yield opened


@pytest.fixture
def dataset(store: FeatureStore) -> StoreDataset:
    return of_model(store, settings().model, settings().train.max_steps)


def fitted(
    dataset: StoreDataset,
    chosen: params.Params,
    train,
    development,
    targets=None,
    *,
    truth=LABELS,
):
    torch.manual_seed(0)
    classifier = folds.build(
        dataset, chosen.model, chosen.train.max_steps, list(CODES), np.asarray(train)
    )
    log: list[dict[str, float]] = []
    arguments: dict[str, Any] = {
        "truth": truth,
        "targets": truth if targets is None else targets,
        "settings": chosen.train,
        "log": log.append,
    }
    if not chosen.model.is_pooled:
        arguments |= {"device": CPU, "random": np.random.default_rng(0)}
    by = linear.fit if chosen.model.is_pooled else fit
    by(classifier, dataset, np.asarray(train), np.asarray(development), **arguments)
    return classifier, log


@pytest.fixture(scope="module")
def trained(store: FeatureStore) -> tuple[Classifier, list[dict[str, float]]]:
    """A model with the default settings of these tests, and its log; no test changes it."""
    dataset = of_model(store, settings().model, settings().train.max_steps)
    return fitted(dataset, settings(), np.arange(21), np.arange(21, 28))


def test_it_learns_and_restores_its_best_weights(dataset: StoreDataset, trained) -> None:
    development = np.arange(21, 28)
    classifier, log = trained
    probabilities = predict(classifier, dataset, development, 8, CPU)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    accuracy = (probabilities.argmax(axis=1) == LABELS[development]).mean()
    assert accuracy == max(figures["development/weighted_accuracy"] for figures in log) > 0.8
    assert log[-1]["train/loss"] < log[0]["train/loss"]


def test_it_stops_when_patience_is_used_up(dataset: StoreDataset) -> None:
    raw = settings().model_dump()
    raw["train"] |= {"patience": 2, "learning_rate": 1e-9}
    _, log = fitted(dataset, params.parse(raw), np.arange(21), np.arange(21, 28))
    best = max(
        range(len(log)),
        key=lambda k: (log[k]["development/weighted_accuracy"], -log[k]["development/loss"]),
    )
    assert len(log) == min(best + 3, 40)


def test_the_same_seed_gives_the_same_model(dataset: StoreDataset, trained) -> None:
    first, _ = trained
    second, _ = fitted(dataset, settings(), np.arange(21), np.arange(21, 28))
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[name], atol=0, rtol=0)


@pytest.mark.parametrize("tune", [True, False])
def test_embeddings_are_tuned_or_kept(dataset: StoreDataset, tune: bool) -> None:
    raw = settings(tune_embeddings=tune).model_dump()
    raw["train"] |= {"epochs": 2}
    classifier, _ = fitted(dataset, params.parse(raw), np.arange(21), np.arange(21, 28))
    vectors = dataset.stream("glove").vectors
    assert np.array_equal(classifier.inputs["glove"].weight.detach().numpy(), vectors) != tune


def test_predictions_do_not_depend_on_the_batch(dataset: StoreDataset, trained) -> None:
    classifier, _ = trained
    alone = predict(classifier, dataset, np.arange(35), 1, CPU)
    np.testing.assert_allclose(
        predict(classifier, dataset, np.arange(35), 16, CPU), alone, atol=1e-5
    )


def test_a_saved_model_is_the_same_and_has_the_same_bytes(
    dataset: StoreDataset, tmp_path: Path
) -> None:
    chosen = settings(share_hops=True)
    classifier = folds.build(
        dataset, chosen.model, chosen.train.max_steps, list(CODES), np.arange(21)
    )
    classifier.save(tmp_path / "a.safetensors")
    loaded = Classifier.load(tmp_path / "a.safetensors")
    loaded.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    np.testing.assert_array_equal(
        predict(classifier, dataset, np.arange(35), 8, CPU),
        predict(loaded, dataset, np.arange(35), 8, CPU),
    )
    assert loaded.max_steps == settings().train.max_steps
    assert loaded.settings == classifier.settings


def of(section: str, **values) -> params.Params:
    """The settings of these tests with some parameters of a group changed."""
    raw = settings().model_dump()
    raw[section] |= values
    return params.parse(raw)


@pytest.mark.parametrize("every", [0.3, 0.5, 0.7, 1.0, 0.01])
def test_validations_are_spread_over_the_epochs(dataset: StoreDataset, every: float) -> None:
    """21 utterances in batches of 2 are 11 batches per epoch."""
    chosen = of("train", validate_every=every, batch_size=2, epochs=2, patience=1000)
    _, log = fitted(dataset, chosen, np.arange(21), np.arange(21, 28))
    steps = [figures["epoch"] * 11 for figures in log]
    due = [round(k * every * 11) for k in range(1, 1000) if 0 < round(k * every * 11) <= 22]
    assert steps == pytest.approx(sorted({*due, 22}))


def test_patience_counts_validations(dataset: StoreDataset) -> None:
    chosen = of(
        "train", validate_every=0.25, batch_size=2, patience=3, learning_rate=1e-12, epochs=9
    )
    _, log = fitted(dataset, chosen, np.arange(24), np.arange(24, 31))
    best = max(
        range(len(log)),
        key=lambda k: (log[k]["development/weighted_accuracy"], -log[k]["development/loss"]),
    )
    assert len(log) == min(best + 4, 36)


@pytest.mark.parametrize("soft", [False, True])
def test_training_loss_is_the_mean_cross_entropy_since_the_last_validation(
    dataset: StoreDataset, soft: bool
) -> None:
    """Against NumPy; the rate is so small that the model stays what it was."""
    train = np.arange(21)
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(len(CODES)), len(LABELS)).astype(np.float32)
    targets = shares if soft else LABELS
    chosen = of("train", learning_rate=1e-12, epochs=1, validate_every=0.5, batch_size=4)
    classifier, log = fitted(dataset, chosen, train, np.arange(21, 28), targets)
    order = np.concatenate(list(dataset.shuffled(train, 4, np.random.default_rng(0))))
    expected = shares if soft else np.eye(len(CODES))[LABELS]
    sizes = [len(b) for b in dataset.shuffled(train, 4, np.random.default_rng(0))]
    cut = sum(sizes[: round(0.5 * len(sizes))])
    assert len(log) == 2
    for figures, rows in zip(log, (order[:cut], order[cut:]), strict=True):
        logs = np.log(predict(classifier, dataset, rows, 4, CPU))
        assert figures["train/loss"] == pytest.approx(
            -(expected[rows] * logs).sum(axis=1).mean(), abs=1e-5
        )


def test_it_learns_from_shares_and_is_measured_by_the_majority(dataset: StoreDataset) -> None:
    shares = (0.7 * np.eye(len(CODES)) + 0.3 / len(CODES))[LABELS].astype(np.float32)
    train, development = np.arange(21), np.arange(21, 28)
    classifier, log = fitted(dataset, settings(), train, development, shares)
    probabilities = predict(classifier, dataset, development, 8, CPU)
    best = max(figures["development/weighted_accuracy"] for figures in log)
    assert (probabilities.argmax(axis=1) == LABELS[development]).mean() == best > 0.8


def planned(store: Path, folder: Path, chosen: params.Params) -> list[folds.Job]:
    return folds.plan(
        store,
        chosen,
        lists=folder / "splits",
        models=folder / "models",
        curves=folder / "curves",
        checkpoints=folder / "parts",
        device="cpu",
    )


def test_targets_are_the_majority_or_the_votes(store: FeatureStore, tmp_path: Path) -> None:
    for job in planned(store.path, tmp_path, settings()):
        assert job.targets is job.truth
    chosen = of("train", targets="votes")
    for job in planned(store.path, tmp_path, chosen):
        assert job.truth.tolist() == LABELS.tolist()
        # two evaluators for the label, one for Other, which is no class
        np.testing.assert_array_equal(job.targets, np.eye(len(CODES), dtype=np.float32)[LABELS])
    raw = chosen.model_dump()
    raw["labels"]["scheme"] = {code: code for code in (*CODES, "oth")}
    for job in planned(store.path, tmp_path, params.parse(raw)):
        assert job.targets.sum(axis=1) == pytest.approx(1)
        assert job.targets[:, -1] == pytest.approx(1 / 3)
    assert job.classes[-1] == "oth" and "oth" in votes.CODES


def test_only_the_chosen_scenarios_are_trained_and_tested(tmp_path: Path) -> None:
    rows = table()
    rows["scenario"] = ["improvised" if n % 3 else "scripted" for n in range(len(rows))]
    path = make_store(tmp_path, rows)
    improvised = set(rows["utterance"][rows["scenario"] == "improvised"])
    jobs = planned(path, tmp_path, of("labels", scenarios=["improvised"]))
    for job in jobs:
        assert {*job.fold.train, *job.fold.development, *job.fold.test} == improvised
    recorded = json.loads((tmp_path / "models/parameters.json").read_text(encoding="utf-8"))
    assert recorded["labels"]["scenarios"] == ["improvised"]


def test_a_store_without_votes_cannot_give_them(store: FeatureStore, tmp_path: Path) -> None:
    unrated = tmp_path / "unrated"
    shutil.copytree(store.path, unrated)
    with h5py.File(unrated / "store.h5", "r+") as file:
        file.attrs["categories"] = "[]"
        del file["labels/votes"]
        file["labels/votes"] = np.zeros((len(store), 0), np.float32)
    with pytest.raises(
        StoreError, match=r"unrated: train.targets votes needs raters' votes.*targets to majority"
    ):
        planned(unrated, tmp_path, of("train", targets="votes"))
    assert planned(unrated, tmp_path, settings())


def test_labelled_utterances_that_a_list_leaves_out_are_counted(
    store: FeatureStore, tmp_path: Path
) -> None:
    (tmp_path / "splits").mkdir()
    jobs = planned(store.path, tmp_path, settings())
    size = f"{jobs[0].parameters['all']:,} parameters"
    assert folds.describe(jobs) == f"AMH-3, {size}: 5 folds of 35 labelled utterances"
    parts = pd.read_csv(tmp_path / "models" / "folds.csv")
    few = parts[(parts["fold"] == 1) & ~parts["utterance"].str.endswith("000")]
    few.to_csv(tmp_path / "splits" / "few.csv", index=False)
    jobs = planned(store.path, tmp_path, of("split", protocol="file", list="few"))
    assert folds.describe(jobs) == (
        f"AMH-3, {size}: 1 fold of 30 labelled utterances; 5 more are not in the list"
    )


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"protocol": "session"}, "leave one session out; 5 folds: no speaker is in two parts"),
        ({"protocol": "speaker"}, "one speaker tests, .*; 10 folds: no speaker is in two parts"),
        ({"protocol": "random"}, "random, stratified; 10 folds: speakers are shared.*flatters"),
    ],
)
def test_the_report_tells_the_protocol_and_whether_speakers_are_shared(
    store: FeatureStore, tmp_path: Path, split: dict[str, str], words: str
) -> None:
    planned(store.path, tmp_path, of("split", **split))
    assigned = pd.read_csv(tmp_path / "models" / "folds.csv")
    told = facts.protocol(split | {"list": None}, assigned, store.utterances, DESCRIPTION.group)
    assert re.match(words, told)


def test_curves_of_a_trained_fold_tell_the_epoch(store: FeatureStore, tmp_path: Path) -> None:
    chosen = of("train", validate_every=0.5, epochs=2, batch_size=2)
    folds.train_fold(planned(store.path, tmp_path, chosen)[0])
    lines = report.curves(tmp_path / "curves")
    assert lines.columns[:2].tolist() == ["fold", "epoch"]
    assert lines["epoch"].tolist() == pytest.approx([0.5, 1.0, 1.5, 2.0], abs=0.05)
    assert {"train/loss", "development/loss"} < set(lines.columns)
    assert (tmp_path / "models" / "fold-1.safetensors").is_file()


# --- balance, schedules, seeds -------------------------------------------------------------------


def test_class_weights_by_hand() -> None:
    """Four of class 0, one of class 2; class 1 does not occur."""
    weights = class_weights(np.array([0, 0, 2, 0, 0]))
    assert weights.tolist() == [5 / (2 * 4), 0, 5 / 2]


def test_sampling_draws_each_class_alike() -> None:
    classes = np.repeat([0, 1, 2], [900, 90, 10])
    drawn = balanced(np.arange(1000) + 7, classes, np.random.default_rng(0))
    assert len(drawn) == 1000
    counts = np.bincount(classes[drawn - 7])
    assert (np.abs(counts - 1000 / 3) < 4 * np.sqrt(1000 * 2 / 9)).all()


def test_weights_change_the_loss_as_defined(dataset: StoreDataset) -> None:
    """The logged loss against NumPy; the rate is so small that the model stays what it was."""
    train = np.concatenate([np.arange(14), np.flatnonzero(LABELS == 0)])
    chosen = of("train", learning_rate=1e-12, epochs=1, balance="weights")
    classifier, log = fitted(dataset, chosen, train, np.arange(21, 28))
    probabilities = predict(classifier, dataset, np.unique(train), 4, CPU)
    row = {index: probabilities[k] for k, index in enumerate(np.unique(train))}
    weights = class_weights(LABELS[train])
    losses = [-np.log(row[index][LABELS[index]]) * weights[LABELS[index]] for index in train]
    assert log[0]["train/loss"] == pytest.approx(np.mean(losses), abs=1e-5)


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_it_learns_with_balance(dataset: StoreDataset, balance: str) -> None:
    chosen = of("train", balance=balance)
    _, log = fitted(dataset, chosen, np.arange(21), np.arange(21, 28))
    assert max(figures["development/weighted_accuracy"] for figures in log) > 0.8


def test_learning_rates_by_hand() -> None:
    constant, cosine, plateau = (
        of("train", learning_rate=0.1, schedule=name).train
        for name in ("constant", "cosine", "plateau")
    )
    assert learning_rate(constant, 0.7, 3) == 0.1
    assert [learning_rate(cosine, done, 3) for done in (0, 0.5, 1)] == pytest.approx([0.1, 0.05, 0])
    assert [learning_rate(plateau, 0.7, n) for n in (0, 1, 3)] == [0.1, 0.05, 0.0125]


def test_the_one_cycle_schedule_is_that_of_torch() -> None:
    """Its rate rises for 30 % of the steps from a 25th, then falls; torch ends a little above 0."""
    settings = of("train", learning_rate=0.1, schedule="one_cycle").train
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    steps = 1000
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=steps)
    for step in range(steps - 1):
        ours = learning_rate(settings, step / steps, 0)
        assert ours == pytest.approx(theirs.get_last_lr()[0], abs=6e-4)
        optimiser.step()
        theirs.step()
    assert learning_rate(settings, 0, 0) == pytest.approx(0.1 / 25)
    assert learning_rate(settings, 0.3, 0) == pytest.approx(0.1)
    assert learning_rate(settings, 1, 0) == pytest.approx(0)


def test_without_patience_all_epochs_are_trained_and_the_last_weights_kept(
    dataset: StoreDataset,
) -> None:
    chosen = of("train", patience=None, epochs=7)
    classifier, log = fitted(dataset, chosen, np.arange(21), np.arange(21, 28))
    assert [figures["epoch"] for figures in log] == list(range(1, 8))
    probabilities = predict(classifier, dataset, np.arange(21, 28), 8, CPU)
    right = (probabilities.argmax(axis=1) == LABELS[21:28]).mean()
    assert right == pytest.approx(log[-1]["development/weighted_accuracy"])
    shorter, _ = fitted(dataset, of("train", patience=None, epochs=1), np.arange(21), [21, 22])
    assert (predict(shorter, dataset, np.arange(21, 28), 8, CPU) != probabilities).any()


@pytest.mark.parametrize("name", ["mdre", "linear"])
def test_with_development_the_development_part_is_trained_on_too(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """But not by the linear classifier, which chooses its strength there first."""
    seen: list[tuple[set[int], set[int]]] = []

    def note(classifier, dataset, train, development, **_) -> None:
        seen.append((set(train.tolist()), set(development.tolist())))

    monkeypatch.setattr(folds.fitting, "fit", note)
    monkeypatch.setattr(folds.linear, "fit", note)
    raw = settings(name=name).model_dump()
    raw["train"] |= {"patience": None, "with_development": True}
    jobs = folds.plan(
        store.path,
        params.parse(raw),
        lists=tmp_path,
        models=tmp_path / "models",
        curves=tmp_path / "curves",
        checkpoints=tmp_path / "kept",
        device="cpu",
    )
    folds.train_fold(jobs[0])
    [(train, development)] = seen
    assert development and (development <= train) == (name == "mdre")
    assert not train & {store.row_of[utterance] for utterance in jobs[0].fold.test}


def test_nothing_is_chosen_on_what_was_trained_on() -> None:
    with pytest.raises(params.ParamsError, match="with_development trains on the development part"):
        of("train", with_development=True, patience=3)
    with pytest.raises(params.ParamsError, match="schedule plateau needs train.patience"):
        of("train", schedule="plateau", patience=None)


def test_batches_of_a_small_part_change_from_epoch_to_epoch(dataset: StoreDataset) -> None:
    random = np.random.default_rng(0)
    epochs = [
        {frozenset(batch.tolist()) for batch in dataset.shuffled(np.arange(35), 4, random)}
        for _ in range(2)
    ]
    assert epochs[0] != epochs[1]


def test_the_rate_is_halved_on_a_plateau(dataset: StoreDataset) -> None:
    chosen = of("train", schedule="plateau", patience=6, learning_rate=1e-9)
    _, log = fitted(dataset, chosen, np.arange(21), np.arange(21, 28))
    rates = [figures["train/learning_rate"] for figures in log]
    best, waited, expected = (-1.0, 0.0), 0, 1e-9
    for figures, rate in zip(log, rates, strict=True):
        assert rate == expected
        score = (figures["development/weighted_accuracy"], -figures["development/loss"])
        best, waited = (score, 0) if score > best else (best, waited + 1)
        if waited and waited % 2 == 0:
            expected /= 2


def test_a_model_a_fold_and_seed(store: FeatureStore, tmp_path: Path) -> None:
    chosen = of("train", seeds=[3, 5], epochs=1)
    jobs = planned(store.path, tmp_path, chosen)
    assert folds.describe(jobs).endswith(": 5 folds with 2 seeds each of 35 labelled utterances")
    assert [job.weights.name for job in jobs[:2]] == [
        "fold-1-seed-3.safetensors",
        "fold-1-seed-5.safetensors",
    ]
    for job in jobs[:4]:
        folds.train_fold(job)
    found = models(tmp_path / "models")
    assert [(model.fold, model.seed) for model in found] == [(1, 3), (1, 5), (2, 3), (2, 5)]
    first, second, *_ = (model.path.read_bytes() for model in found)
    assert first != second
    lines = report.curves(tmp_path / "curves")
    assert lines[["fold", "seed"]].drop_duplicates().values.tolist() == [
        [1, 3],
        [1, 5],
        [2, 3],
        [2, 5],
    ]


def test_chances_of_folds_and_seeds_differ(store: FeatureStore, tmp_path: Path) -> None:
    """Fold 2 of seed 0 must not start like fold 1 of seed 1."""
    jobs = planned(store.path, tmp_path, of("train", seeds=[0, 1], epochs=1, learning_rate=1e-12))
    chosen = {(job.fold.number, job.seed): job for job in jobs}
    for key in ((2, 0), (1, 1)):
        folds.train_fold(chosen[key])
    one, other = (Classifier.load(chosen[key].weights) for key in ((2, 0), (1, 1)))
    assert not torch.equal(one.model.classifier.weight, other.model.classifier.weight)


def test_parameters_of_the_model_are_counted_and_kept(store: FeatureStore, tmp_path: Path) -> None:
    jobs = planned(store.path, tmp_path, settings(tune_embeddings=False))
    kept = json.loads((tmp_path / "models" / "parameters.json").read_text(encoding="utf-8"))
    assert kept["label"] == "AMH-3"
    trained, total = kept["parameters"]["trained"], kept["parameters"]["all"]
    assert total - trained == 9 * 6
    assert folds.describe(jobs).startswith(f"AMH-3, {total:,} parameters ({trained:,} trained):")


def test_models_of_a_killed_run_are_not_taken_for_those_of_other_parameters(
    store: FeatureStore, tmp_path: Path
) -> None:
    """A row of the comparison keeps its folder when it is killed."""
    for job in planned(store.path, tmp_path, of("train", seeds=[0, 1])):
        job.weights.write_bytes(b"")
    for job in planned(store.path, tmp_path, settings()):
        job.weights.write_bytes(b"")
    assert [(fold, seed) for fold, seed, _ in models(tmp_path / "models")] == [
        (fold, 0) for fold in range(1, 6)
    ]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            {"streams": {"audio": "wav2vec", "text": "glove", "video": "resnet"}},
            "no stream wav2vec",
        ),
        ({"prosody": "pitch"}, "no stream pitch"),
        ({"options": {"heads": 2}}, "model.options.heads"),
    ],
)
def test_a_model_that_cannot_be_built_stops_the_plan(
    store: FeatureStore, tmp_path: Path, model: dict, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        planned(store.path, tmp_path, settings(external=["wav2vec", "pitch"], **model))
    assert not (tmp_path / "models").exists()
