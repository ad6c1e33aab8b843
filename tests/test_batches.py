"""The dataset: items, labels, cuts, padding, batches of like length, statistics, workers."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from benchmarks.synthetic import make_store, without_prosody
from pipeline import params
from pipeline.corpus import labels
from pipeline.store import FeatureStore, StoreError
from pipeline.store.batches import Batch, Item, collate
from pipeline.store.dataset import StoreDataset
from pipeline.store.inputs import of_model
from pipeline.store.writing import pack
from tests.test_training import settings

SEQUENCES = {"mfcc", "resnet", "glove"}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("batches"))


@pytest.fixture(scope="module")
def store(path: Path) -> Iterator[FeatureStore]:
    with FeatureStore(path) as opened:
        yield opened


def of(store: FeatureStore, **model) -> StoreDataset:
    chosen = settings(**model)
    return of_model(store, chosen.model, chosen.train.max_steps)


@pytest.fixture(scope="module")
def dataset(store: FeatureStore) -> StoreDataset:
    return of(store, prosody="prosody")


# --- items ---------------------------------------------------------------------------------------


def test_items_are_the_stores_values(path: Path, store: FeatureStore) -> None:
    dataset = StoreDataset(path)
    assert dataset.utterances == store.utterances["utterance"].tolist()
    assert len(dataset) == len(store)
    for row in (0, 7, len(store) - 1):
        item = dataset[row]
        assert item["utterance"] == dataset.utterances[row]
        assert item["label"] == -1
        assert list(item["streams"]) == store.streams
        assert set(item["lengths"]) == SEQUENCES
        for name, array in item["streams"].items():
            np.testing.assert_array_equal(array, store.stream(name)[row])
            assert array.dtype == (np.int64 if name == "glove" else np.float32)
        assert item["lengths"]["mfcc"] == store.stream("mfcc").lengths[row]
    assert dataset[-1]["utterance"] == dataset.utterances[-1]


def test_iterating_ends(path: Path) -> None:
    dataset = StoreDataset(path, ["glove"])
    found = [item["utterance"] for item in dataset]  # type: ignore[attr-defined]
    assert found == dataset.utterances


def test_a_scheme_gives_labels_and_leaves_out_what_has_no_class(
    path: Path, store: FeatureStore
) -> None:
    scheme = labels.scheme("four", store.description)
    dataset = StoreDataset(path, ["mfcc"], scheme=scheme)
    table = store.utterances
    kept = table[table["emotion"].isin(scheme.mapping)]
    assert 0 < len(kept) < len(table)
    assert dataset.utterances == kept["utterance"].tolist()
    names = [scheme.classes[dataset[row]["label"]] for row in range(len(dataset))]
    assert names == kept["emotion"].map(scheme.mapping).tolist()
    assert dataset.labels.tolist() == dataset.batch(range(len(dataset))).labels.tolist()


def test_utterances_and_steps_can_be_limited(path: Path, store: FeatureStore) -> None:
    every = StoreDataset(path).utterances
    dataset = StoreDataset(path, utterances=[every[9], every[2]], max_steps=2)
    assert dataset.utterances == [every[2], every[9]]
    assert dataset[1]["lengths"]["glove"] == 2
    assert dataset[1]["streams"]["glove"].shape == (2,)
    assert dataset.checksums["mfcc"].tolist() == store.stream("mfcc").checksums[[2, 9]].tolist()


def test_unknown_names_are_errors(path: Path) -> None:
    with pytest.raises(StoreError, match=r"no stream wavs.*mfcc"):
        StoreDataset(path, ["wavs"])
    with pytest.raises(StoreError, match="no utterance Ses09"):
        StoreDataset(path, utterances=["Ses09"])


def same_item(found: Item, expected: Item) -> None:
    for key in ("utterance", "label", "lengths"):
        assert found[key] == expected[key]
    assert list(found["streams"]) == list(expected["streams"])
    for name, array in found["streams"].items():
        np.testing.assert_array_equal(array, expected["streams"][name])
        assert array.dtype == expected["streams"][name].dtype


@pytest.mark.parametrize("compression", ["none", "lzf"])
def test_a_packed_store_gives_the_same_items(tmp_path: Path, compression: str) -> None:
    folder = make_store(tmp_path, compression=compression)
    pack(folder, tmp_path / "packed.h5")
    one = StoreDataset(folder, scheme="six", max_steps=4)
    other = StoreDataset(tmp_path / "packed.h5", scheme="six", max_steps=4)
    assert len(one) == len(other) > 20
    for found, expected in zip(other, one, strict=True):  # type: ignore[call-overload]
        same_item(found, expected)
    assert (one.identities, one.widths) == (other.identities, other.widths)
    for name, sums in one.checksums.items():
        np.testing.assert_array_equal(sums, other.checksums[name])


def test_a_store_without_words_has_token_ids_all_the_same(
    store: FeatureStore, tmp_path: Path
) -> None:
    with FeatureStore(make_store(tmp_path, include_text=False)) as wordless:
        assert "vocabulary" not in wordless.stream("glove").group
        found = of(wordless)
        assert found.vocabularies == {"glove": 9}
        ids = found.batch([0]).sequences["glove"]
        assert ids.dtype == torch.int64
        assert torch.equal(ids, of(store).batch([0]).sequences["glove"])


# --- batches -------------------------------------------------------------------------------------


def test_a_batch_is_padded_with_zeros_and_keeps_lengths(
    dataset: StoreDataset, store: FeatureStore
) -> None:
    chosen = [3, 20, 9]
    batch = dataset.batch(chosen)
    assert batch.utterances == store.utterances["utterance"].iloc[chosen].tolist()
    assert batch.labels.tolist() == [-1, -1, -1]
    assert list(batch.sequences) == ["mfcc", "glove", "resnet"]
    for name in batch.sequences:
        stream = store.stream(name)
        assert batch.lengths[name].tolist() == stream.lengths[chosen].tolist()
        assert batch.sequences[name].shape[1] == stream.lengths[chosen].max()
        for row, index in enumerate(chosen):
            n = stream.lengths[index]
            np.testing.assert_array_equal(batch.sequences[name][row, :n].numpy(), stream[index])
            assert (batch.sequences[name][row, n:] == 0).all()


def test_an_utterance_without_steps_is_one_step_of_padding(dataset: StoreDataset) -> None:
    empty = int(np.flatnonzero(dataset.lengths["mfcc"] == 0)[0])
    for indices in ([empty], [empty, empty]):
        batch = dataset.batch(indices)
        assert batch.lengths["mfcc"].tolist() == [0] * len(indices)
        assert batch.sequences["mfcc"].shape == (len(indices), 1, 4)


def test_sequences_are_cut_at_the_most_steps_of_their_modality(store: FeatureStore) -> None:
    streams = {"audio": "mfcc", "text": ["glove", "resnet"], "video": "unused"}
    model = settings(streams=streams, modalities=["audio", "text"]).model
    cut = of_model(store, model, params.MaxSteps(audio=2, text=1, video=3))
    batch = cut.batch(np.arange(35))
    longest = {name: int(n.max()) for name, n in batch.lengths.items()}
    assert longest == {"mfcc": 2, "glove": 1, "resnet": 1}


def test_joined_values_are_those_of_the_utterances(
    dataset: StoreDataset, store: FeatureStore
) -> None:
    batch = dataset.batch([3, 20])
    values = store.stream("prosody").group["values"][:]
    assert batch.joined["prosody"].dtype == torch.float32
    np.testing.assert_array_equal(batch.joined["prosody"].numpy(), values[[3, 20]])
    assert dataset.widths == {"mfcc": 4, "glove": 6, "resnet": 5, "prosody": 3}
    assert of(store).batch([3, 20]).joined == {}


def test_without_takes_away_only_the_lengths_of_the_streams(dataset: StoreDataset) -> None:
    batch = dataset.batch([3, 20])
    found = batch.without(["glove", "no stream of this batch"])
    assert found.lengths["glove"].tolist() == [0, 0]
    for name in ("mfcc", "resnet"):
        assert found.lengths[name].tolist() == batch.lengths[name].tolist() != [0, 0]
    assert found.sequences["glove"] is batch.sequences["glove"]
    assert batch.lengths["glove"].tolist() == [3, 3]


def test_all_of_a_batch_goes_to_a_device(dataset: StoreDataset) -> None:
    whole = replace(dataset.batch([3, 20]), of_speakers={"mfcc": torch.zeros(2, 2, 4)})
    batch = whole.to("meta")
    assert batch.utterances == whole.utterances
    groups = (batch.sequences, batch.lengths, batch.joined, batch.of_speakers)
    assert [list(group) for group in groups] == [
        *(list(whole.sequences), list(whole.lengths), ["prosody"], ["mfcc"])
    ]
    tensors = [batch.labels, *(tensor for group in groups for tensor in group.values())]
    assert len(tensors) == 1 + 3 + 3 + 1 + 1
    assert {tensor.device.type for tensor in tensors} == {"meta"}


@given(size=st.integers(1, 40), seed=st.integers(0, 99), chosen=st.sets(st.integers(0, 34)))
def test_an_epoch_holds_every_utterance_once_in_full_batches(
    dataset: StoreDataset, size: int, seed: int, chosen: set[int]
) -> None:
    indices = np.array(sorted(chosen), dtype=np.int64)
    random = np.random.default_rng(seed)
    for batches in (
        list(dataset.shuffled(indices, size, random)),
        list(dataset.in_order(indices, size)),
    ):
        assert sorted(index for batch in batches for index in batch) == indices.tolist()
        sizes = sorted(len(batch) for batch in batches)
        assert len(sizes) == -(-len(indices) // size)
        assert all(n == size for n in sizes[1:])


def test_epochs_differ(dataset: StoreDataset) -> None:
    random = np.random.default_rng(0)
    first, second = (
        np.concatenate(list(dataset.shuffled(np.arange(35), 4, random))) for _ in range(2)
    )
    assert not np.array_equal(first, second)


def test_batches_are_of_like_length(dataset: StoreDataset) -> None:
    """Within a pool, here of four batches of two, batches are disjoint in length."""
    lengths = np.max(list(dataset.lengths.values()), axis=0)
    mixed = np.random.default_rng(0).permutation(np.arange(35))
    batches = {
        frozenset(batch.tolist())
        for batch in dataset.shuffled(np.arange(35), 2, np.random.default_rng(0))
    }
    for start in range(0, 35, 8):
        pool = set(mixed[start : start + 8].tolist())
        inside = [sorted(lengths[list(batch)]) for batch in batches if batch <= pool]
        assert sum(map(len, inside)) == len(pool)
        for (*_, longest), (shortest, *_) in pairwise(sorted(inside)):
            assert longest <= shortest


# --- statistics ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mfcc", "resnet", "prosody"])
def test_statistics_come_from_the_given_utterances_only(
    dataset: StoreDataset, store: FeatureStore, name: str
) -> None:
    train = np.arange(7, 21)
    mean, deviation = dataset.statistics(name, train)
    stream = store.stream(name)
    rows = np.concatenate([np.atleast_2d(stream[index]) for index in train.tolist()])
    np.testing.assert_allclose(mean, rows.astype(float).mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(deviation, rows.astype(float).std(axis=0), atol=1e-12)


def test_statistics_of_some_utterances_are_of_their_rows_up_to_the_cut(
    path: Path, store: FeatureStore
) -> None:
    every = store.utterances["utterance"].tolist()
    some = StoreDataset(path, ["mfcc"], utterances=every[20:30], max_steps=2)
    rows = np.concatenate([store.stream("mfcc")[row][:2] for row in range(22, 30)])
    mean, deviation = some.statistics("mfcc", np.arange(2, 10))
    np.testing.assert_allclose(mean, rows.astype(float).mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(deviation, rows.astype(float).std(axis=0), atol=1e-12)


def test_utterances_without_values_do_not_enter_the_statistics(
    path: Path, store: FeatureStore, tmp_path: Path
) -> None:
    copy = without_prosody(path, tmp_path / "copy", [3, 8])
    with FeatureStore(copy) as gaps:
        dataset = of(gaps, prosody="prosody")
        assert np.flatnonzero(gaps.stream("prosody").missing).tolist() == [3, 8]
        assert torch.isnan(dataset.batch([3, 4]).joined["prosody"]).all(dim=1).tolist() == [
            *(True, False)
        ]
        mean, deviation = dataset.statistics("prosody", np.arange(21))
        nothing = dataset.statistics("prosody", np.array([3, 8]))
    values = store.stream("prosody").group["values"][:21].astype(float)
    values = np.delete(values, [3, 8], axis=0)
    np.testing.assert_allclose(mean, values.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(deviation, values.std(axis=0), atol=1e-12)
    assert nothing.mean.tolist() == [0, 0, 0]
    assert nothing.deviation.tolist() == [1, 1, 1]


# --- worker processes ----------------------------------------------------------------------------


def same_batch(found: Batch, expected: Batch) -> None:
    assert found.utterances == expected.utterances
    assert torch.equal(found.labels, expected.labels)
    for name in ("sequences", "lengths", "joined"):
        one, other = getattr(found, name), getattr(expected, name)
        assert list(one) == list(other)
        assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_read_the_same(store: FeatureStore, method: str) -> None:
    """Of a dataset on an open store, which this process reads before and after."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    dataset = StoreDataset(store, ["mfcc", "glove", "prosody"], scheme="seven")
    expected = [dataset.batch(range(start, start + 5)) for start in range(0, 35, 5)]
    loader = DataLoader(
        dataset, 5, num_workers=2, collate_fn=collate, multiprocessing_context=method
    )
    batches = list(loader)
    assert len(batches) == len(expected) == len(dataset) // 5
    for found, wanted in zip(batches, expected, strict=True):
        same_batch(found, wanted)
    same_batch(dataset.batch(range(5)), expected[0])


