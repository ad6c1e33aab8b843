"""A store's identity: the same wherever the store was made, another where what decides differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import synthetic
from benchmarks.synthetic import make_store
from pipeline.comparison import table as comparison
from pipeline.corpus.utterance import Source, Utterance
from pipeline.features.extractor import Context, State, Steps
from pipeline.store import FeatureStore, StoreError, comparing
from pipeline.store.identity import identity
from tests.test_comparison import LISTED, common, listed, make

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


def identity_of(path: Path) -> str:
    with FeatureStore(path) as opened:
        return identity(opened)


def test_last_bits_of_what_was_computed_do_not_count(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another processor computes them."""
    extract = synthetic.Noise.extract

    def elsewhere(
        self: synthetic.Noise, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        return [
            Steps(
                np.nextafter(steps.values, np.float32(np.inf)), steps.times, problem=steps.problem
            )
            for steps in extract(self, utterances, state, context)
        ]

    monkeypatch.setattr(synthetic.Noise, "extract", elsewhere)
    monkeypatch.setattr("platform.machine", lambda: "another")
    other = make_store(tmp_path)
    assert comparing.compare(path, other) != []
    assert identity_of(other) == identity_of(path)


@pytest.mark.parametrize("change", [{"include_text": False}, {"compression": "gzip"}])
def test_how_a_store_is_written_does_not_count(
    path: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    assert identity_of(make_store(tmp_path, **change)) == identity_of(path)


def test_the_type_of_the_values_counts(path: Path, tmp_path: Path) -> None:
    assert identity_of(make_store(tmp_path, dtype="float16")) != identity_of(path)


@pytest.mark.parametrize(
    ("column", "value"), [("emotion", "neu"), ("end", 9.5), ("speaker", "Ses01M")]
)
def test_the_table_counts(path: Path, tmp_path: Path, column: str, value: Any) -> None:
    utterances = synthetic.table()
    assert utterances.loc[0, column] != value
    utterances.loc[0, column] = value
    assert identity_of(make_store(tmp_path, utterances)) != identity_of(path)


def test_recordings_count_by_what_they_hold(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken = synthetic.spoken
    (tmp_path / "a.wav").touch()
    found = []
    for sha256 in ("1", "2"):
        monkeypatch.setattr(
            synthetic,
            "spoken",
            lambda table, sha256=sha256: [
                replace(one, audio=Source(str(tmp_path / "a.wav"), sha256=sha256))
                for one in spoken(table)
            ],
        )
        found.append(identity_of(make_store(tmp_path / sha256)))
    assert found[0] != found[1]


def test_votes_count(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    votes = synthetic.votes
    monkeypatch.setattr(synthetic, "votes", lambda table: votes(table).assign(fea=1.0))
    assert identity_of(make_store(tmp_path)) != identity_of(path)


def test_parameters_versions_and_weights_count_and_builds_do_not(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter(range(99))

    def made() -> str:
        return identity_of(make_store(tmp_path / str(next(numbers))))

    def with_version(text: str) -> str:
        with monkeypatch.context() as patch:
            patch.setattr("pipeline.features.extractor.version", lambda name: text)
            return made()

    assert with_version("1.0") != with_version("1.1") != made()
    assert with_version("1.0+cpu") == with_version("1.0+cu130")
    with monkeypatch.context() as patch:
        patch.setattr(synthetic.Noise, "files", lambda self: {"a.pth": "1"})
        assert made() != identity_of(path)
    with monkeypatch.context() as patch:
        patch.setattr(synthetic.Noise, "version", 2)
        assert made() != identity_of(path)
    assert made() == identity_of(path)


def test_the_comparison_names_its_store_by_its_identity(path: Path, tmp_path: Path) -> None:
    """Its rows are of the bytes of that store, and of no other."""
    only = {"reference": "amh-1", "rows": {"amh-1": LISTED["rows"]["amh-1"]}}
    rows = listed(tmp_path, only)
    make(rows, "amh-1", path, tmp_path / "results" / "amh-1")

    def found(of: Path) -> dict[str, comparison.Result]:
        return comparison.results(rows, common(), tmp_path / "results", of)

    built = comparison.build(found(path), ["amh-1"], {})
    assert built.rows["store"].tolist() == [identity_of(path)]
    other = make_store(tmp_path, synthetic.table(8))
    with pytest.raises(
        comparison.ComparisonError, match=r"amh-1: was trained on another .*run `make table`"
    ):
        found(other)
    with pytest.raises(StoreError, match=r"none/store.h5: no such file"):
        found(tmp_path / "none")


def test_the_committed_comparison_names_one_store() -> None:
    table = pd.read_csv(ROOT / "results" / "comparison.csv")
    page = (ROOT / "results" / "comparison.md").read_text(encoding="utf-8")
    (named,) = set(table["store"])
    assert f"feature store `{named[:12]}`" in page
