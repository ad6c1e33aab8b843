"""Extraction by dialog: order, resumption, reports, bytes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from pipeline import InputError
from pipeline.features.extraction import extract
from tests.synthetic import Noise, table


def run(folder: Path, extractor: Noise, utterances: pd.DataFrame | None = None, workers: int = 1):
    folder.mkdir(exist_ok=True)
    extract(
        extractor,
        table() if utterances is None else utterances,
        parts=folder / "parts",
        output=folder / "out.h5",
        report=folder / "out.json",
        workers=workers,
    )
    return (folder / "out.h5").read_bytes()


def test_values_lie_in_the_tables_order(tmp_path: Path) -> None:
    run(tmp_path, Noise("mfcc", 4))
    expected = [Noise("mfcc", 4).dialog(rows)[0] for _, rows in table().groupby("dialog")]
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["utterances/id"].asstr()[:].tolist() == table()["utterance"].tolist()
        np.testing.assert_array_equal(
            file["mfcc/values"][:], np.concatenate([arrays["mfcc/values"] for arrays in expected])
        )
        np.testing.assert_array_equal(
            np.diff(file["mfcc/offsets"][:]),
            np.concatenate([arrays["mfcc/lengths"] for arrays in expected]),
        )
        assert file["mfcc/remark"].asstr()[:].tolist() == ["naïve", "ångström"]


def test_an_interrupted_run_resumes_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", Noise("mfcc", 4))
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "cut", Noise("mfcc", 4, fail_at="Ses04F_impro01"))
    assert not (tmp_path / "cut" / "out.h5").exists()
    again = Noise("mfcc", 4)
    assert run(tmp_path / "cut", again) == whole
    assert again.calls == ["Ses04F_impro01", "Ses05F_impro01"]


def test_finished_dialogs_outlive_the_run_since_dvc_may_delete_its_output(tmp_path: Path) -> None:
    whole = run(tmp_path, Noise("mfcc", 4))
    (tmp_path / "out.h5").unlink()
    again = Noise("mfcc", 4)
    assert run(tmp_path, again) == whole
    assert again.calls == []


def test_finished_dialogs_of_other_parameters_or_rows_are_not_reused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        run(tmp_path, Noise("mfcc", 4, fail_at="Ses04F_impro01"))
    moved = table()
    moved.loc[moved["group"] == "2", "start"] += 0.5
    other = Noise("mfcc", 4)
    run(tmp_path, other, moved)
    assert other.calls == ["Ses02F_impro01", "Ses04F_impro01", "Ses05F_impro01"]

    with pytest.raises(RuntimeError):
        run(tmp_path, Noise("mfcc", 4, fail_at="Ses02F_impro01"))
    wider = Noise("mfcc", 6)
    run(tmp_path, wider)
    assert len(wider.calls) == 5


def test_a_damaged_part_is_made_again(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", Noise("mfcc", 4))
    with pytest.raises(RuntimeError):
        run(tmp_path / "cut", Noise("mfcc", 4, fail_at="Ses03F_impro01"))
    part = tmp_path / "cut" / "parts" / "Ses01F_impro01.npz"
    part.write_bytes(part.read_bytes()[:100])
    again = Noise("mfcc", 4)
    assert run(tmp_path / "cut", again) == whole
    assert "Ses01F_impro01" in again.calls and "Ses02F_impro01" not in again.calls


def test_a_part_whose_values_rotted_is_named_and_made_again(tmp_path: Path) -> None:
    whole = run(tmp_path, Noise("mfcc", 4))
    part = tmp_path / "parts" / "Ses03F_impro01.npz"
    content = bytearray(part.read_bytes())
    with zipfile.ZipFile(part) as archive:
        place = archive.getinfo("mfcc/values.npy").header_offset
    content[place + 300] ^= 1  # behind the headers of the archive and of the array
    part.write_bytes(content)
    with pytest.raises(InputError, match="Ses03F_impro01.npz: was damaged"):
        run(tmp_path, Noise("mfcc", 4))
    again = Noise("mfcc", 4)
    assert run(tmp_path, again) == whole
    assert again.calls == ["Ses03F_impro01"]


def test_processes_give_the_same_bytes(tmp_path: Path) -> None:
    assert run(tmp_path / "one", Noise("mfcc", 4)) == run(
        tmp_path / "two", Noise("mfcc", 4), workers=2
    )


def test_problems_are_counted_and_reported(tmp_path: Path) -> None:
    run(tmp_path, Noise("mfcc", 4))
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["utterances"] == 35
    assert report["streams"]["mfcc"]["empty"] == 1
    assert report["problems"] == [{"utterance": "Ses02F_impro01_F000", "reason": "nothing to see"}]


def test_an_unsorted_or_empty_table_is_refused(tmp_path: Path) -> None:
    mixed = table().sort_values("start", kind="stable")
    with pytest.raises(ValueError, match="not consecutive"):
        run(tmp_path, Noise("mfcc", 4), mixed)
    with pytest.raises(ValueError, match="no utterance"):
        run(tmp_path, Noise("mfcc", 4), table().iloc[:0])
