"""Exports: what other code loads equals what the store holds."""

from __future__ import annotations

import csv
import errno
import io
import pickle
import pickletools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.synthetic import make_store
from pipeline import params
from pipeline.corpus import labels
from pipeline.corpus.iemocap.codes import DESCRIPTION
from pipeline.export import __main__ as command
from pipeline.export import arrays, common, mmsa
from pipeline.store import FeatureStore
from pipeline.store.writing import pack
from pipeline.training import splits

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def settings() -> params.Params:
    return params.load(ROOT / "params.yaml")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = command.main([str(argument) for argument in arguments])
    return code, capsys.readouterr().err


SHORT = ["--params", str(ROOT / "params.yaml"), "--steps", "audio=5", "text=4", "video=6"]


def expected_part(store: FeatureStore, settings: params.Params, fold: int, part: str):
    """Ids and labels of a part, by way of the label scheme and split protocol themselves."""
    table = store.utterances
    scheme = labels.scheme(settings.labels.scheme, DESCRIPTION)
    classes = scheme.apply(table["emotion"])
    folds = splits.folds(table, classes, settings.split, ROOT / "splits")
    ids = getattr(next(found for found in folds if found.number == fold), part)
    by_id = dict(zip(table["utterance"], classes, strict=True))
    return list(ids), [int(by_id[name]) for name in ids]


