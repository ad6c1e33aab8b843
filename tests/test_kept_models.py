"""Finished models are kept: a run trains what has changed, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import synthetic
from benchmarks.synthetic import make_store
from pipeline import params
from pipeline.corpus.utterance import Utterance
from pipeline.features.extractor import State, Steps
from pipeline.store.writing import pack
from pipeline.system.kept import Kept
from pipeline.training import folds
from tests.test_training import planned, settings
from tests.trained import in_this_process


def chosen(**groups: dict[str, Any]) -> params.Params:
    """Small parameters with five folds, one for each session."""
    raw = settings().model_dump()
    raw["split"] |= {"protocol": "session"}
    raw["train"] |= {"epochs": 1}
    for group, values in groups.items():
        raw[group] |= values
    return params.parse(raw)


def train(store: Path, folder: Path, wanted: params.Params) -> dict[str, bytes]:
    """Train in `folder` as the stage does; the bytes of all models and learning curves."""
    for name in ("models", "curves"):  # as DVC deletes outputs before a stage runs
        for path in sorted((folder / name).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    with in_this_process():
        folds.train_folds(planned(store, folder, wanted), 1)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in ("models", "curves")
        for path in sorted((folder / name).rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "own")


def said(capsys: pytest.CaptureFixture) -> str:
    return next(x for x in capsys.readouterr().out.splitlines() if x.endswith(" models"))


def test_finished_models_are_taken_over_with_their_bytes(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    first = train(store, tmp_path, chosen())
    assert said(capsys) == "computed 5, kept 0 models"
    assert train(store, tmp_path, chosen()) == first
    assert said(capsys) == "computed 0, kept 5 models"
    Kept(tmp_path / "parts").path("fold-3").unlink()
    assert train(store, tmp_path, chosen()) == first
    assert said(capsys) == "computed 1, kept 4 models"
    # the other parameters replace what was kept, and more seeds are more models
    train(store, tmp_path, chosen(model={"hops": 4}))
    assert said(capsys) == "computed 5, kept 0 models"
    train(store, tmp_path, chosen(model={"hops": 4}, train={"epochs": 1, "seeds": [0, 1]}))
    assert said(capsys) == "computed 10, kept 0 models"
    assert len(list((tmp_path / "parts").iterdir())) == 10


def test_a_kept_model_with_one_bit_flipped_is_trained_again(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    first = train(store, tmp_path, chosen())
    capsys.readouterr()
    path = Kept(tmp_path / "parts").path("fold-2")
    random = np.random.default_rng(0)
    whole = path.read_bytes()
    for place in (len(whole) // 2, int(random.integers(64, len(whole)))):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        assert train(store, tmp_path, chosen()) == first
        assert said(capsys) == "computed 1, kept 4 models"
        assert path.read_bytes() != bytes(flipped)
    train(store, tmp_path, chosen())
    assert said(capsys) == "computed 0, kept 5 models"


def test_a_store_of_the_same_values_elsewhere_or_packed_trains_nothing(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    first = train(store, tmp_path, chosen())
    capsys.readouterr()
    pack(store, tmp_path / "packed.h5")
    other = make_store(tmp_path / "other", compression="lzf")
    for same in (tmp_path / "packed.h5", other):
        assert train(same, tmp_path, chosen()) == first
        assert said(capsys) == "computed 0, kept 5 models"


def test_a_stream_that_the_model_does_not_read_trains_nothing(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = {"modalities": ["audio", "video"]}
    train(store, tmp_path, chosen(model=two))
    capsys.readouterr()
    prepare = synthetic.Words.prepare

    def others(self: synthetic.Words, *given: Any) -> State:
        found = prepare(self, *given)
        return {**found, "vectors": found["vectors"] + 1}

    monkeypatch.setattr(synthetic.Words, "prepare", others)
    other = make_store(tmp_path / "other")
    train(other, tmp_path, chosen(model=two))
    assert said(capsys) == "computed 0, kept 5 models"
    three = chosen()
    assert "text" in three.model.modalities
    train(store, tmp_path, three)
    capsys.readouterr()
    train(other, tmp_path, three)
    assert said(capsys) == "computed 5, kept 0 models"


def test_what_only_the_test_part_has_trains_nothing(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording of session 3 changes: it is tested in one fold, and read by the other four."""
    train(store, tmp_path, chosen())
    capsys.readouterr()
    extract = synthetic.Noise.extract

    def mended(self: synthetic.Noise, utterances: Sequence[Utterance], *given: Any) -> list[Steps]:
        found = extract(self, utterances, *given)
        if utterances[0].dialog.startswith("Ses03"):
            found[0].values[:] += 1
        return found

    monkeypatch.setattr(synthetic.Noise, "extract", mended)
    train(make_store(tmp_path / "other"), tmp_path, chosen())
    assert said(capsys) == "computed 4, kept 1 models"
