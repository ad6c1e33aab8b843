"""The PyTorch dataset: items, labels, worker processes, padding, and the documented example."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pipeline.corpus import labels
from pipeline.corpus.iemocap.codes import DESCRIPTION
from pipeline.dataset import Item, StoreDataset, collate
from pipeline.store import FeatureStore, StoreError
from tests.synthetic import make_store

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("dataset"))


def test_items_are_the_stores_values(path: Path) -> None:
    dataset = StoreDataset(path)
    with FeatureStore(path) as store:
        assert dataset.utterances == store.utterances["utterance"].tolist()
        assert len(dataset) == len(store)
        for row in (0, 7, len(store) - 1):
            item = dataset[row]
            assert item["utterance"] == dataset.utterances[row]
            assert item["label"] == -1
            assert list(item["streams"]) == store.streams
            assert set(item["lengths"]) == {"mfcc", "resnet", "glove"}
            for name, array in item["streams"].items():
                np.testing.assert_array_equal(array, store.stream(name)[row])
                assert array.dtype == (np.int64 if name == "glove" else np.float32)
            assert item["lengths"]["mfcc"] == store.stream("mfcc").lengths[row]
    assert dataset[-1]["utterance"] == dataset.utterances[-1]


def test_iterating_ends(path: Path) -> None:
    dataset = StoreDataset(path, ["glove"])
    found = [item["utterance"] for item in dataset]  # type: ignore[attr-defined]
    assert found == dataset.utterances


def test_a_scheme_gives_labels_and_leaves_out_what_has_no_class(path: Path) -> None:
    scheme = labels.scheme("four", DESCRIPTION)
    dataset = StoreDataset(path, ["mfcc"], scheme=scheme)
    named = StoreDataset(path, ["mfcc"], scheme="four")
    assert (named.utterances, named.labels.tolist()) == (
        dataset.utterances,
        dataset.labels.tolist(),
    )
    with FeatureStore(path) as store:
        table = store.utterances
    kept = table[table["emotion"].isin(scheme.mapping)]
    assert dataset.utterances == kept["utterance"].tolist()
    names = [scheme.classes[dataset[row]["label"]] for row in range(len(dataset))]
    assert names == kept["emotion"].map(scheme.mapping).tolist()


def test_utterances_and_steps_can_be_limited(path: Path) -> None:
    every = StoreDataset(path).utterances
    dataset = StoreDataset(path, utterances=[every[9], every[2]], max_steps=2)
    assert dataset.utterances == [every[2], every[9]]
    assert dataset[1]["lengths"]["glove"] == 2
    assert dataset[1]["streams"]["glove"].shape == (2,)


def test_unknown_names_are_errors(path: Path) -> None:
    with pytest.raises(StoreError, match=r"no stream wavs.*mfcc"):
        StoreDataset(path, ["wavs"])
    with pytest.raises(StoreError, match="no utterance Ses09"):
        StoreDataset(path, utterances=["Ses09"])


def test_batches_are_padded_with_zeros(path: Path) -> None:
    dataset = StoreDataset(path)
    items = [dataset[row] for row in range(6)]
    batch = collate(items)
    longest = max(item["lengths"]["mfcc"] for item in items)
    assert batch["streams"]["mfcc"].shape == (6, longest, 4)
    assert set(batch["streams"]) == {"glove", "mfcc", "prosody", "resnet"}
    assert batch["streams"]["glove"].dtype == torch.int64
    assert batch["label"].dtype == torch.int64
    for row, item in enumerate(items):
        n = batch["lengths"]["mfcc"][row]
        assert n == item["lengths"]["mfcc"]
        np.testing.assert_array_equal(batch["streams"]["mfcc"][row, :n], item["streams"]["mfcc"])
        assert not batch["streams"]["mfcc"][row, n:].any()


def test_a_batch_of_empty_utterances_has_one_step_of_padding() -> None:
    item: Item = {
        "utterance": "a",
        "label": 0,
        "streams": {"mfcc": np.zeros((0, 4), np.float32)},
        "lengths": {"mfcc": 0},
    }
    assert collate([item, item])["streams"]["mfcc"].shape == (2, 1, 4)
    assert collate([item])["lengths"]["mfcc"].tolist() == [0]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_read_the_same(path: Path, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    dataset = StoreDataset(path, ["mfcc", "glove"])
    expected = [collate([dataset[i] for i in range(s, s + 5)]) for s in range(0, 35, 5)]
    loader = DataLoader(
        dataset, 5, num_workers=2, collate_fn=collate, multiprocessing_context=method
    )
    batches = list(loader)
    assert len(batches) == len(expected) == len(dataset) // 5
    for found, wanted in zip(batches, expected, strict=True):
        assert found["utterance"] == wanted["utterance"]
        for name in ("mfcc", "glove"):
            assert torch.equal(found["streams"][name], wanted["streams"][name])


def test_the_documented_examples_run(path: Path, tmp_path: Path) -> None:
    text = (ROOT / "docs/reading.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    (tmp_path / "data/features").mkdir(parents=True)
    (tmp_path / "data/features/embedded.h5").write_bytes(path.read_bytes())
    for block in blocks:
        (tmp_path / "example.py").write_text(block, encoding="utf-8")
        run = subprocess.run(
            [sys.executable, "example.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout
