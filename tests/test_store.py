"""The feature store: layout, bytes, reading, one packed file."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks.synthetic import CODES, CONTEXT, Noise, make_store, spoken, table, votes
from pipeline import store
from pipeline.corpus.iemocap.codes import DESCRIPTION
from pipeline.store import __main__ as command
from pipeline.store import checking, comparing, writing

FILES = ["audio/mfcc.h5", "audio/prosody.h5", "store.h5", "text/glove.h5", "visual/resnet.h5"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("made"))


@pytest.fixture
def copy(path: Path, tmp_path: Path) -> Path:
    """A copy of the store to damage."""
    return shutil.copytree(path, tmp_path / "copy")


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(found for found in folder.rglob("*") if found.is_file())
    return {found.relative_to(folder).as_posix(): found.read_bytes() for found in files}


def write_table(folder: Path, sessions: int = 5, streams: dict[str, list[str]] | None = None):
    utterances = table(sessions=sessions)
    writing.write_table(
        folder,
        utterances,
        votes(utterances),
        streams or {"audio": ["mfcc"]},
        corpus="x",
        description=DESCRIPTION,
    )


def test_the_same_content_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    found = contents(make_store(tmp_path))
    assert list(found) == FILES
    assert found == contents(path)


def test_everything_comes_back(path: Path) -> None:
    utterances = table()
    with store.FeatureStore(path) as opened:
        assert opened.utterances[utterances.columns.tolist()].equals(utterances)
        assert opened.streams == ["glove", "mfcc", "prosody", "resnet"]
        assert opened.corpus == "synthetic"
        assert [opened.modality(name) for name in opened.streams] == [
            *("text", "audio", "audio", "visual")
        ]
        mfcc = opened.stream("mfcc")
        for dialog, rows in utterances.groupby("dialog"):
            expected = Noise().extract(spoken(rows), {}, CONTEXT)
            for index, steps in zip(rows.index, expected, strict=True):
                np.testing.assert_array_equal(mfcc[index], steps.values, err_msg=str(dialog))
                np.testing.assert_array_equal(mfcc.aligned("times", index), steps.times)
        glove = opened.stream("glove")
        assert glove.has_tokens and glove.width == 6
        assert glove.words(0) == [utterances["emotion"][0]] * 3
        assert mfcc.problems == {"Ses02F_impro01_F000": ["nothing to see"]}
        assert mfcc.missing.sum() == 1 and mfcc.missing[7]


def test_labels_are_no_streams(path: Path) -> None:
    with store.FeatureStore(path) as opened:
        for name in ("votes", "emotion", "labels", "labels/votes"):
            assert name not in opened[0]
            with pytest.raises(store.StoreError, match=f"has no stream {name}"):
                opened.stream(name)
        assert sorted(opened.table["labels"]) == [
            *("activation", "crc32", "dominance", "emotion", "valence", "votes")
        ]


def test_votes_are_kept_as_numbers(path: Path) -> None:
    with store.FeatureStore(path) as opened:
        assert opened.votes.shape == (35, 10) and opened.votes.dtype == np.float32
        for row, code in enumerate(table()["emotion"]):
            given = dict(zip(opened.categories, opened.votes[row].tolist(), strict=True))
            assert {name: n for name, n in given.items() if n} == {code: 2.0, "oth": 1.0}


def test_votes_for_an_utterance_that_is_not_there_are_refused(path: Path, copy: Path) -> None:
    given = votes(table())
    given.loc[3, "utterance"] = "Ses09F_impro01_F000"
    with pytest.raises(store.StoreError, match=r"votes.csv: utterance Ses09F_impro01_F000 is not"):
        writing.write_table(
            copy, table(), given, {"audio": ["mfcc"]}, corpus="x", description=DESCRIPTION
        )
    assert contents(copy) == contents(path)


def test_utterances_without_a_vote_have_none(copy: Path) -> None:
    writing.write_table(
        copy,
        table(),
        votes(table()).iloc[1:],
        {"audio": ["mfcc"]},
        corpus="x",
        description=DESCRIPTION,
    )
    with store.FeatureStore(copy) as opened:
        assert opened.votes.sum(axis=1).tolist() == [0.0] + [3.0] * 34


def test_a_sound_store_verifies_and_describes(path: Path, capsys: pytest.CaptureFixture) -> None:
    for found in (path, path / "audio" / "mfcc.h5"):
        assert command.main(["verify", str(found)]) == 0
    assert command.main(["describe", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "35 in 5 dialogs, 5 sessions, 10 speakers" in printed
    assert re.search(r"mfcc +audio +4 +float32 +\d+ +0 +[\d.]+ +8 +1 +1 ", printed)
    assert command.main(["problems", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Ses02F_impro01_F000: mfcc: nothing to see",
        "Ses02F_impro01_F000: resnet: nothing to see",
    ]
    assert command.main(["problems", str(path / "text" / "glove.h5")]) == 0
    assert "no problem" in capsys.readouterr().out


def test_utterances_without_an_emotion_are_named(copy: Path, capsys: pytest.CaptureFixture) -> None:
    unlabelled = table()
    unlabelled.loc[0, "emotion"] = ""
    writing.write_table(
        copy,
        unlabelled,
        votes(unlabelled),
        {"audio": ["mfcc"]},
        corpus="x",
        description=DESCRIPTION,
    )
    assert command.main(["describe", str(copy)]) == 0
    assert "(none) 1\n" in capsys.readouterr().out


def test_streams_of_other_utterances_are_refused_and_nothing_is_written(
    path: Path, copy: Path
) -> None:
    with pytest.raises(store.StoreError, match=r"mfcc.h5: its utterances differ.*Ses05F"):
        write_table(copy, sessions=4)
    assert contents(copy) == contents(path)


@pytest.mark.parametrize("name", ["store.h5", "audio/mfcc.h5"])
def test_another_schema_version_is_refused(copy: Path, name: str) -> None:
    with h5py.File(copy / name, "r+") as file:
        file.attrs["schema_version"] = 99
    with (
        pytest.raises(store.StoreError, match=r"schema version 99.*reads version 3.*dvc repro"),
        store.FeatureStore(copy) as opened,
    ):
        opened.stream("mfcc")


def test_other_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = 1
    with pytest.raises(store.StoreError, match="has no schema version"):
        store.FeatureStore(other)
    other.write_bytes(b"no HDF5 at all")
    with pytest.raises(store.StoreError, match="is not an HDF5 file or is damaged"):
        store.FeatureStore(other)
    assert command.main(["describe", str(tmp_path / "absent")]) == 1
    assert "dvc pull" in capsys.readouterr().err


def test_an_unknown_stream_names_those_there_are(path: Path) -> None:
    with (
        store.FeatureStore(path) as opened,
        pytest.raises(store.StoreError, match="no stream bert; it has glove, mfcc, prosody"),
    ):
        opened.stream("bert")


def test_a_stream_that_the_store_was_not_made_with_is_refused(copy: Path, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other", dtype="float16")
    shutil.copy(other / "audio" / "mfcc.h5", copy / "audio")
    with store.FeatureStore(copy) as opened:
        opened.stream("resnet")
        with pytest.raises(store.StoreError, match=r"mfcc.h5: is not the stream that store.h5 was"):
            opened.stream("mfcc")
    assert checking.verify(copy) == ["mfcc: is not the stream that the store was made with"]
    (copy / "audio" / "mfcc.h5").unlink()
    with store.FeatureStore(copy) as opened:
        opened.stream("prosody")  # the others can be used without it
        with pytest.raises(store.StoreError, match=r"mfcc.h5: no such file; `dvc pull` fetches"):
            opened.stream("mfcc")
    assert checking.verify(copy) == [f"{copy / 'audio' / 'mfcc.h5'}: is missing"]


def test_utterances_by_id_and_by_row(path: Path) -> None:
    ids = table()["utterance"].tolist()
    with store.FeatureStore(path) as opened:
        assert list(opened) == ids
        for row in (0, 17, -1):
            by_id, by_row = opened[ids[row]], opened[row]
            assert list(by_id) == list(by_row) == opened.streams
            for name, values in by_id.items():
                np.testing.assert_array_equal(values, by_row[name])
                np.testing.assert_array_equal(values, opened.stream(name)[row % len(ids)])
        with pytest.raises(store.StoreError, match="no utterance Ses09"):
            opened["Ses09"]
        with pytest.raises(store.StoreError, match="no row 35"):
            opened[35]


def test_an_open_store_outlives_its_replacement(path: Path, copy: Path) -> None:
    with store.FeatureStore(copy) as opened, store.FeatureStore(path) as kept:
        expected = kept.stream("resnet")[4]
        opened.stream("resnet")
        for name in ("store.h5", "visual/resnet.h5"):
            other = copy.parent / "other"
            other.write_bytes(b"another file" * 10_000)
            other.replace(copy / name)
        np.testing.assert_array_equal(opened.stream("resnet")[4], expected)
        np.testing.assert_array_equal(opened.votes, kept.votes)


# --- one packed file ------------------------------------------------------------------------------


def test_a_packed_store_is_the_same_store(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    packed = tmp_path / "packed.h5"
    assert command.main(["pack", str(path), str(packed)]) == 0
    assert comparing.compare(path, packed) == [] == checking.verify(packed)
    with store.FeatureStore(path) as folder, store.FeatureStore(packed) as one:
        assert folder.sha256 == one.sha256 and len(one) == 35
        assert one.utterances.equals(folder.utterances)
        for name in one.streams:
            assert one.stream(name).identity == folder.stream(name).identity
            assert one.modality(name) == folder.modality(name)
            for row in range(35):
                np.testing.assert_array_equal(one[row][name], folder[row][name])
    again = tmp_path / "again.h5"
    writing.pack(packed, again)
    assert again.read_bytes() == packed.read_bytes()


def test_some_streams_can_be_packed(path: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.h5"
    writing.pack(path, packed, ["mfcc"])
    assert checking.verify(packed) == []
    with store.FeatureStore(packed) as one, store.FeatureStore(path) as folder:
        assert one.streams == ["mfcc"] and one.sha256 != folder.sha256
    with pytest.raises(store.StoreError, match="has no stream wavlm"):
        writing.pack(path, tmp_path / "no.h5", ["wavlm"])
    assert not (tmp_path / "no.h5").exists()


def test_damage_of_a_packed_store_is_named(path: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.h5"
    writing.pack(path, packed)
    with h5py.File(packed, "r+") as file:
        file["audio/mfcc/values"][0, 0] += 1
        file["labels/emotion"][3] = CODES[0].encode()
        del file["text/glove"]
    assert checking.verify(packed) == [
        "labels/emotion: does not match its hash in utterance Ses01F_impro01_F006",
        "mfcc/values: does not match its hash in utterance Ses01F_impro01_F000",
        "glove: is missing",
    ]
