"""How a store is written: without text, as float16, compressed."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline import hdf5, params, store
from pipeline.batches import Examples
from pipeline.hdf5 import write_strings
from pipeline.store import checking, writing
from tests.synthetic import make_store, stored, table, votes

ROOT = Path(__file__).parents[1]


def assemble(modality: Path, output: Path, **changes: Any) -> Path:
    writing.assemble(
        table(),
        votes(table()),
        [modality],
        output,
        corpus="x",
        parameters={},
        storage=stored(**changes),
    )
    return output


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize("compression", ["lzf", "gzip"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_whatever_the_storage_the_values_come_back(
    path: Path, tmp_path: Path, compression: Any, dtype: Any
) -> None:
    settings = stored(compression=compression, dtype=dtype, chunk=1)
    other = make_store(tmp_path, storage=settings)
    assert checking.verify(other) == []
    with store.FeatureStore(path) as expected, store.FeatureStore(other) as found:
        assert found.file["mfcc/values"].dtype == dtype
        assert found.file["mfcc/values"].compression == compression
        assert found.file["prosody/values"].dtype == found.file["glove/vectors"].dtype == "float32"
        for name in expected.streams:
            tolerance = 2.0**-11 if dtype == "float16" and name in ("mfcc", "resnet") else 0.0
            for index in range(len(expected)):
                values = found.stream(name)[index]
                assert values.dtype == (np.int32 if name == "glove" else np.float32)
                # float16 has 11 significant bits
                np.testing.assert_allclose(
                    values, expected.stream(name)[index], rtol=tolerance, atol=1e-7
                )


def test_compressed_and_half_stores_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    settings = stored(compression="gzip", dtype="float16", chunk=1)
    made = [make_store(tmp_path / name, storage=settings).read_bytes() for name in "ab"]
    assert made[0] == made[1]


def test_chunks_are_of_the_size_asked_for(tmp_path: Path) -> None:
    make_store(tmp_path)
    for kib in (1, 2):
        output = assemble(
            tmp_path / "audio.h5", tmp_path / f"{kib}.h5", compression="lzf", chunk=kib
        )
        with h5py.File(output) as file:
            assert file["mfcc/values"].chunks == (kib * 1024 // (4 * 4), 4)


def test_without_text_nothing_spells_words(tmp_path: Path) -> None:
    secret = "gwyniad"
    utterances = table()
    utterances["text"] = f"{secret} it is"
    make_store(tmp_path)
    for name in ("audio", "text"):
        with h5py.File(tmp_path / f"{name}.h5", "r+") as file:
            stream = "glove" if name == "text" else "mfcc"
            if name == "text":
                del file["glove/vocabulary"]
                write_strings(file, "glove/vocabulary", ["<pad>", "<unk>", *[secret] * 7])
            else:
                file["mfcc/tokens"] = np.zeros(len(file["mfcc/values"]), np.int32)
                write_strings(file, "mfcc/vocabulary", [secret])
            write_strings(file, f"{stream}/another", [secret])
    made = {}
    for include in (True, False):
        made[include] = tmp_path / f"{include}.h5"
        writing.assemble(
            utterances,
            votes(utterances),
            [tmp_path / "audio.h5", tmp_path / "text.h5"],
            made[include],
            corpus="x",
            parameters={},
            storage=stored(include_text=include),
        )
    assert secret.encode() in made[True].read_bytes()
    assert secret.encode() not in made[False].read_bytes()
    assert checking.verify(made[False]) == []
    with store.FeatureStore(made[False]) as opened:
        assert "text" not in opened.utterances and "tokens" not in opened.stream("mfcc").group
        glove, mfcc = opened.stream("glove"), opened.stream("mfcc")
        assert glove.has_tokens and glove.width == 6
        assert glove.words(0) == [f"#{number}" for number in glove[0]]
        assert mfcc.words(0) == [f"#{step}" for step in range(len(mfcc[0]))]
        assert opened.votes and opened.votes.names[0] == "neu"
        model = params.load(ROOT / "params.yaml").model.model_copy(
            update={
                "modalities": ["audio", "text"],
                "streams": params.Streams(audio="mfcc", text="glove", video="resnet"),
            }
        )
        steps = params.MaxSteps(audio=750, text=128, video=25)
        examples = Examples(opened, model, steps)
        assert examples.vocabularies == {"glove": 9}
        batch = examples.batch([0, 1])
        np.testing.assert_array_equal(batch.sequences["glove"][1].numpy(), glove[1])


def test_a_value_too_large_for_float16_is_named(tmp_path: Path) -> None:
    make_store(tmp_path)
    with h5py.File(tmp_path / "audio.h5", "r+") as file:
        row = file["mfcc/offsets"][20]
        file["mfcc/values"][row, 1] = 70_000
    utterance = re.escape(table()["utterance"][20])
    with pytest.raises(
        store.StoreError, match=rf"mfcc/values: 70000 in utterance {utterance} .*float32"
    ):
        assemble(tmp_path / "audio.h5", tmp_path / "half.h5", dtype="float16")
    assert not list(tmp_path.glob("*half*")) and not list(tmp_path.glob(".*half*"))
    assemble(tmp_path / "audio.h5", tmp_path / "whole.h5")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    utterances, rows, width = table()["utterance"].tolist(), 10_000, 1024
    modality = tmp_path / "wide.h5"
    with hdf5.writing(modality) as file:
        file.attrs.update(schema_version=hdf5.SCHEMA_VERSION, extractor="{}")
        write_strings(file, "utterances/id", utterances)
        file["wide/values"] = np.ones((rows, width), np.float32)
        file["wide/offsets"] = np.linspace(0, rows, len(utterances) + 1).astype(np.int64)
    tracemalloc.start()
    try:
        assert checking.verify(assemble(modality, tmp_path / "store.h5")) == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < modality.stat().st_size / 3


def test_the_size_of_a_block_changes_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "_BLOCK", 50)  # three rows of mfcc, two of resnet
    assert make_store(tmp_path).read_bytes() == path.read_bytes()
    modality, utterance = tmp_path / "audio.h5", table()["utterance"][20]
    with h5py.File(modality, "r+") as file:
        file["mfcc/values"][file["mfcc/offsets"][21] - 1, 0] = np.nan
    fault = f"mfcc/values: a value that is not finite in utterance {utterance}"
    assert checking.verify(modality) == [fault]


def test_two_files_with_one_stream_are_refused(tmp_path: Path) -> None:
    make_store(tmp_path)
    again = tmp_path / "external-mfcc.h5"
    again.write_bytes((tmp_path / "audio.h5").read_bytes())
    with pytest.raises(store.StoreError, match=r"external-mfcc.h5: has a stream mfcc.*rename"):
        writing.assemble(
            table(),
            votes(table()),
            [tmp_path / "audio.h5", again],
            tmp_path / "x.h5",
            corpus="x",
            parameters={},
            storage=stored(),
        )


def test_remains_of_killed_runs_go_and_those_of_live_ones_stay(tmp_path: Path) -> None:
    make_store(tmp_path)
    killed, alive = (tmp_path / f".x.h5.{number}.partial" for number in (1, 2))
    killed.write_bytes(b"half a store")
    with h5py.File(alive, "w"):
        assemble(tmp_path / "audio.h5", tmp_path / "x.h5")
        assert alive.exists() and not killed.exists()


def test_an_open_store_outlives_its_replacement(path: Path, tmp_path: Path) -> None:
    copy, other = tmp_path / "copy.h5", tmp_path / "other.h5"
    copy.write_bytes(path.read_bytes())
    with store.FeatureStore(copy) as opened, store.FeatureStore(path) as kept:
        expected = opened.stream("resnet")[4]
        other.write_bytes(b"another file" * 10_000)
        other.replace(copy)
        # a stream that has not been read before the replacement
        np.testing.assert_array_equal(opened.stream("mfcc")[3], kept.stream("mfcc")[3])
        np.testing.assert_array_equal(opened.stream("resnet")[4], expected)


def test_utterances_by_id_and_by_row(path: Path) -> None:
    ids = table()["utterance"].tolist()
    with store.FeatureStore(path) as opened:
        assert list(opened) == ids
        for row in (0, 17, -1):
            by_id, by_row = opened[ids[row]], opened[row]
            assert list(by_id) == list(by_row) == opened.streams
            for name, values in by_id.items():
                np.testing.assert_array_equal(values, by_row[name])
                at = row % len(ids)
                np.testing.assert_array_equal(values, opened.stream(name)[at])
        with pytest.raises(store.StoreError, match="no utterance Ses09"):
            opened["Ses09"]
        with pytest.raises(store.StoreError, match="no row 35"):
            opened[35]