def test_arrays_are_padded_as_the_released_code_loads_them(
    path: Path, tmp_path: Path, settings: params.Params, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "fold"
    code, _ = run(capsys, "arrays", path, output, "--fold", 2, "--no-standardise", *SHORT)
    assert code == 0
    names = ("audio_mfcc", "audio_seqN", "audio_prosody", "label", "nlp_trans")
    files = {
        f"{p}_{n}.npy" for p in ("train", "dev", "test") for n in (*names, "video", "video_seqN")
    }
    ids = {f"{part}_id.csv" for part in ("train", "dev", "test")}
    assert {p.name for p in output.iterdir()} == files | ids | {"W_embedding.npy", "dic.pkl"}
    with FeatureStore(path) as store:
        order = store.utterances["utterance"].tolist()
        for short, part in (("train", "train"), ("dev", "development"), ("test", "test")):
            found = {
                name: np.load(output / f"{short}_{name}.npy")
                for name in (*names, "video", "video_seqN")
            }
            utterances, classes = expected_part(store, settings, 2, part)
            assert (output / f"{short}_id.csv").read_text().split() == ["utterance", *utterances]
            assert found["label"].tolist() == classes
            assert found["audio_mfcc"].shape == (len(classes), 5, 4)
            assert found["nlp_trans"].shape == (len(classes), 4)
            assert found["video"].shape == (len(classes), 6, 5)
            assert found["nlp_trans"].dtype == np.int32
            for row, name in enumerate(utterances):
                index = order.index(name)
                for kind, array, stream, steps in (
                    ("audio_seqN", found["audio_mfcc"], "mfcc", 5),
                    ("video_seqN", found["video"], "resnet", 6),
                ):
                    values = store.stream(stream)[index][:steps]
                    assert found[kind][row] == len(values)
                    np.testing.assert_array_equal(array[row, : len(values)], values)
                    assert not array[row, len(values) :].any()
                words = store.stream("glove")[index]
                assert found["nlp_trans"][row].tolist() == [*words, 0]
                np.testing.assert_array_equal(
                    found["audio_prosody"][row], store.stream("prosody")[index]
                )
        np.testing.assert_array_equal(
            np.load(output / "W_embedding.npy"), store.stream("glove").vectors
        )
        words = pickle.loads((output / "dic.pkl").read_bytes())
        assert words == {word: i for i, word in enumerate(store.stream("glove").vocabulary)}


def test_a_store_without_words_exports_numbers(tmp_path: Path, settings: params.Params) -> None:
    with FeatureStore(make_store(tmp_path, include_text=False)) as store:
        classes, names, parts = common.divide(store, settings, ROOT / "splits", None)
        arrays.write(store, tmp_path / "a", classes, parts, streams={"text": "glove"})
        text = {"audio": "mfcc", "text": "glove", "video": "resnet"}
        mmsa.write(store, tmp_path / "b", classes, names, parts, streams=text)
    assert pickle.loads((tmp_path / "a/dic.pkl").read_bytes())["#8"] == 8
    assert not (tmp_path / "a/train_video.npy").exists()
    assert set(pickle.loads((tmp_path / "b").read_bytes())["test"]["raw_text"]) == {""}


def test_the_mmsa_pickle(
    path: Path, tmp_path: Path, settings: params.Params, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out" / "iemocap.pkl"
    options = ["--streams", "text=glove", "--no-standardise"]
    code, _ = run(capsys, "mmsa", path, output, *SHORT, *options)
    assert code == 0
    assert [p.name for p in output.parent.iterdir()] == ["iemocap.pkl"]
    content: dict[str, dict[str, Any]] = pickle.loads(output.read_bytes())
    assert set(content) == {"train", "valid", "test"}
    with FeatureStore(path) as store:
        order = store.utterances["utterance"].tolist()
        for short, part in (("train", "train"), ("valid", "development"), ("test", "test")):
            found = content[short]
            utterances, classes = expected_part(store, settings, 1, part)
            assert found["id"] == utterances
            assert found["classification_labels"].tolist() == classes
            names = labels.scheme(settings.labels.scheme, DESCRIPTION).classes
            assert found["annotations"] == [names[label] for label in classes]
            assert found["raw_text"] == ["so it is"] * len(classes)
            assert found["regression_labels"].tolist() == [-0.5] * len(classes)
            for key, stream, steps in (("audio", "mfcc", 5), ("vision", "resnet", 6)):
                assert found[key].dtype == np.float32
                assert found[key].flags.writeable  # MMSA replaces infinite values in place
                for row, name in enumerate(utterances):
                    values = store.stream(stream)[order.index(name)][:steps]
                    assert found[f"{key}_lengths"][row] == len(values)
                    np.testing.assert_array_equal(found[key][row, : len(values)], values)
                    assert not found[key][row, len(values) :].any()
            glove = store.stream("glove")
            for row, name in enumerate(utterances):
                expected = glove.vectors[glove[order.index(name)]]
                np.testing.assert_array_equal(found["text"][row, :3], expected)
                assert not found["text"][row, 3:].any()


def test_a_packed_store_is_exported_alike(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(path, tmp_path / "packed.h5")
    for name, source in (("a", path), ("b", tmp_path / "packed.h5")):
        assert run(capsys, "arrays", source, tmp_path / name, "--fold", 2, *SHORT)[0] == 0
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_the_pickle_names_nothing_but_numpys_public_array(
    path: Path, tmp_path: Path, settings: params.Params
) -> None:
    streams = {"audio": "mfcc", "text": "glove", "video": "resnet"}
    with FeatureStore(path) as store:
        classes, names, parts = common.divide(store, settings, ROOT / "splits", None)
        mmsa.write(store, tmp_path / "a.pkl", classes, names, parts, streams=streams)
    found = []

    class Recorder(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found.append((module, name))
            return super().find_class(module, name)

    content = (tmp_path / "a.pkl").read_bytes()
    Recorder(io.BytesIO(content)).load()
    assert set(found) == {("numpy", "ndarray")}
    assert max(op.proto for op, _, _ in pickletools.genops(content)) == 5


def test_exports_need_little_memory(path: Path, tmp_path: Path, settings: params.Params) -> None:
    streams = {"audio": "mfcc", "text": "glove", "video": "resnet"}
    steps = {"audio": 100_000, "text": 4, "video": 6}
    with FeatureStore(path) as store:
        classes, names, parts = common.divide(store, settings, ROOT / "splits", None)
        tracemalloc.start()
        mmsa.write(store, tmp_path / "a", classes, names, parts, streams=streams, steps=steps)
        arrays.write(store, tmp_path / "b", classes, parts, streams=streams, steps=steps)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    size = (tmp_path / "b/train_audio_mfcc.npy").stat().st_size
    assert size > 30e6
    assert peak < size / 4


def test_means(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = run(capsys, "means", path, tmp_path / "means.csv")
    assert code == 0
    with (tmp_path / "means.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with FeatureStore(path) as store:
        table = store.utterances
        assert [row["utterance"] for row in rows] == table["utterance"].tolist()
        assert [row["emotion"] for row in rows] == table["emotion"].tolist()
        assert len(rows[0]) == 5 + sum(store.stream(name).width for name in store.streams)
        empty = 0
        for index, row in enumerate(rows):
            mfcc = [row[f"mfcc_{number}"] for number in range(4)]
            values = store.stream("mfcc")[index].astype(np.float64)
            if len(values):
                np.testing.assert_allclose(
                    np.array(mfcc, np.float64), values.mean(axis=0), rtol=1e-8
                )
            else:
                empty += 1
                assert mfcc == [""] * 4
            glove = store.stream("glove")
            expected = glove.vectors[glove[index]].mean(axis=0, dtype=np.float64)
            found = np.array([row[f"glove_{number}"] for number in range(6)], np.float64)
            np.testing.assert_allclose(found, expected, rtol=1e-8)
            assert not any(name.startswith("votes") for name in row)
        assert empty == (store.stream("mfcc").lengths == 0).sum() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["arrays", "--streams", "sound=mfcc"], "--streams sound=mfcc: write one of audio, text"),
        (["arrays", "--streams", "audio"], "--streams audio: write one of"),
        (["arrays", "--streams", "audio=wav"], "has no stream wav; it has glove, mfcc"),
        (["arrays", "--streams", "audio=prosody"], "audio=prosody: prosody has one row per utt"),
        (["arrays", "--streams", "prosody=mfcc"], "prosody=mfcc: mfcc has steps"),
        (["arrays", "--steps", "audio=0"], "--steps audio=0: must be a whole number above 0"),
        (["arrays", "--fold", "9"], "--fold 9: there is no such fold; there are 1, 2, 3"),
        (["mmsa", "--streams", "text=none"], "MMSA needs all modalities; name a stream of text"),
        (["mmsa", "--params", "absent.yaml"], "absent.yaml: cannot be read"),
        (["means", "--streams", "wav"], "has no stream wav"),
    ],
)
def test_what_cannot_be_exported_is_said(
    arguments: list[str],
    message: str,
    path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind, *options = arguments
    if kind != "means" and "--params" not in options:
        options += ["--params", str(ROOT / "params.yaml")]
    code, printed = run(capsys, kind, path, tmp_path / "out", *options)
    assert code == 1
    assert message in printed
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "means.csv").write_text("mine")
    code, printed = run(capsys, "means", path, tmp_path / "means.csv")
    assert (code, (tmp_path / "means.csv").read_text()) == (1, "mine")
    assert "means.csv: exists; remove it or name another output" in printed


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        with common.new_output(tmp_path / "out") as partial:
            partial.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(common.ExportError, match="out: cannot be written: No space left on device"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_the_system_refuses_is_named(tmp_path: Path) -> None:
    name = "x" * 300  # to ask whether it exists is an error, as in a folder without the right to it
    with pytest.raises(common.ExportError, match=f"{name}: cannot be written: File name too long"):
        common.new_output(tmp_path / name).__enter__()


def test_an_utterance_without_valence_is_named(
    path: Path, tmp_path: Path, settings: params.Params
) -> None:
    with FeatureStore(path) as store:
        classes, names, parts = common.divide(store, settings, ROOT / "splits", None)
        row = parts["test"][0]
        store.utterances.loc[row, "valence"] = np.nan
        name = store.utterances["utterance"][row]
        with pytest.raises(common.ExportError, match=rf"{name} has no valence.*\(1 such"):
            mmsa.write(
                store,
                tmp_path / "a",
                classes,
                names,
                parts,
                streams={"audio": "mfcc", "text": "glove", "video": "resnet"},
            )
