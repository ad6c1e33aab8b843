"""Attention as data: what the file holds, and its statistics against cases worked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.synthetic import make_store
from pipeline.evaluation import attention, prediction
from pipeline.models.classifier import Classifier
from pipeline.store import FeatureStore
from pipeline.system.hdf5 import write_strings, writing
from tests.trained import STEPS, make_models

CPU = torch.device("cpu")
STREAMS = {"audio": "mfcc", "text": "glove", "video": "resnet"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    with FeatureStore(make_store(tmp_path_factory.mktemp("attention"))) as opened:
        yield opened


def written(store: FeatureStore, folder: Path, **model) -> tuple[Path, pd.DataFrame]:
    """The file of models of random weights, and their predictions."""
    predictions = prediction.test_folds(store, make_models(store, folder, **model), CPU)
    attention.write(store, folder, predictions, folder / "attention.h5", CPU)
    return folder / "attention.h5", predictions


@pytest.fixture(scope="module")
def amh(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of AMH-4 with two seeds."""
    return written(store, tmp_path_factory.mktemp("amh"), hops=4, seeds=(5, 3))[0]


def weights_of(path: Path, hop: int) -> list[np.ndarray]:
    with h5py.File(path) as file:
        offsets = file[f"hop-{hop}/offsets"][:]
        return np.split(file[f"hop-{hop}/values"][:], offsets[1:-1])


def test_it_holds_every_test_utterance_in_the_order_of_the_store(
    store: FeatureStore, amh: Path
) -> None:
    folds = pd.read_csv(amh.with_name("folds.csv"))
    test = folds[folds["part"] == "test"].set_index("utterance")
    with h5py.File(amh) as file:
        names = file["utterances/id"].asstr()[:].tolist()
        assert names == store.utterances["utterance"].tolist()
        assert file["utterances/fold"][:].tolist() == test.loc[names, "fold"].tolist()
        assert file["utterances/emotion"].asstr()[:].tolist() == test.loc[names, "emotion"].tolist()
        assert list(file) == ["hop-1", "hop-2", "hop-3", "hop-4", "utterances"]
        about = [dict(file[f"hop-{number}"].attrs) for number in range(1, 5)]
    assert [hop["target"] for hop in about] == ["video", "audio", "text", "video"]
    assert [json.loads(hop["streams"]) for hop in about] == [
        *(["resnet"], ["mfcc"], ["glove"], ["resnet"])
    ]


def test_weights_are_those_of_the_first_seeds_model_of_the_fold(
    store: FeatureStore, amh: Path
) -> None:
    """Against each model asked about one utterance at a time."""
    with h5py.File(amh) as file:
        assert (file.attrs["schema_version"], file.attrs["seed"]) == (1, 3)
        folds = file["utterances/fold"][:]
        predicted = file["utterances/predicted"].asstr()[:]
    hops = [weights_of(amh, number) for number in range(1, 5)]
    for row, fold in enumerate(folds):
        classifier = Classifier.load(amh.with_name(f"fold-{fold}-seed-3.safetensors"))
        dataset = classifier.dataset(store)
        with torch.inference_mode():
            logits, expected = classifier(dataset.batch([row]), attention=True)
        assert predicted[row] == classifier.classes[int(logits.argmax())]
        for target, hop, values in zip(classifier.model.targets, hops, expected, strict=True):
            n = int(dataset.lengths[STREAMS[target]][row])
            np.testing.assert_allclose(hop[row], values[0, :n].numpy(), atol=1e-5)


def test_weights_sum_to_one_and_an_absent_modality_has_none(store: FeatureStore, amh: Path) -> None:
    absent = np.minimum(store.stream("mfcc").lengths, STEPS["audio"]) == 0
    assert absent.any() and not absent.all()
    on_audio = weights_of(amh, 2)
    for weights, empty in zip(on_audio, absent, strict=True):
        assert len(weights) == 0 if empty else weights.sum() == pytest.approx(1, abs=1e-5)
    assert max(map(len, on_audio)) == STEPS["audio"]  # cut as the model reads it


def test_a_single_utterance_is_looked_at_alike_even_by_a_model_in_training(
    store: FeatureStore, amh: Path
) -> None:
    with h5py.File(amh) as file:
        fold = file["utterances/fold"][20]
    classifier = Classifier.load(amh.with_name(f"fold-{fold}-seed-3.safetensors"))
    for part in classifier.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.9
    dataset = classifier.dataset(store)
    found = attention.of_utterance(classifier.train(), dataset, 20)
    assert [target for target, _ in found] == ["video", "audio", "text", "video"]
    for number, (_, weights) in enumerate(found, start=1):
        np.testing.assert_allclose(weights, weights_of(amh, number)[20], atol=1e-5)


def test_the_same_models_give_the_same_bytes(store: FeatureStore, amh: Path) -> None:
    again = amh.with_name("again.h5")
    predictions = prediction.test_folds(store, amh.parent, CPU)
    attention.write(store, amh.parent, predictions, again, CPU)
    assert again.read_bytes() == amh.read_bytes()


