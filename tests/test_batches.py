"""Batches of a small synthetic store: padding, cuts, length buckets, joined values."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pipeline.batches import Examples

from pipeline import params
from pipeline.store import FeatureStore, StoreError
from tests.synthetic import make_store
from tests.test_training import settings


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with FeatureStore(make_store(tmp_path_factory.mktemp("batches"))) as opened:
        yield opened


def of(store: FeatureStore, **model) -> Examples:
    chosen = settings(**model)
    return Examples(store, chosen.model, chosen.train.max_steps)


@pytest.fixture(scope="module")
def examples(store: FeatureStore) -> Examples:
    return of(store, prosody="prosody")


def test_a_batch_is_padded_with_zeros_and_keeps_lengths(examples: Examples) -> None:
    batch = examples.batch([3, 20, 9])
    assert list(batch.sequences) == ["mfcc", "glove", "resnet"]
    for name, stream in examples.streams.items():
        assert batch.lengths[name].tolist() == stream.lengths[[3, 20, 9]].tolist()
        for row, index in enumerate([3, 20, 9]):
            n = stream.lengths[index]
            np.testing.assert_array_equal(batch.sequences[name][row, :n].numpy(), stream[index])
            assert (batch.sequences[name][row, n:] == 0).all()


def test_an_utterance_without_steps_is_one_step_of_padding(examples: Examples) -> None:
    empty = int(np.flatnonzero(examples.lengths["mfcc"] == 0)[0])
    batch = examples.batch([empty])
    assert batch.lengths["mfcc"].tolist() == [0]
    assert batch.sequences["mfcc"].shape == (1, 1, 4)


def test_sequences_are_cut_at_the_most_steps_of_their_modality(store: FeatureStore) -> None:
    streams = {"audio": "mfcc", "text": ["glove", "resnet"], "video": "unused"}
    model = settings(streams=streams, modalities=["audio", "text"]).model
    cut = Examples(store, model, params.MaxSteps(audio=2, text=1, video=3))
    batch = cut.batch(np.arange(35))
    longest = {name: int(n.max()) for name, n in batch.lengths.items()}
    assert longest == {"mfcc": 2, "glove": 1, "resnet": 1}


def test_joined_values_are_those_of_the_utterances(examples: Examples, store: FeatureStore) -> None:
    batch = examples.batch([3, 20])
    values = store.stream("prosody").group["values"][:]
    assert batch.joined["prosody"].dtype == torch.float32
    np.testing.assert_array_equal(batch.joined["prosody"].numpy(), values[[3, 20]])
    assert examples.widths == {"mfcc": 4, "glove": 6, "resnet": 5, "prosody": 3}
    assert of(store).batch([3, 20]).joined == {}


def test_without_takes_away_only_the_lengths_of_the_streams(examples: Examples) -> None:
    batch = examples.batch([3, 20])
    found = batch.without(["glove", "no stream of this batch"])
    assert found.lengths["glove"].tolist() == [0, 0]
    for name in ("mfcc", "resnet"):
        assert found.lengths[name].tolist() == batch.lengths[name].tolist() != [0, 0]
    assert found.sequences["glove"] is batch.sequences["glove"]
    assert batch.lengths["glove"].tolist() == [3, 3]


@given(size=st.integers(1, 40), seed=st.integers(0, 99), chosen=st.sets(st.integers(0, 34)))
def test_an_epoch_holds_every_utterance_once_in_full_batches(
    examples: Examples, size: int, seed: int, chosen: set[int]
) -> None:
    indices = np.array(sorted(chosen), dtype=np.int64)
    random = np.random.default_rng(seed)
    for batches in (
        list(examples.shuffled(indices, size, random)),
        list(examples.in_order(indices, size)),
    ):
        assert sorted(index for batch in batches for index in batch) == indices.tolist()
        sizes = sorted(len(batch) for batch in batches)
        assert len(sizes) == -(-len(indices) // size)
        assert all(n == size for n in sizes[1:])


def test_epochs_differ(examples: Examples) -> None:
    random = np.random.default_rng(0)
    first, second = (
        np.concatenate(list(examples.shuffled(np.arange(35), 4, random))) for _ in range(2)
    )
    assert not np.array_equal(first, second)


def test_batches_are_of_like_length(examples: Examples) -> None:
    """Within a pool batches are disjoint in length: far less padding than at random."""
    lengths = np.max(list(examples.lengths.values()), axis=0)
    pools = examples.shuffled(np.arange(35), 5, np.random.default_rng(0))  # all are one pool
    bounds = sorted((lengths[batch].min(), lengths[batch].max()) for batch in pools)
    assert len(bounds) == 7
    for (_, longest), (shortest, _) in pairwise(bounds):
        assert longest <= shortest


@pytest.mark.parametrize("name", ["mfcc", "resnet", "prosody"])
def test_statistics_come_from_the_given_utterances_only(examples: Examples, name: str) -> None:
    train = np.arange(7, 21)
    mean, deviation = examples.statistics(name, train)
    streams = examples.streams | examples.joined
    rows = np.concatenate([np.atleast_2d(streams[name][index]) for index in train.tolist()])
    np.testing.assert_allclose(mean, rows.astype(float).mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(deviation, rows.astype(float).std(axis=0), atol=1e-12)


def test_a_store_without_words_has_token_ids_all_the_same(
    store: FeatureStore, tmp_path: Path
) -> None:
    wordless = tmp_path / "wordless.h5"
    wordless.write_bytes(store.path.read_bytes())
    with h5py.File(wordless, "r+") as file:
        del file["glove/vocabulary"]
    with FeatureStore(wordless) as opened:
        found = of(opened)
        assert found.vocabularies == {"glove": 9}
        assert found.batch([0]).sequences["glove"].dtype == torch.int64


def test_a_stream_without_steps_feeds_no_modality(store: FeatureStore) -> None:
    with pytest.raises(StoreError, match="model.streams.audio is prosody, which has one row an"):
        of(store, streams={"audio": "prosody", "text": "glove", "video": "resnet"})


VOTES = params.Streams(audio="votes", text="glove", video="resnet")


@pytest.mark.parametrize("labels", [{"prosody": "votes"}, {"streams": VOTES}])
def test_labels_feed_no_model(store: FeatureStore, labels: dict) -> None:
    """Nor would they if the parameters let them pass."""
    with pytest.raises(params.ParamsError, match="is votes, which is no stream"):
        of(store, **(labels if "prosody" in labels else {"streams": VOTES.model_dump()}))
    chosen = settings()
    model = chosen.model.model_copy(update=labels)
    with pytest.raises(StoreError, match="votes are labels, which no model may read"):
        Examples(store, model, chosen.train.max_steps)


def test_a_stream_with_steps_cannot_be_joined(store: FeatureStore) -> None:
    with pytest.raises(StoreError, match="model.prosody is resnet, which has steps"):
        of(store, prosody="resnet")
