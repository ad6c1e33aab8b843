"""How streams are written: without text, as float16, compressed; what no file may hold."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from benchmarks.synthetic import CONTEXT, make_store, spoken, streams, table
from pipeline import store
from pipeline.features import streamfile
from pipeline.features.checking import check
from pipeline.features.extraction import extract
from pipeline.features.streamfile import Header, StreamError, write
from pipeline.store import checking
from pipeline.store.dataset import StoreDataset
from pipeline.system import hdf5

IDS = table()["utterance"].tolist()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize("compression", ["none", "lzf", "gzip"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_whatever_the_storage_the_values_come_back(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: Any, dtype: Any
) -> None:
    monkeypatch.setattr(streamfile, "CHUNK", 64)
    other = make_store(tmp_path, dtype=dtype, compression=compression)
    assert checking.verify(other) == []
    with store.FeatureStore(path) as expected, store.FeatureStore(other) as found:
        mfcc = found.stream("mfcc").group["values"]
        assert mfcc.dtype == dtype
        assert mfcc.compression == (None if compression == "none" else compression)
        assert found.stream("prosody").group["values"].dtype == "float32"
        assert found.stream("glove").group["vectors"].dtype == "float32"
        for name in expected.streams:
            tolerance = 2.0**-11 if dtype == "float16" and name in ("mfcc", "resnet") else 0.0
            for index in range(len(expected)):
                values = found.stream(name)[index]
                assert values.dtype == (np.int32 if name == "glove" else np.float32)
                # float16 has 11 significant bits
                np.testing.assert_allclose(
                    values, expected.stream(name)[index], rtol=tolerance, atol=1e-7
                )


def test_compressed_and_half_streams_are_the_same_bytes_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamfile, "CHUNK", 64)
    made = [make_store(tmp_path / name, compression="gzip", dtype="float16") for name in "ab"]
    for name in ("audio/mfcc.h5", "store.h5"):
        assert (made[0] / name).read_bytes() == (made[1] / name).read_bytes()


def test_chunks_hold_whole_rows_and_no_more_bytes_than_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamfile, "CHUNK", 100)
    made = make_store(tmp_path, compression="lzf")
    with h5py.File(made / "audio" / "mfcc.h5") as file:
        assert file["values"].chunks == (100 // (4 * 4), 4)


def test_without_text_no_file_spells_a_word(tmp_path: Path) -> None:
    """Neither transcripts, which the test says aloud, nor words nor tokens."""
    made = {
        include: make_store(tmp_path / str(include), include_text=include)
        for include in (True, False)
    }

    def spells(folder: Path, word: bytes) -> list[str]:
        return [file.name for file in sorted(folder.rglob("*.h5")) if word in file.read_bytes()]

    assert spells(made[True], b"so it is") == ["store.h5"]
    assert "glove.h5" in spells(made[True], b"<unk>")
    assert spells(made[False], b"so it is") == spells(made[False], b"<unk>") == []
    assert checking.verify(made[False]) == []
    with store.FeatureStore(made[False]) as opened:
        assert "text" not in opened.utterances
        glove, mfcc = opened.stream("glove"), opened.stream("mfcc")
        assert glove.has_tokens and glove.width == 6
        assert glove.words(0) == [f"#{number}" for number in glove[0]]
        assert mfcc.words(0) == [f"#{step}" for step in range(len(mfcc[0]))]
        dataset = StoreDataset(opened, ["glove"])
        assert dataset.vocabularies == {"glove": 9}
        np.testing.assert_array_equal(dataset.batch([0]).sequences["glove"][0].numpy(), glove[0])


# --- the writer -----------------------------------------------------------------------------------


def header(columns: dict[str, np.ndarray], lengths: list[int], **changes: Any) -> Header:
    ids = [f"u{number}" for number in range(len(lengths))]
    given = {
        "attributes": {"extractor": "x", "identity": {}, "parameters": {}, "provenance": {}},
        "utterances": ids,
        "lengths": np.array(lengths),
        "columns": {name: (array.dtype, array.shape[1:]) for name, array in columns.items()},
        "dialogs": {"d": len(ids)},
        "keys": [""],
    }
    return Header(**(given | changes))


@pytest.mark.parametrize(
    ("name", "value", "changes", "fault"),
    [
        ("values", np.nan, {}, "a value that is not finite"),
        ("values", np.inf, {}, "a value that is not finite"),
        ("times", -np.inf, {}, "a value that is not finite"),
        ("values", 70_000, {"dtype": "float16"}, "a value too large for float16; set .* float32"),
        ("tokens", 3, {}, "a token outside the vocabulary"),
        ("tokens", -1, {}, "a token outside the vocabulary"),
    ],
)
def test_what_no_stream_may_hold_is_named_and_nothing_is_written(
    tmp_path: Path, name: str, value: float, changes: dict[str, Any], fault: str
) -> None:
    lengths = [2, 0, 3, 1]
    columns = {
        "values": np.ones((6, 2), np.float32),
        "times": np.arange(6.0),
        "tokens": np.zeros(6, np.int32),
    }
    state = {"vocabulary": np.array(["a", "b", "c"])}
    path = tmp_path / "s.h5"
    write(path, header(columns, lengths, state=state, **changes), [columns])
    assert path.exists()
    path.unlink()
    columns[name][3] = value  # the second step of the third utterance
    with pytest.raises(StreamError, match=rf"^s/{name}: utterance u2 has {fault}"):
        write(path, header(columns, lengths, state=state, **changes), [columns])
    assert list(tmp_path.iterdir()) == []


def test_a_row_of_nan_is_what_is_not_there_and_a_part_of_a_row_is_a_fault(tmp_path: Path) -> None:
    columns = {"values": np.ones((3, 2), np.float32)}
    columns["values"][1] = np.nan
    state = {"names": np.array(["a", "b"])}
    given = header(columns, [1, 1, 1], is_sequence=False, state=state)
    write(tmp_path / "s.h5", given, [columns])
    with h5py.File(tmp_path / "s.h5") as file:
        stream = store.Stream("s", file)
        assert stream.missing.tolist() == [False, True, False] and not check(stream).faults
    columns["values"][2, 0] = np.nan
    with pytest.raises(StreamError, match="utterance u2 has a value that is not finite"):
        write(tmp_path / "s.h5", given, [columns])


def test_how_the_rows_are_handed_over_changes_nothing(tmp_path: Path) -> None:
    """One utterance at a time or all at once, empty ones anywhere."""
    lengths = [0, 2, 0, 0, 3, 1, 0]
    columns = {"values": np.random.default_rng(0).normal(size=(6, 2)), "times": np.arange(6.0)}
    columns["values"] = columns["values"].astype(np.float32)
    written = []
    for cuts in ([], [2], [0, 2, 2, 5, 6]):
        parts = [
            {name: np.split(array, cuts)[number] for name, array in columns.items()}
            for number in range(len(cuts) + 1)
        ]
        write(tmp_path / "s.h5", header(columns, lengths), parts)
        written.append((tmp_path / "s.h5").read_bytes())
        with h5py.File(tmp_path / "s.h5") as file:
            assert not check(store.Stream("s", file)).faults
    assert written[0] == written[1] == written[2]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    width, steps, count = 1024, 250, 40
    part = {"values": np.ones((steps, width), np.float32)}

    def parts() -> Iterator[dict[str, np.ndarray]]:
        for _ in range(count):
            yield part

    tracemalloc.start()
    try:
        write(tmp_path / "wide.h5", header(part, [steps] * count), parts())
        assert checking.verify(tmp_path / "wide.h5") == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (tmp_path / "wide.h5").stat().st_size / 3


def test_the_size_of_a_block_changes_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "_BLOCK", 50)  # three rows of mfcc, two of resnet
    made = make_store(tmp_path)
    assert (made / "audio/mfcc.h5").read_bytes() == (path / "audio/mfcc.h5").read_bytes()
    with h5py.File(made / "audio/mfcc.h5", "r+") as file:
        file["values"][file["offsets"][21] - 1, 0] += 1
    assert checking.verify(made / "audio/mfcc.h5") == [
        f"mfcc/values: does not match its hash in utterance {IDS[20]}"
    ]


def test_a_value_too_large_for_float16_stops_extraction_and_keeps_its_work(tmp_path: Path) -> None:
    utterances = spoken(table())
    loud = streams(dtype="float16")["audio"]["mfcc"]

    def run(extractor: Any) -> None:
        extract(
            "audio",
            {"mfcc": extractor},
            utterances,
            CONTEXT,
            kept=tmp_path / "kept",
            output=tmp_path / "out",
        )

    class Loud(type(loud)):  # type: ignore[misc]
        def extract(self, *arguments: Any) -> list[Any]:
            steps = super().extract(*arguments)
            steps[1].values[0] = 70_000
            return steps

    with pytest.raises(StreamError, match=rf"mfcc/values: utterance {re.escape(IDS[1])} has .*16"):
        run(Loud(dtype="float16"))
    assert not (tmp_path / "out").exists()


def test_remains_of_killed_runs_go_and_those_of_live_ones_stay(tmp_path: Path) -> None:
    columns = {"values": np.ones((1, 2), np.float32)}
    killed, alive = (tmp_path / f".x.h5.{number}.partial" for number in (1, 2))
    killed.write_bytes(b"half a stream")
    with h5py.File(alive, "w"):
        write(tmp_path / "x.h5", header(columns, [1]), [columns])
        assert alive.exists() and not killed.exists()


@pytest.mark.parametrize(
    ("mean", "deviation", "constant"),
    # the deviation must exceed a millionth of 1 + |mean|
    [
        (0.0, 0.9e-6, True),
        (0.0, 1.1e-6, False),
        (-8.0, 8e-6, True),
        (-8.0, 11e-6, False),
        (1.0, 1.8e-6, True),
        (1.0, 2.4e-6, False),
    ],
)
def test_a_value_that_hardly_varies_is_not_scaled(
    mean: float, deviation: float, constant: bool
) -> None:
    """Rounding would be blown up to the size of a feature."""
    values = np.array([[mean - deviation], [mean + deviation]], np.float64)
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        file["values"] = values
        (found,) = store.Stream("one", file).statistics(np.arange(2)).deviation
    assert found == 1 if constant else found == pytest.approx(deviation, rel=0.2)
