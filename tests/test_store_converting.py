"""Stores of schema version 2 become folders of streams, which extraction takes over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from benchmarks.synthetic import CONTEXT, Noise, make_store, spoken, streams, table
from pipeline.features.extraction import extract
from pipeline.features.planning import Plan, dialogs_of, plan
from pipeline.store import FeatureStore, StoreError, checking
from pipeline.store import __main__ as command
from pipeline.store.converting import convert
from pipeline.system.hdf5 import write_strings
from pipeline.system.values import differences


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("made"))


@pytest.fixture
def old(path: Path, tmp_path: Path) -> Path:
    """The same content as one file of schema version 2, as it was written then."""
    output = tmp_path / "old.h5"
    with h5py.File(output, "w") as file, FeatureStore(path) as store:
        file.attrs["schema_version"] = 2
        file.attrs["corpus"] = store.corpus
        file.attrs["storage"] = json.dumps({"include_text": True})
        file.attrs["parameters"] = "{}"
        made: dict[str, Any] = {}
        for name in store.streams:
            stream = store.stream(name)
            identity = {key: stream.identity[key] for key in stream.identity if key != "vectors"}
            made.setdefault(store.modality(name), {})[name] = {
                "identity": identity,
                "provenance": json.loads(stream.group.attrs["provenance"]),
                "utterances": "",
            }
            for key in ("values", "offsets", "tokens", "vocabulary", "vectors", "names"):
                if key in stream.group:
                    file.copy(stream.group[key], file, f"{name}/{key}")
            if "times" in stream.group:
                starts = np.repeat(store.utterances["start"], stream.lengths)
                file[f"{name}/times"] = stream.group["times"][:] + starts
        file["prosody/values"][4] = 0.0  # what was not there
        file.attrs["extractors"] = json.dumps(made)
        for column, values in store.utterances.items():
            name = {"utterance": "id"}.get(str(column), str(column))
            if values.dtype.kind in "fi":
                file[f"utterances/{name}"] = values.to_numpy()
            else:
                write_strings(file, f"utterances/{name}", values.tolist())
        file["votes/values"] = store.votes
        write_strings(file, "votes/names", store.categories)
    return output


def plans() -> dict[str, Plan]:
    return {
        name: plan(
            modality, name, extractor, dialogs_of(spoken(table())), CONTEXT, include_text=True
        )
        for modality, its in streams().items()
        for name, extractor in its.items()
    }


def test_all_of_it_is_in_the_folder(path: Path, old: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert command.main(["convert", str(old), str(folder)]) == 0
    assert checking.verify(folder) == []
    with FeatureStore(path) as before, FeatureStore(folder) as after:
        assert after.utterances.equals(before.utterances)
        np.testing.assert_array_equal(after.votes, before.votes)
        assert after.categories == before.categories and after.corpus == before.corpus
        assert after.streams == before.streams
        for name in after.streams:
            a, b = before.stream(name), after.stream(name)
            assert differences(a.identity, b.identity) == []
            assert before.modality(name) == after.modality(name)
            for row in range(35):
                expected = a[row]
                if name == "prosody" and row == 4:
                    expected = np.full_like(expected, np.nan)
                np.testing.assert_array_equal(b[row], expected)
                if "times" in a.group:
                    np.testing.assert_allclose(
                        b.aligned("times", row), a.aligned("times", row), atol=1e-12
                    )
        assert list(after.stream("prosody").problems) == [table()["utterance"][4]]
        assert after.stream("glove").words(3) == before.stream("glove").words(3)


def test_extraction_takes_over_what_it_would_compute(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = plans()
    shutil.rmtree(tmp_path / "new", ignore_errors=True)
    del planned["prosody"]
    found = convert(old, tmp_path / "new", planned)
    assert {name: fault for name, fault in found.items() if fault} == {
        "audio/prosody.h5": "there is no stream prosody now"
    }
    shutil.copytree(tmp_path / "new" / "audio", tmp_path / "kept")
    capsys.readouterr()
    again = Noise()
    extract(
        *("audio", {"mfcc": again}, spoken(table()), CONTEXT),
        kept=tmp_path / "kept",
        output=tmp_path / "out",
    )
    assert again.calls == []
    assert "mfcc: computed 0, kept 5 dialogs" in capsys.readouterr().out


def test_a_stream_of_other_parameters_is_computed_anew(old: Path, tmp_path: Path) -> None:
    other = plan(
        *("audio", "mfcc", Noise(step=0.02), dialogs_of(spoken(table())), CONTEXT),
        include_text=True,
    )
    fewer = plan(
        *("visual", "resnet", Noise(stream="resnet", width=5)),
        *(dialogs_of(spoken(table(sessions=4))), CONTEXT),
        include_text=True,
    )
    found = convert(old, tmp_path / "new", {"mfcc": other, "resnet": fewer})
    assert found["audio/mfcc.h5"] == "parameters.step was 0.01 and is 0.02"
    assert found["visual/resnet.h5"] == "the dialogs are not those of the table"
    with h5py.File(tmp_path / "new" / "audio" / "mfcc.h5") as file:
        assert set(file["keys"].asstr()[:]) == {""}


def test_what_cannot_be_converted_is_told(
    path: Path, old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StoreError, match=r"store.h5: is not a store of schema version 2"):
        convert(path / "store.h5", tmp_path / "new")
    with pytest.raises(StoreError, match="exists; name a new folder"):
        convert(old, path)
    with pytest.raises(StoreError, match=r"schema version 2.*pipeline.store convert"):
        FeatureStore(old)
    (tmp_path / "text").write_text("no HDF5")
    assert command.main(["convert", str(tmp_path / "text"), str(tmp_path / "new")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
