"""A store's identity: the same wherever the store was made, another where what decides differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from pipeline import external
from pipeline.comparison import table as comparison
from pipeline.store import FeatureStore, StoreError, comparing, writing
from pipeline.store.hashing import identity
from tests import synthetic
from tests.synthetic import make_store, stored
from tests.test_comparison import LISTED, common, listed, make

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


def identity_of(path: Path) -> str:
    with FeatureStore(path) as opened:
        return identity(opened.file)


def with_extractors(path: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """The identity where the extractors say something else of themselves; the store is kept."""
    with h5py.File(path, "r+") as file:
        before = str(file.attrs["extractors"])
        extractors = json.loads(before)
        change(extractors)
        file.attrs["extractors"] = json.dumps(extractors)
        found = identity(file)
        file.attrs["extractors"] = before
    return found


def test_last_bits_of_what_was_computed_do_not_count(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another processor computes them."""
    dialog = synthetic.Noise.dialog

    def elsewhere(self: synthetic.Noise, rows: pd.DataFrame) -> tuple[dict[str, np.ndarray], list]:
        arrays, problems = dialog(self, rows)
        name = f"{self.stream}/values"
        return {**arrays, name: np.nextafter(arrays[name], np.float32(np.inf))}, problems

    monkeypatch.setattr(synthetic.Noise, "dialog", elsewhere)
    other = make_store(tmp_path)
    assert comparing.compare(path, other) != []
    assert identity_of(other) == identity_of(path)


@pytest.mark.parametrize("change", [{"include_text": False}, {"compression": "gzip"}, {"chunk": 9}])
def test_how_a_store_is_written_does_not_count(
    path: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    other = make_store(tmp_path, storage=stored(**change))
    assert identity_of(other) == identity_of(path)


def test_the_type_of_the_values_counts(path: Path, tmp_path: Path) -> None:
    other = make_store(tmp_path, storage=stored(dtype="float16"))
    assert identity_of(other) != identity_of(path)


@pytest.mark.parametrize(
    ("column", "value"), [("emotion", "neu"), ("end", 9.5), ("speaker", "Ses01M")]
)
def test_the_table_counts(path: Path, tmp_path: Path, column: str, value: Any) -> None:
    utterances = synthetic.table()
    assert utterances.loc[0, column] != value
    utterances.loc[0, column] = value
    assert identity_of(make_store(tmp_path, utterances)) != identity_of(path)


def test_votes_count(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    votes = synthetic.votes
    monkeypatch.setattr(synthetic, "votes", lambda table: votes(table).assign(fea=1.0))
    assert identity_of(make_store(tmp_path)) != identity_of(path)


def test_parameters_versions_and_weights_count_and_builds_do_not(path: Path) -> None:
    def says(version: str = "2.13.0", built: str = "", **identity: Any) -> str:
        def change(found: dict[str, Any]) -> None:
            stream = found["visual"]["resnet"]
            stream["identity"] |= identity
            stream["provenance"]["versions"] = {"torch": version + built}

        return with_extractors(path, change)

    assert says() != identity_of(path)  # of other libraries
    assert says(parameters={"crop": 112}) != says(parameters={"crop": 224})
    assert says(weights={"a.pth": "1"}) != says(weights={"a.pth": "2"})
    assert says(version="2.13.0") != says(version="2.14.0")
    assert says(built="+cpu") == says(built="+cu130")


def test_values_made_elsewhere_count(path: Path, tmp_path: Path) -> None:
    """They are taken over as they are, and no version says what made them."""
    utterances = synthetic.table()
    ids = utterances["utterance"].tolist()
    found = []
    for number in (1.0, 2.0):
        source = tmp_path / "wav2vec"
        source.mkdir(exist_ok=True)
        for name in ids:
            np.save(source / f"{name}.npy", np.full((2, 3), number))
        converted = tmp_path / "external-wav2vec.h5"
        external.convert(source, "wav2vec", ids, converted)
        output = tmp_path / "store.h5"
        writing.assemble(
            utterances,
            synthetic.votes(utterances),
            [path.parent / "audio.h5", converted],
            output,
            corpus="synthetic",
            parameters={},
            storage=stored(),
        )
        found.append(identity_of(output))
    assert found[0] != found[1]


def test_the_comparison_names_its_store_by_its_identity(path: Path, tmp_path: Path) -> None:
    """Its rows are of the bytes of that store, and of no other."""
    only = {"reference": "amh-1", "rows": {"amh-1": LISTED["rows"]["amh-1"]}}
    rows = listed(tmp_path, only)
    make(rows, "amh-1", path, tmp_path / "results" / "amh-1")

    def found(of: Path) -> dict[str, comparison.Result]:
        return comparison.results(rows, common(), tmp_path / "results", of)

    built = comparison.build(found(path), "amh-1", {})
    assert built.rows["store"].tolist() == [identity_of(path)]
    other = make_store(tmp_path, synthetic.table(8))
    with pytest.raises(
        comparison.ComparisonError, match=r"amh-1: is of another .*run `make table`"
    ):
        found(other)
    with pytest.raises(StoreError, match="none.h5: no such file"):
        found(tmp_path / "none.h5")


def test_the_committed_comparison_names_one_store() -> None:
    table = pd.read_csv(ROOT / "results" / "comparison.csv")
    page = (ROOT / "results" / "comparison.md").read_text(encoding="utf-8")
    (named,) = set(table["store"])
    assert f"feature store `{named[:12]}`" in page
