"""Finished models are kept: a run trains what has changed, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline import params, training
from tests import synthetic
from tests.synthetic import make_store
from tests.test_training import planned, settings


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
    training.train_folds(planned(store, folder, wanted), 1)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in ("models", "curves")
        for path in sorted((folder / name).rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store")


def said(capsys: pytest.CaptureFixture) -> str:
    return next(line for line in capsys.readouterr().out.splitlines() if "computed" in line)


def test_finished_models_are_taken_over_with_their_bytes(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    first = train(store, tmp_path, chosen())
    assert said(capsys) == "computed 5, kept 0 models"
    assert train(store, tmp_path, chosen()) == first
    assert said(capsys) == "computed 0, kept 5 models"
    (tmp_path / "parts" / "fold-3.pt").unlink()
    assert train(store, tmp_path, chosen()) == first
    assert said(capsys) == "computed 1, kept 4 models"
    # the other parameters replace what was kept, and more seeds are more models
    train(store, tmp_path, chosen(model={"hops": 4}))
    assert said(capsys) == "computed 5, kept 0 models"
    train(store, tmp_path, chosen(model={"hops": 4}, train={"epochs": 1, "seeds": [0, 1]}))
    assert said(capsys) == "computed 10, kept 0 models"
    assert len(list((tmp_path / "parts").iterdir())) == 10


def test_a_stream_that_the_model_does_not_read_trains_nothing(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = {"modalities": ["audio", "video"]}
    train(store, tmp_path, chosen(model=two))
    capsys.readouterr()
    constants = synthetic.Words.constants

    def others(self: synthetic.Words) -> dict[str, np.ndarray]:
        found = constants(self)
        return {**found, "glove/vectors": found["glove/vectors"] + 1}

    monkeypatch.setattr(synthetic.Words, "constants", others)
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
    dialog = synthetic.Noise.dialog

    def mended(self: synthetic.Noise, rows: pd.DataFrame) -> Any:
        arrays, problems = dialog(self, rows)
        if rows["group"].iloc[0] == "3":
            arrays[f"{self.stream}/values"][0] += 1
        return arrays, problems

    monkeypatch.setattr(synthetic.Noise, "dialog", mended)
    train(make_store(tmp_path / "other"), tmp_path, chosen())
    assert said(capsys) == "computed 4, kept 1 models"
