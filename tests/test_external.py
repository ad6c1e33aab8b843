"""Features made elsewhere: each format becomes the same stream, and each fault is named."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.synthetic import CONTEXT, make_store, spoken, table, votes
from pipeline import InputError, params, store
from pipeline.corpus.iemocap.codes import DESCRIPTION
from pipeline.features.checking import check
from pipeline.features.external import External
from pipeline.features.extraction import extract
from pipeline.store import checking, describing, writing
from pipeline.store.inputs import of_model
from pipeline.system import hdf5

IDS = table()["utterance"].tolist()


def features(missing: int = 3) -> dict[str, np.ndarray]:
    """A sequence for each utterance but the first few."""
    random = np.random.default_rng(0)
    return {
        name: random.normal(size=(1 + number % 4, 3)).astype(np.float32)
        for number, name in enumerate(IDS[missing:])
    }


def write_npy(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def write_csv(folder: Path, arrays: dict[str, np.ndarray], header: str = "") -> Path:
    folder.mkdir()
    for name, array in arrays.items():
        np.savetxt(folder / f"{name}.csv", array, "%.9g", ",", header=header, comments="")
    return folder


def write_ragged(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    names = sorted(arrays, reverse=True)  # any order will do
    with h5py.File(path, "w") as file:
        file["values"] = np.concatenate([arrays[name] for name in names])
        file["offsets"] = np.cumsum([0, *(len(arrays[name]) for name in names)])
        file["ids"] = names
    return path


def write_groups(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """A dataset, a group with one dataset, and a group with values beside times, in turn."""
    with h5py.File(path, "w") as file:
        for number, (name, array) in enumerate(arrays.items()):
            file[(name, f"{name}/wav2vec", f"{name}/values")[number % 3]] = array
            if number % 3 == 2:
                file[f"{name}/times"] = np.arange(len(array))
    return path


WRITERS = {"npy": write_npy, "csv": write_csv, "ragged.h5": write_ragged, "groups.h5": write_groups}


def made(source: Path, folder: Path) -> Path:
    """The file of a stream that is taken from a source."""
    extract(
        "audio",
        {"wav2vec": External(path=str(source))},
        spoken(table()),
        CONTEXT,
        kept=folder / "kept",
        output=folder / "out",
    )
    return folder / "out" / "wav2vec.h5"


@contextmanager
def stream(source: Path, folder: Path) -> Iterator[store.Stream]:
    """The stream that is taken from a source."""
    with hdf5.reading(made(source, folder)) as file:
        yield store.Stream("wav2vec", file)


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_becomes_the_same_stream(kind: str, tmp_path: Path) -> None:
    arrays = features()
    source = WRITERS[kind](tmp_path / f"wav2vec.{kind}", arrays)
    with stream(source, tmp_path / "a") as found:
        assert found.is_sequence and found.width == 3 and not check(found).faults
        for row, utterance in enumerate(IDS):
            expected = arrays.get(utterance, np.zeros((0, 3), np.float32))
            np.testing.assert_array_equal(found[row], expected)
        name = f"wav2vec.{kind}"
        assert found.problems == {utterance: [f"{name} lacks it"] for utterance in IDS[:3]}
        assert found.identity["weights"] == External(path=str(source)).files()
    again = made(source, tmp_path / "b")
    assert again.read_bytes() == (tmp_path / "a" / "out" / "wav2vec.h5").read_bytes()


def test_other_content_is_another_identity(tmp_path: Path) -> None:
    source = write_npy(tmp_path / "npy", features())
    before = External(path=str(source)).files()
    np.save(source / f"{IDS[5]}.npy", np.ones((2, 3), np.float32))
    assert External(path=str(source)).files() != before
    (source / "notes.txt").write_text("which nobody reads")
    assert list(External(path=str(source)).files()) == ["npy"]


def test_values_of_whole_utterances_keep_their_columns_names(tmp_path: Path) -> None:
    arrays = {name: array[:1] for name, array in features().items()}
    source = write_csv(tmp_path / "csv", arrays, header="pitch,rate, loudness")
    with stream(source, tmp_path / "a") as found:
        assert not found.is_sequence
        assert found.names == ["pitch", "rate", "loudness"]
        assert found.missing.tolist() == [True] * 3 + [False] * 32
        assert np.isnan(found[0]).all()
        np.testing.assert_array_equal(found[3], arrays[IDS[3]][0])


def test_values_of_whole_utterances_from_npy_and_hdf5(tmp_path: Path) -> None:
    arrays = {name: array[0] for name, array in features().items()}
    folder = write_npy(tmp_path / "wav2vec", arrays)
    with h5py.File(tmp_path / "wav2vec.h5", "w") as file:
        file["values"], file["ids"] = np.stack(list(arrays.values())), list(arrays)
    for source in (folder, tmp_path / "wav2vec.h5"):
        with stream(source, tmp_path / source.suffix) as found:
            assert found.names == ["wav2vec_0", "wav2vec_1", "wav2vec_2"]
            np.testing.assert_array_equal(found[5], arrays[IDS[5]])


def test_whole_numbers_and_doubles_become_float32(tmp_path: Path) -> None:
    arrays = {IDS[0]: np.array([[1, 2]], np.int16), IDS[1]: np.array([[0.1, 3.0]] * 2)}
    with stream(write_npy(tmp_path / "npy", arrays), tmp_path) as found:
        np.testing.assert_array_equal(found[0], np.array([[1, 2]], np.float32))
        np.testing.assert_array_equal(found[1], np.array([[0.1, 3.0]] * 2, np.float32))


def test_an_empty_sequence_is_no_problem(tmp_path: Path) -> None:
    arrays = features(0) | {IDS[0]: np.zeros((0, 3), np.float32)}
    with stream(write_npy(tmp_path / "npy", arrays), tmp_path) as found:
        assert found.lengths[:2].tolist() == [0, 2] and not found.problems


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({IDS[5]: np.ones((2, 4))}, f"{IDS[3]} has 3 values per row and {IDS[5]} has 4"),
        ({IDS[5]: np.ones(3)}, f"{IDS[3]} has 2 dimensions and {IDS[5]} has 1"),
        ({IDS[5]: np.ones((2, 3, 1))}, f"{IDS[5]} has 3 dimensions"),
        ({IDS[5]: np.array([["a"] * 3])}, f"{IDS[5]} holds values of type <U1"),
        ({IDS[5]: np.ones((1, 3)) * 1j}, f"{IDS[5]} holds values of type complex128"),
        ({IDS[5]: [[1, 2, 3], [4, np.nan, 6]]}, rf"{IDS[5]} has 1 values .*first at \[1, 1\]"),
        ({IDS[5]: np.full((1, 3), 1e39)}, f"{IDS[5]} has 3 values that are not finite float32"),
        ({"Ses01F_impro1_F000": np.ones((1, 3))}, r"1 of 33 names .*Ses01F_impro1_F000.*form Ses"),
    ],
)
def test_an_array_that_does_not_fit_is_named(
    changed: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    source = write_npy(tmp_path / "npy", features() | changed)
    with pytest.raises(InputError, match=message):
        made(source, tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (f"{IDS[0]}.npy", b"not an array", r"\.npy: is not a \.npy file of numbers"),
        (f"{IDS[0]}.npy", b"", r"\.npy: is not a \.npy file of numbers"),
        (f"{IDS[0]}.csv", b"1,2\n3,x\n", "row 2 holds 'x', which is not a number"),
        (f"{IDS[0]}.csv", b"1,2\n3\n", "row 2 has 1 values, not 2"),
        (f"{IDS[0]}.csv", b"\xff\xfe1", "is not a CSV file"),
        (f"{IDS[0]}.csv", b"a,b\n", "no utterance has a value"),
        ("notes.txt", b"1", "holds no features"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    file: str, content: bytes, message: str, tmp_path: Path
) -> None:
    source = tmp_path / "features"
    source.mkdir()
    (source / file).write_bytes(content)
    with pytest.raises(InputError, match=message):
        made(source, tmp_path)


@given(
    content=st.binary(max_size=40), suffix=st.sampled_from([".npy", ".csv"]), valid=st.booleans()
)
@settings(max_examples=60, deadline=None)
def test_no_content_of_a_file_raises_another_error(
    content: bytes, suffix: str, valid: bool
) -> None:
    start = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', " if suffix == ".npy" else b"1,2\n"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / f"{IDS[0]}{suffix}").write_bytes(start * valid + content)
        try:
            made(folder, folder)
        except InputError as error:
            assert IDS[0] in str(error) or "no utterance has a value" in str(error)
        else:
            assert checking.verify(folder / "out" / "wav2vec.h5") == []


@pytest.mark.parametrize("text", ["1_0,2\n3,4\n", "1e3,+2\n 3 ,-.4\n"])
def test_numbers_as_python_reads_them(text: str, tmp_path: Path) -> None:
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / f"{IDS[0]}.csv").write_text(text)
    expected = [[float(cell) for cell in line.split(",")] for line in text.splitlines()]
    with stream(tmp_path / "csv", tmp_path) as found:
        np.testing.assert_array_equal(found[0], np.array(expected, np.float32))


def test_two_kinds_of_files_are_an_error(tmp_path: Path) -> None:
    source = write_npy(tmp_path / "both", {IDS[0]: np.ones((1, 3))})
    (source / f"{IDS[1]}.csv").write_text("1,2,3\n")
    with pytest.raises(InputError, match=r"holds \.npy and \.csv files"):
        made(source, tmp_path)
    (source / f"{IDS[0]}.csv").write_text("1,2,3\n")
    with pytest.raises(InputError, match=f"{IDS[0]} is there as .npy and as .csv"):
        made(source, tmp_path)


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"values": np.ones((3, 2)), "offsets": [0, 2, 1, 3]}, "offsets must be 3 whole numbers"),
        ({"values": np.ones((3, 2)), "offsets": [0, 2, 4]}, "rise from 0 to 3"),
        ({"values": np.ones((3, 2)), "offsets": [0.0, 2.0, 3.0]}, "whole numbers"),
        ({"values": np.ones(3), "offsets": [0, 2, 3]}, r"save \[sum of T, D\]"),
        ({"values": np.ones((3, 2))}, r"shape \(3, 2\) for 2 ids and there are no offsets"),
        ({"values": np.ones((2, 2)), "ids": [IDS[0], IDS[0]]}, "ids has an utterance twice"),
        ({"values": np.ones((2, 2)), "ids": [1, 2]}, "ids holds values of type int64"),
    ],
)
def test_damaged_hdf5_is_named(
    datasets: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        for name, values in ({"ids": IDS[:2]} | datasets).items():
            file[name] = values
    with pytest.raises(InputError, match=message):
        made(tmp_path / "in.h5", tmp_path)


def test_a_group_must_say_which_dataset(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file[f"{IDS[0]}/first"], file[f"{IDS[0]}/second"] = [1], [2]
    with pytest.raises(InputError, match=f"group {IDS[0]} holds first, second; name"):
        made(tmp_path / "in.h5", tmp_path)


def test_what_is_no_hdf5_is_named(tmp_path: Path) -> None:
    (tmp_path / "in.h5").write_text("nothing")
    with pytest.raises(InputError, match="is neither a folder nor a readable HDF5 file"):
        made(tmp_path / "in.h5", tmp_path)


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"audio\.streams\.wav2vec\.path: .*none does not exist"):
        made(tmp_path / "none", tmp_path)


def test_a_model_reads_it_like_any_other(tmp_path: Path) -> None:
    output, arrays = make_store(tmp_path), features()
    file = made(write_npy(tmp_path / "npy", arrays), tmp_path / "a")
    file.rename(output / "visual" / "wav2vec.h5")
    streams = {"audio": ["mfcc"], "visual": ["wav2vec"]}
    writing.write_table(
        output, table(), votes(table()), streams, corpus="synthetic", description=DESCRIPTION
    )
    assert checking.verify(output) == []
    with store.FeatureStore(output) as opened:
        assert opened.streams == ["mfcc", "wav2vec"]
        model = params.load(Path(__file__).parents[1] / "params.yaml").model
        chosen = params.Streams(audio="wav2vec", text="mfcc", video="mfcc")
        model = model.model_copy(
            update={"modalities": ["audio"], "streams": chosen, "prosody": None}
        )
        steps = params.MaxSteps(audio=3, text=3, video=3)
        batch = of_model(opened, model, steps).batch([0, 5, 6])
        assert batch.lengths["wav2vec"].tolist() == [0, 3, 3]
        np.testing.assert_array_equal(batch.sequences["wav2vec"][2], arrays[IDS[6]][:3])
    assert re.search(r"wav2vec +visual +3 +float32", describing.describe(output))


def test_any_modality_may_have_it() -> None:
    raw = params.read_yaml(Path(__file__).parents[1] / "params.yaml")
    for group in params.FEATURES:
        raw[group]["streams"][f"{group}_own"] = {"extractor": "external", "path": "x.h5"}
    settings = params.parse(raw)
    assert settings.text.streams["text_own"] == External(path="x.h5")
