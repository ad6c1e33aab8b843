"""The dialog as context: windows, equations, batches, and that the past does not see the future."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.synthetic import CODES, make_store, table
from pipeline import params
from pipeline.evaluation.prediction import predict
from pipeline.models.classifier import Classifier
from pipeline.registry import MODELS
from pipeline.store import FeatureStore, dialogs
from pipeline.store.dialogs import DialogDataset
from pipeline.store.inputs import of_model
from pipeline.training import folds, splits
from tests.test_models import linear, one_way
from tests.test_training import CPU, fitted, settings
from tests.trained import jobs_of

RECURRENT = [name for name, model in MODELS.items() if not model.pooled]
WINDOW = 3
TRAIN, DEVELOPMENT = np.arange(21), np.arange(21, 28)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    """Five dialogs of seven utterances; rows are sorted by id, so not in the dialogs' order."""
    with FeatureStore(make_store(tmp_path_factory.mktemp("context"))) as opened:
        yield opened


def chosen(context: str = "both", **model) -> params.Params:
    streams = {"audio": "mfcc", "text": "glove", "video": "resnet"}
    known = {"modalities": ["audio", "text"]} if model.get("name") == "mha" else {}
    return settings(context=context, context_window=WINDOW, streams=streams, **{**known, **model})


def opened(store: FeatureStore, setting: params.Params) -> DialogDataset:
    dataset = of_model(store, setting.model, setting.train.max_steps)
    assert isinstance(dataset, DialogDataset)
    return dataset


def built(dataset: DialogDataset, setting: params.Params) -> Classifier:
    torch.manual_seed(0)
    arguments = (setting.model, setting.train.max_steps, list(CODES), TRAIN)
    return folds.build(dataset, *arguments).eval()


def in_order(utterances: pd.DataFrame, row: int) -> list[int]:
    """The rows of the dialog of a row, in the order of the dialog."""
    own = utterances[utterances["dialog"] == utterances["dialog"][row]]
    return own.sort_values("order").index.tolist()


def windows_of(utterances: pd.DataFrame, row: int, context: str) -> list[list[int]]:
    dialog = in_order(utterances, row)
    place = dialog.index(row)
    past = dialog[max(0, place - WINDOW) : place + 1]
    return [past, dialog[place : place + WINDOW + 1][::-1]][: 1 if context == "past" else 2]


@pytest.mark.parametrize("context", ["past", "both"])
@pytest.mark.parametrize("name", RECURRENT)
@torch.inference_mode()
def test_logits_equal_the_equations(store: FeatureStore, name: str, context: str) -> None:
    setting = chosen(context, name=name, prosody="prosody")
    dataset = opened(store, setting)
    classifier = built(dataset, setting)
    model = classifier.model
    found = classifier(dataset.input(np.arange(35))).numpy()
    alone = dataset.batch(np.arange(35))
    joint = classifier.joint(alone)[0].double().numpy()
    utterances = store.utterances
    for row in range(35):
        states = []
        for encoder, window in zip(
            model.context.encoders, windows_of(utterances, row, context), strict=True
        ):
            same = [utterances["speaker"][other] == utterances["speaker"][row] for other in window]
            steps = np.concatenate([joint[window], np.array(same, float)[:, None]], axis=1)
            states.append(one_way(encoder.gru, steps, "l0")[-1])
        expected = linear(model.classifier, np.concatenate([joint[row], *states]))
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


@torch.inference_mode()
def test_without_neighbours_it_is_a_dialog_of_one_utterance(store: FeatureStore) -> None:
    setting = chosen("both")
    dataset = opened(store, setting)
    classifier = built(dataset, setting)
    dataset.neighbours.window = 0
    torch.testing.assert_close(
        classifier(dataset.input([3, 20])), classifier(dataset.batch([3, 20]))
    )


@pytest.mark.parametrize(("context", "moves"), [("past", False), ("both", True)])
def test_what_comes_later_moves_nothing_in_the_past(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, context: str, moves: bool
) -> None:
    setting = chosen(context)
    dataset = opened(store, setting)
    classifier = built(dataset, setting)
    dialog = in_order(store.utterances, 0)
    before, later = dialog[:4], dialog[4:]
    whole = predict(classifier, dataset, np.array(dialog), 8, CPU)
    read = DialogDataset.__getitem__

    def changed(self: DialogDataset, index: int):
        item = copy.deepcopy(read(self, index))
        if index in later:
            item["streams"] = {
                name: values[::-1].copy() for name, values in item["streams"].items()
            }
            item["streams"]["mfcc"] += 5
        return item

    monkeypatch.setattr(DialogDataset, "__getitem__", changed)
    again = predict(classifier, dataset, np.array(dialog), 8, CPU)
    same = np.isclose(whole, again, rtol=0, atol=1e-6).all(axis=1)
    assert not same[len(before) :].any()
    assert same[0]  # the first is more than a window before the change
    assert same[1 : len(before)].all() != moves