# --- what a model may read -----------------------------------------------------------------------


def test_a_stream_without_steps_feeds_no_modality(store: FeatureStore) -> None:
    with pytest.raises(StoreError, match="model.streams.audio is prosody, which has one row per"):
        of(store, streams={"audio": "prosody", "text": "glove", "video": "resnet"})


def test_a_stream_with_steps_cannot_be_joined(store: FeatureStore) -> None:
    with pytest.raises(StoreError, match="model.prosody is resnet, which has steps"):
        of(store, prosody="resnet", modalities=["audio", "text"])


@pytest.mark.parametrize("label", ["votes", "emotion", "valence", "labels"])
@pytest.mark.parametrize("parameter", ["prosody", "streams"])
def test_labels_feed_no_model(store: FeatureStore, parameter: str, label: str) -> None:
    """Nor would they if the parameters let them pass."""
    streams = params.Streams(audio=label, text="glove", video="resnet")
    given = {"prosody": label} if parameter == "prosody" else {"streams": streams.model_dump()}
    with pytest.raises(params.ParamsError, match=f"is {label}, which is no stream"):
        of(store, **given)
    chosen = settings()
    changed = {"prosody": label} if parameter == "prosody" else {"streams": streams}
    with pytest.raises(StoreError, match=f"has no stream {label}; it has glove, mfcc, prosody, r"):
        of_model(store, chosen.model.model_copy(update=changed), chosen.train.max_steps)
    assert label not in StoreDataset(store).streams
