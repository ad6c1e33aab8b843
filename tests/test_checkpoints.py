"""Training that is killed goes on from its last checkpoint and ends with the same bytes."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.synthetic import make_store
from pipeline import InputError, params
from pipeline.system.kept import Kept
from pipeline.training import checkpoints, folds
from pipeline.training.checkpoints import Checkpoint, digest
from tests.test_training import of


def train_alone(found: folds.Job) -> None:
    """What a worker process does: its one thread decides the last digits."""
    torch.set_num_threads(1)
    folds.train_fold(found)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("checkpoints"))


def job(store: Path, folder: Path, **train) -> folds.Job:
    """The job of the first fold: twelve validations, dropout, and all that changes by the way."""
    chosen = {"batch_size": 4, "epochs": 4, "validate_every": 0.4, "patience": 9, **train}
    raw = of("train", **chosen).model_dump()
    raw["model"]["dropout"] = {"audio": 0.3, "text": 0.3, "video": 0.3}
    (first, *_) = folds.plan(
        store,
        params.parse(raw),
        lists=folder / "splits",
        models=folder / "models",
        curves=folder / "curves",
        checkpoints=folder / "parts",
        device="cpu",
    )
    return first


def outcome(found: folds.Job) -> dict[str, bytes]:
    """The bytes of the model and of its curves, by name."""
    files = [path for path in sorted(found.curves.rglob("*")) if path.is_file()]
    contents = {str(path.relative_to(found.curves)): path.read_bytes() for path in files}
    return {found.weights.name: found.weights.read_bytes(), **contents}


@pytest.mark.parametrize("options", [{}, {"balance": "sampling", "schedule": "plateau"}])
def test_it_goes_on_after_a_stop_at_any_validation(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    whole = job(store, tmp_path / "whole", **options)
    folds.train_fold(whole)
    saved = Checkpoint.save
    stops = 0

    def stop(self: Checkpoint, state: dict) -> None:
        nonlocal stops
        saved(self, state)
        stops += 1
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", stop)
    broken = job(store, tmp_path / "broken", **options)
    while not broken.weights.is_file():
        try:
            folds.train_fold(broken)
        except KeyboardInterrupt:
            assert stops < 20
    assert stops >= 9
    assert outcome(broken) == outcome(whole)


@pytest.mark.slow
def test_it_goes_on_after_a_kill_at_any_moment(store: Path, tmp_path: Path) -> None:
    """A real process, killed while it trains, at moments drawn from a seed."""
    options = {"epochs": 80, "validate_every": 1.0, "patience": 80, "learning_rate": 1e-3}
    whole = job(store, tmp_path / "whole", **options)
    folds.train_fold(whole)
    broken = job(store, tmp_path / "broken", **options)
    random = np.random.default_rng(0)
    for _ in range(3):
        process = get_context("spawn").Process(target=train_alone, args=(broken,))
        process.start()
        path = broken.checkpoint.kept.path(broken.checkpoint.name)
        before = path.stat().st_mtime_ns if path.exists() else 0
        while process.is_alive() and (not path.exists() or path.stat().st_mtime_ns == before):
            process.join(0.005)
        process.join(float(random.uniform(0, 0.3)))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL  # and not the end of training
    folds.train_fold(broken)
    assert outcome(broken) == outcome(whole)


def test_a_finished_model_is_not_trained_again(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = job(store, tmp_path)
    folds.train_fold(found)
    before = outcome(found)
    found.weights.unlink()
    monkeypatch.setattr("pipeline.training.fitting.Run.learn", None)
    folds.train_fold(found)
    assert outcome(found) == before


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", b"junk" * 1000, None])
def test_a_damaged_or_foreign_checkpoint_is_ignored(
    store: Path, tmp_path: Path, damage: bytes | None
) -> None:
    found = job(store, tmp_path)
    checkpoint = found.checkpoint
    if damage is None:
        other = digest(["of other parameters"])
        Checkpoint(checkpoint.kept, checkpoint.name, other).save({"progress": {}})
    else:
        path = checkpoint.kept.path(checkpoint.name)
        path.parent.mkdir()
        path.write_bytes(damage)
    assert found.checkpoint.load() is None
    folds.train_fold(found)
    assert found.weights.is_file()


def test_a_checkpoint_with_any_bit_flipped_is_ignored(tmp_path: Path) -> None:
    """Key, checksum and content."""
    checkpoint = Checkpoint(Kept(tmp_path), "fold-1", digest(["key"]))
    checkpoint.save({"progress": {"finished": True}})
    assert checkpoint.is_finished
    path = checkpoint.kept.path("fold-1")
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    places = [0, 32, 64, len(whole) - 1, *random.integers(len(whole), size=20).tolist()]
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        assert checkpoint.load() is None, place
        assert not checkpoint.is_finished
    for length in (0, 31, 63, 64, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert checkpoint.load() is None, length


def test_a_checkpoint_that_the_system_does_not_let_read_is_not_trained_again(
    store: Path, tmp_path: Path
) -> None:
    found = job(store, tmp_path)
    path = found.checkpoint.kept.path(found.checkpoint.name)
    path.mkdir(parents=True)  # as root may read every file
    with pytest.raises(InputError, match=r"fold-1.kept: .*or delete it, to compute it again"):
        folds.train_fold(found)


def test_a_full_disk_is_reported_and_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    checkpoint = Checkpoint(Kept(tmp_path), "fold-1", digest(["key"]))
    checkpoint.save({"step": 1})

    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, former[1]))
    try:
        words = r"fold-1.kept: File too large.*free disk space.*finished results are kept in"
        with pytest.raises(InputError, match=words):
            checkpoint.save({"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert checkpoint.load() == {"step": 1}
    assert list(tmp_path.iterdir()) == [checkpoint.kept.path("fold-1")]


def test_the_key_tells_all_that_decides_apart(store: Path, tmp_path: Path) -> None:
    keys = {
        job(store, tmp_path, **options).checkpoint.key
        for options in ({}, {"seeds": [1]}, {"learning_rate": 0.5}, {"targets": "votes"})
    }
    assert len(keys) == 4
    assert job(store, tmp_path).checkpoint.key in keys
    assert digest([1], [b"a", b"bc"]) != digest([1], [b"ab", b"c"])


@pytest.mark.parametrize(
    "file",
    [
        *("models/amh.py", "models/linear.py", "models/standardise.py", "store/dataset.py"),
        *("training/fitting.py", "training/folds.py", "training/linear.py"),
    ],
)
def test_an_edit_of_code_that_trains_changes_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    package = tmp_path / "pipeline"
    shutil.copytree(Path(checkpoints.__file__).parents[1], package)
    monkeypatch.setattr(checkpoints, "__file__", str(package / "training/checkpoints.py"))
    before = checkpoints.digest([])
    with (package / file).open("a", encoding="utf-8") as edited:
        edited.write("# edited\n")
    assert checkpoints.digest([]) != before