@pytest.mark.parametrize("context", ["past", "both"])
def test_an_utterance_does_not_depend_on_what_it_is_predicted_with(
    store: FeatureStore, context: str
) -> None:
    setting = chosen(context)
    dataset = opened(store, setting)
    classifier = built(dataset, setting)
    whole = predict(classifier, dataset, np.arange(35), 32, CPU)
    some = np.array([33, 2, 17])
    np.testing.assert_allclose(predict(classifier, dataset, some, 2, CPU), whole[some], atol=1e-6)


def test_utterances_without_a_label_are_context(store: FeatureStore) -> None:
    setting = chosen("past")
    batch = opened(store, setting).input([in_order(store.utterances, 0)[5]])
    (window,) = batch.windows
    assert window.lengths.tolist() == [WINDOW + 1]
    assert [len(part.utterances) for part in batch.targets] == [1]
    assert sum(len(part.utterances) for part in batch.others) == WINDOW


def test_a_removed_modality_is_removed_from_the_neighbours_too(store: FeatureStore) -> None:
    setting = chosen("both")
    dataset = opened(store, setting)
    batch = dataset.input(np.arange(4)).without(["mfcc"])
    for part in [*batch.targets, *batch.others]:
        assert (part.lengths["mfcc"] == 0).all() and (part.lengths["glove"] > 0).any()
    classifier = built(dataset, setting)
    found = predict(classifier, dataset, np.arange(7), 8, CPU, without=["mfcc", "glove", "resnet"])
    assert np.isfinite(found).all()


@pytest.mark.parametrize(("size", "number"), [(7, 4), (8, 4), (14, 2), (1, 8), (100, 1)])
def test_batches_are_whole_dialogs(store: FeatureStore, size: int, number: int) -> None:
    """Those with more than four times the batch size are divided."""
    dataset = opened(store, chosen())
    indices = np.arange(28)
    assert dataset.steps(indices, size) == number
    random = np.random.default_rng(0)
    epochs = [list(dataset.shuffled(indices, size, random)) for _ in range(2)]
    for batches in epochs:
        assert len(batches) == number
        assert sorted(np.concatenate(batches).tolist()) == indices.tolist()
        assert max(map(len, batches)) <= max(2 * size, 7) if size > 1 else 4
    utterances = store.utterances
    if size >= 7:
        for batch in epochs[0]:
            counts = utterances["dialog"][batch].value_counts()
            assert set(counts) == {7}
    if number > 1:
        assert [b.tolist() for b in epochs[0]] != [b.tolist() for b in epochs[1]]


@pytest.mark.parametrize("context", ["past", "both"])
def test_it_learns_from_the_utterance_before(tmp_path: Path, context: str) -> None:
    """The label is the emotion of the utterance before, whose features alone show it."""
    utterances = table(40)
    rng = np.random.default_rng(0)
    shown = rng.choice(CODES, len(utterances))
    utterances["emotion"] = shown
    figures = {}
    with FeatureStore(make_store(tmp_path, utterances)) as store:
        before = np.full(len(utterances), -1)
        for rows in (in_order(utterances, row) for row in range(0, len(utterances), 40)):
            before[rows[1:]] = [CODES.index(shown[row]) for row in rows[:-1]]
        used = np.flatnonzero(before >= 0)
        for name in ("none", context):
            raw = chosen(name, hops=1).model_dump()
            raw["train"] |= {"epochs": 30, "patience": None}
            setting = params.parse(raw)
            dataset = of_model(store, setting.model, setting.train.max_steps)
            _, log = fitted(dataset, setting, used[:120], used[120:], truth=before)
            figures[name] = log[-1]["development/weighted_accuracy"]
    assert figures["none"] < 0.35
    assert figures[context] > 0.6


def test_a_killed_run_ends_with_the_same_model(tmp_path: Path, store: FeatureStore) -> None:
    contents = []
    for kill in (False, True):
        folder = tmp_path / str(kill)
        raw = chosen("both").model_dump()
        raw["train"] |= {"epochs": 4, "patience": None}
        (job, *_) = jobs_of(store.path, params.parse(raw), folder)
        if kill:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(folds.fitting.Run, "record", killed_at(3))
                with pytest.raises(KeyboardInterrupt):
                    folds.train_fold(job)
        folds.train_fold(job)
        contents.append(job.weights.read_bytes())
    assert contents[0] == contents[1]


def killed_at(validation: int):
    record = folds.fitting.Run.record

    def counted(self, figures: dict[str, float]) -> None:
        if len(self.progress.rows) == validation:
            raise KeyboardInterrupt
        record(self, figures)

    return counted


def test_neighbours_decide_whether_a_model_is_kept(tmp_path: Path, store: FeatureStore) -> None:
    """Another order in the dialog trains again, though features and labels are the same."""
    keys = {}
    reordered = table()
    reordered["order"] = 6 - reordered["order"]
    paths = {"as it is": store.path, "reordered": make_store(tmp_path, reordered)}
    for context in ("none", "past"):
        for name, path in paths.items():
            (job, *_) = jobs_of(path, chosen(context), tmp_path / f"{context} {name}")
            keys[context, name] = job.checkpoint.key
    assert keys["none", "as it is"] == keys["none", "reordered"]
    assert keys["past", "as it is"] != keys["past", "reordered"]


def test_a_saved_model_has_its_context(tmp_path: Path, store: FeatureStore) -> None:
    setting = chosen("both")
    dataset = opened(store, setting)
    classifier = built(dataset, setting)
    classifier.save(tmp_path / "model.safetensors")
    loaded = Classifier.load(tmp_path / "model.safetensors")
    again = loaded.dataset(store)
    assert isinstance(again, DialogDataset) and again.neighbours.window == WINDOW
    batch = dataset.input([4, 30])
    torch.testing.assert_close(loaded(again.input([4, 30])), classifier(batch))


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["random", "speaker"])
def test_folds_that_divide_a_dialog_are_refused(
    tmp_path: Path, store: FeatureStore, protocol: str
) -> None:
    raw = chosen("past").model_dump()
    raw["split"] |= {"protocol": protocol, "folds": 3}
    with pytest.raises(splits.SplitError, match=r"dialog Ses0\dF_impro01 is in parts .* and "):
        jobs_of(store.path, params.parse(raw), tmp_path)


def test_a_linear_classifier_has_no_context() -> None:
    with pytest.raises(params.ParamsError, match="linear classifies each utterance alone"):
        chosen("past", name="linear")


def test_single_utterances_are_not_drawn_for_a_model_with_context() -> None:
    raw = chosen("past").model_dump()
    raw["train"]["balance"] = "sampling"
    with pytest.raises(params.ParamsError, match=r"train\.balance sampling draws single utt"):
        params.parse(raw)


def test_the_label_names_the_context() -> None:
    assert chosen("past").model.label == "AMH-3, context past"
    assert chosen("none").model.label == "AMH-3"


def test_utterances_are_padded_in_the_parts_that_take_the_least_time(store: FeatureStore) -> None:
    """As the best of all divisions of the utterances by length."""
    dataset = opened(store, chosen())
    items = np.arange(9)
    dataset.lengths["mfcc"][4:9] *= 8  # so that several parts pay
    lengths = np.sort(np.max([own[items] for own in dataset.lengths.values()], axis=0))

    def time(parts: list[np.ndarray]) -> int:
        return sum(int(part.max()) * (len(part) + dialogs._OVERHEAD) for part in parts)

    every = [
        np.split(lengths, np.flatnonzero(cuts) + 1) for cuts in np.ndindex(*[2] * (len(items) - 1))
    ]
    found = dataset._parts(items)
    assert sorted(np.concatenate(found).tolist()) == items.tolist()
    longest = np.max(list(dataset.lengths.values()), axis=0)
    assert time([longest[part] for part in found]) == min(map(time, every))
    assert len(found) > 1


def test_context_alone_gets_no_gradient_but_is_read(store: FeatureStore) -> None:
    setting = chosen("past")
    dataset = opened(store, setting)
    classifier = built(dataset, setting).train()
    batch = dataset.input([in_order(store.utterances, 0)[3]])
    for part in [*batch.targets, *batch.others]:
        part.sequences["mfcc"].requires_grad_(True)
    classifier(batch).square().sum().backward()
    assert all(part.sequences["mfcc"].grad is not None for part in batch.targets)
    assert batch.others and all(part.sequences["mfcc"].grad is None for part in batch.others)