def test_several_streams_of_a_modality_follow_each_other(
    store: FeatureStore, tmp_path: Path
) -> None:
    path, _ = written(
        store,
        tmp_path,
        modalities=["audio", "text"],
        streams={"audio": "mfcc", "text": ["glove", "resnet"], "video": "unused"},
        hops=2,
    )
    with h5py.File(path) as file:
        assert json.loads(file["hop-2"].attrs["streams"]) == ["glove", "resnet"]
    words, frames = (
        np.minimum(store.stream(name).lengths, STEPS["text"]) for name in ("glove", "resnet")
    )
    assert [len(weights) for weights in weights_of(path, 2)] == (words + frames).tolist()


def test_an_utterance_in_two_test_parts_is_looked_at_once(
    store: FeatureStore, tmp_path: Path
) -> None:
    path, predictions = written(store, tmp_path, hops=1)
    twice = predictions[predictions["fold"] == 2].assign(fold=5)
    attention.write(store, tmp_path, pd.concat([predictions, twice]), tmp_path / "twice.h5", CPU)
    assert (tmp_path / "twice.h5").read_bytes() == path.read_bytes()


def test_a_model_without_hops_leaves_utterances_and_empty_tables(
    store: FeatureStore, tmp_path: Path
) -> None:
    path, predictions = written(store, tmp_path, name="mdre")
    with h5py.File(path) as file:
        assert list(file) == ["utterances"]
        assert len(file["utterances/id"]) == len(predictions)
    assert len(attention.statistics(path)) == 0
    assert len(attention.profile(path)) == 0
    assert attention.statistics(path).columns.tolist() == [
        *("hop", "target", "emotion", "utterances", "entropy", "position")
    ]
    assert attention.profile(path).columns.tolist() == [
        *("hop", "target", "emotion", "bin", "weight")
    ]


def file_of(path: Path, emotions: list[str], weights: list[list[float]]) -> Path:
    """A file of one hop on the text."""
    with writing(path) as file:
        write_strings(file, "utterances/emotion", emotions)
        group = file.create_group("hop-1")
        group.attrs["target"] = "text"
        group["offsets"] = np.cumsum([0, *map(len, weights)])
        group["values"] = np.concatenate(weights).astype(np.float32)
    return path


def test_entropy_and_position_by_hand(tmp_path: Path) -> None:
    """Single steps and absent modalities have no entropy, and count for no figure."""
    path = file_of(
        tmp_path / "a.h5",
        ["sad", "ang", "ang", "sad", "ang"],
        [[0.5, 0.5], [1.0, 0.0], [0.25, 0.25, 0.25, 0.25], [1.0], []],
    )
    table = attention.statistics(path).set_index("emotion")
    assert dict(table["utterances"]) == {"all": 3, "ang": 2, "sad": 1}
    assert dict(table["entropy"]) == pytest.approx({"all": 2 / 3, "ang": 0.5, "sad": 1.0})
    assert dict(table["position"]) == pytest.approx(
        {"all": (0.5 + 0.25 + 0.5) / 3, "ang": (0.25 + 0.5) / 2, "sad": 0.5}
    )
    assert (table["hop"] == 1).all() and (table["target"] == "text").all()


def test_entropy_is_between_none_and_one(tmp_path: Path) -> None:
    """[3/4, 1/4] has an entropy of 2 - 3/4 log2 3 bits, of one bit at most."""
    path = file_of(tmp_path / "a.h5", ["ang"], [[0.75, 0.25]])
    table = attention.statistics(path)
    assert table["entropy"].tolist() == pytest.approx([2 - 0.75 * np.log2(3)] * 2)
    assert table["position"].tolist() == pytest.approx([0.75 * 0.25 + 0.25 * 0.75] * 2)


def test_profile_by_hand(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.h5", ["ang", "sad", "sad"], [[1.0, 0.0], [1.0], []])
    table = attention.profile(path, bins=4).pivot_table(
        index="emotion", columns="bin", values="weight"
    )
    assert list(table.loc["ang"]) == pytest.approx([0.5, 0.5, 0, 0])
    assert list(table.loc["sad"]) == pytest.approx([0.25] * 4)
    assert list(table.loc["all"]) == pytest.approx([0.375, 0.375, 0.125, 0.125])
    assert set(attention.profile(path)["bin"]) == set(range(10))


@settings(max_examples=50)
@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=30).map(lambda x: np.array(x) / sum(x)),
    st.integers(1, 12),
)
def test_a_step_counts_for_the_bins_that_it_lies_in(
    tmp_path_factory: pytest.TempPathFactory, weights: np.ndarray, bins: int
) -> None:
    """Against the overlap of each step with each bin."""
    path = file_of(tmp_path_factory.getbasetemp() / "profile.h5", ["ang"], [weights.tolist()])
    table = attention.profile(path, bins)
    found = table.loc[table["emotion"] == "ang", "weight"]
    expected = np.zeros(bins)
    for step, weight in enumerate(weights):
        start, end = step / len(weights), (step + 1) / len(weights)
        for number in range(bins):
            overlap = min(end, (number + 1) / bins) - max(start, number / bins)
            expected[number] += weight * max(overlap, 0) * len(weights)
    np.testing.assert_allclose(found, expected, atol=1e-6)
