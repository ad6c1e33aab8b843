"""The feature store: layout, bytes, reading, faults."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import store
from pipeline.corpus.table import CorpusError
from pipeline.store import checking, command, writing
from tests.synthetic import Noise, make_store, stored, table, votes


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def damaged(path: Path, tmp_path: Path):
    """A copy of the store to damage."""
    copy = tmp_path / "copy.h5"
    copy.write_bytes(path.read_bytes())
    return copy


def test_the_same_content_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    assert make_store(tmp_path).read_bytes() == path.read_bytes()


def test_everything_comes_back(path: Path) -> None:
    utterances = table()
    with store.FeatureStore(path) as opened:
        assert opened.utterances[utterances.columns.tolist()].equals(utterances)
        assert opened.streams == ["glove", "mfcc", "prosody", "resnet"]
        mfcc = opened.stream("mfcc")
        for dialog, rows in utterances.groupby("dialog"):
            arrays, _ = Noise("mfcc", 4).dialog(rows)
            cuts = np.cumsum(arrays["mfcc/lengths"])[:-1]
            for index, values in zip(
                rows.index, np.split(arrays["mfcc/values"], cuts), strict=True
            ):
                np.testing.assert_array_equal(mfcc[index], values, err_msg=str(dialog))
        glove = opened.stream("glove")
        assert glove.has_tokens and glove.width == 6
        assert glove.words(0) == [utterances["emotion"][0]] * 3


def test_votes_are_labels_and_no_stream(path: Path, tmp_path: Path) -> None:
    with store.FeatureStore(path) as opened:
        assert "votes" not in opened[0]
        with pytest.raises(store.StoreError, match="votes are labels, which no model may read"):
            opened.stream("votes")


def test_votes_are_kept_as_numbers(path: Path) -> None:
    with store.FeatureStore(path) as opened:
        stream = opened.votes
        assert stream and not stream.is_sequence and stream.width == 10
        values = stream.group["values"][:]
        assert values.dtype == np.float32
        for row, code in enumerate(table()["emotion"]):
            given = dict(zip(stream.names, stream[row].tolist(), strict=True))
            assert {name: n for name, n in given.items() if n} == {code: 2.0, "oth": 1.0}


def test_votes_for_an_utterance_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"votes.csv: its utterances are not those of utterances"):
        writing.assemble(
            table(sessions=4),
            votes(table()),
            [],
            tmp_path / "x.h5",
            corpus="x",
            parameters={},
            storage=stored(),
        )
    assert not list(tmp_path.iterdir())


def test_a_sound_store_verifies_and_describes(path: Path, capsys: pytest.CaptureFixture) -> None:
    assert command.main(["verify", str(path)]) == 0
    assert command.main(["describe", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "35 in 5 dialogs, 5 sessions, 10 speakers" in printed
    assert "mfcc" in printed and "float32" in printed


@pytest.mark.parametrize(
    ("name", "position", "value", "fault"),
    [
        ("mfcc/values", 3, np.nan, "mfcc/values: a value that is not finite in utterance Ses01F"),
        ("resnet/times", 0, np.inf, "resnet/times: a value that is not finite"),
        ("glove/values", 100, 9, "glove/values: a token outside the vocabulary in utterance"),
        ("mfcc/offsets", 2, 10**6, "mfcc/offsets: not 36 values rising from 0"),
        ("utterances/id", 0, b"Ses09F_impro01_F000", "utterances/id: not unique and sorted"),
    ],
)
def test_a_fault_is_found_and_named(damaged: Path, name, position, value, fault) -> None:
    with h5py.File(damaged, "r+") as file:
        file[name][position] = value
    found = checking.verify(damaged)
    assert found[0].startswith(fault) and all(name.split("/")[0] in line for line in found)
    assert command.main(["verify", str(damaged)]) == 1


def test_the_fault_names_the_right_utterance(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        file["mfcc/values"][file["mfcc/offsets"][20], 0] = np.nan
    assert checking.verify(damaged)[0].endswith(f"in utterance {table()['utterance'][20]}")


def test_missing_datasets_are_faults(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        del file["mfcc/values"], file["resnet/offsets"]
    assert checking.verify(damaged)[0] == "mfcc: has no values"
    assert "resnet/values" in checking.verify(damaged)[1]


def test_another_schema_version_is_refused(damaged: Path) -> None:
    with h5py.File(damaged, "r+") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(store.StoreError, match=r"schema version 99.*reads version 2.*dvc repro"):
        store.FeatureStore(damaged)


def test_other_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = 1
    with pytest.raises(store.StoreError, match="has no schema version"):
        store.FeatureStore(other)
    other.write_bytes(b"no HDF5 at all")
    with pytest.raises(store.StoreError, match="is no HDF5 file or is damaged"):
        store.FeatureStore(other)
    assert command.main(["describe", str(tmp_path / "absent.h5")]) == 1
    assert "dvc pull" in capsys.readouterr().err


def test_an_unknown_stream_names_those_there_are(path: Path) -> None:
    with (
        store.FeatureStore(path) as opened,
        pytest.raises(store.StoreError, match="no stream bert; it has glove, mfcc, prosody"),
    ):
        opened.stream("bert")


def test_modalities_of_other_utterances_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    make_store(tmp_path)
    output = tmp_path / "other.h5"
    with pytest.raises(store.StoreError, match=r"audio.h5: its utterances differ.*Ses05F"):
        writing.assemble(
            table(sessions=4),
            votes(table(sessions=4)),
            [tmp_path / "audio.h5"],
            output,
            corpus="x",
            parameters={},
            storage=stored(),
        )
    assert not list(tmp_path.glob("*other*")) and not list(tmp_path.glob(".*"))


def test_damaged_features_are_not_assembled(tmp_path: Path) -> None:
    make_store(tmp_path)
    with h5py.File(tmp_path / "audio.h5", "r+") as file:
        file["mfcc/values"][0, 0] = np.nan
    with pytest.raises(store.StoreError, match="not finite in utterance Ses01F_impro01_F000"):
        writing.assemble(
            table(),
            votes(table()),
            [tmp_path / "audio.h5"],
            tmp_path / "x.h5",
            corpus="x",
            parameters={},
            storage=stored(),
        )
    assert not (tmp_path / "x.h5").exists()
