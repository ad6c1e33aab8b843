"""How exported values are standardised: by the training part, and by what is there of it."""

from __future__ import annotations

import csv
import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks.synthetic import make_store, without_prosody
from pipeline import params
from pipeline.export import arrays, common, means
from pipeline.store import FeatureStore
from tests.test_export import ROOT, SHORT, run


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def settings() -> params.Params:
    return params.load(ROOT / "params.yaml")


def steps_of(array: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """All steps that are no padding, in float64."""
    return np.concatenate([row[:n] for row, n in zip(array, lengths, strict=True)]).astype(float)


def test_arrays_are_standardised_by_their_training_part(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, scaled = tmp_path / "plain", tmp_path / "scaled"
    assert run(capsys, "arrays", path, plain, "--fold", 2, "--no-standardise", *SHORT)[0] == 0
    assert run(capsys, "arrays", path, scaled, "--fold", 2, *SHORT)[0] == 0
    numbers = ("audio_mfcc", "video", "audio_prosody")
    statistics = {f"{name}_{kind}.npy" for name in numbers for kind in ("mean", "deviation")}
    files = {p.name for p in plain.iterdir()}
    assert {p.name for p in scaled.iterdir()} == files | statistics
    changed = {f"{part}_{name}.npy" for part in ("train", "dev", "test") for name in numbers}
    for name in files - changed:
        assert (scaled / name).read_bytes() == (plain / name).read_bytes()
    empty = 0
    for name, lengths in (("audio_mfcc", "audio"), ("video", "video"), ("audio_prosody", None)):
        mean = np.load(scaled / f"{name}_mean.npy")
        deviation = np.load(scaled / f"{name}_deviation.npy")
        for part in ("train", "dev", "test"):
            before = np.load(plain / f"{part}_{name}.npy")
            after = np.load(scaled / f"{part}_{name}.npy")
            assert after.dtype == np.float32
            if lengths is None:
                before, after = before[:, None], after[:, None]
                n = np.ones(len(after), int)
            else:
                n = np.load(scaled / f"{part}_{lengths}_seqN.npy")
            for row, length in enumerate(n):
                assert not after[row, length:].any()
                empty += length == 0
            if part == "train":
                np.testing.assert_allclose(mean, steps_of(before, n).mean(axis=0))
                np.testing.assert_allclose(deviation, steps_of(before, n).std(axis=0))
                np.testing.assert_allclose(steps_of(after, n).mean(axis=0), 0, atol=1e-6)
                np.testing.assert_allclose(steps_of(after, n).std(axis=0), 1, rtol=1e-6)
            restored = steps_of(after, n) * deviation + mean
            np.testing.assert_allclose(restored, steps_of(before, n), atol=1e-6)
    assert empty > 0


def test_the_mmsa_pickle_is_standardised_by_its_training_part(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = ["--streams", "text=glove"]
    for name, option in (("plain", "--no-standardise"), ("scaled", "--standardise")):
        assert run(capsys, "mmsa", path, tmp_path / name, *SHORT, *text, option)[0] == 0
    plain = pickle.loads((tmp_path / "plain").read_bytes())
    scaled = pickle.loads((tmp_path / "scaled").read_bytes())
    assert set(plain) == {"train", "valid", "test"}
    assert set(scaled) == {*plain, "statistics"}
    for name in ("text", "audio", "vision"):
        mean, deviation = (scaled["statistics"][name][key] for key in ("mean", "deviation"))
        for part in ("train", "valid", "test"):
            before, after = plain[part][name], scaled[part][name]
            assert after.dtype == np.float32
            n = scaled[part].get(f"{name}_lengths", [3] * len(after))  # texts have three words
            assert not any(after[row, length:].any() for row, length in enumerate(n))
            if part == "train":
                np.testing.assert_allclose(mean, steps_of(before, n).mean(axis=0), atol=1e-12)
                np.testing.assert_allclose(deviation, steps_of(before, n).std(axis=0))
            expected = (steps_of(before, n) - mean) / deviation
            np.testing.assert_allclose(steps_of(after, n), expected, atol=1e-6)


def test_the_other_parts_do_not_decide_how_values_are_standardised(
    path: Path, tmp_path: Path, settings: params.Params
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(path, changed)
    with FeatureStore(path) as store:
        _, _, parts = common.divide(store, settings, ROOT / "splits", 2)
        for name in ("mfcc", "resnet", "prosody"):
            with h5py.File(changed / store.modality(name) / f"{name}.h5", "a") as file:
                for row in np.concatenate([parts["development"], parts["test"]]):
                    start, end = store.stream(name).offsets[row : row + 2]
                    file["values"][start:end] += 9
    exported = []
    for source in (path, changed):
        output = tmp_path / f"of-{source.stem}"
        with FeatureStore(source) as store:
            classes, _, parts = common.divide(store, settings, ROOT / "splits", 2)
            arrays.write(store, output, classes, parts)
        exported.append({p.name: p.read_bytes() for p in output.iterdir()})
    differ = {name for name in exported[0] if exported[0][name] != exported[1][name]}
    values = ("audio_mfcc", "video", "audio_prosody")
    assert differ == {f"{part}_{name}.npy" for part in ("dev", "test") for name in values}


def test_a_value_that_never_varies_keeps_its_scale(
    path: Path, tmp_path: Path, settings: params.Params
) -> None:
    constant = tmp_path / "constant"
    shutil.copytree(path, constant)
    with h5py.File(constant / "audio/prosody.h5", "a") as file:
        file["values"][:, 1] = 300
        file["values"][0, 1] = 301  # an utterance of the test part
    with FeatureStore(constant) as store:
        classes, _, parts = common.divide(store, settings, ROOT / "splits", 1)
        assert parts["test"][0] == 0
        arrays.write(store, tmp_path / "a", classes, parts, streams={"prosody": "prosody"})
    assert np.load(tmp_path / "a/audio_prosody_deviation.npy")[1] == 1
    test = np.load(tmp_path / "a/test_audio_prosody.npy")
    np.testing.assert_allclose(test[:2, 1], [1, 0], atol=1e-9)


def test_an_utterance_without_prosody_is_zeros_and_empty_cells(
    path: Path, tmp_path: Path, settings: params.Params
) -> None:
    """And does not count where values are standardised."""
    copy = without_prosody(path, tmp_path / "copy", range(30, 35))
    with FeatureStore(copy) as store:
        classes, _, parts = common.divide(store, settings, ROOT / "splits", 1)
        assert set(parts["test"]) == set(range(7))
        missing = [row in range(30, 35) for row in parts["train"]]
        for name, standardise in (("plain", False), ("scaled", True)):
            arrays.write(
                store,
                tmp_path / name,
                classes,
                parts,
                streams={"prosody": "prosody"},
                standardise=standardise,
            )
            found = np.load(tmp_path / name / "train_audio_prosody.npy")
            assert (found == 0).all(axis=1).tolist() == missing
            assert np.isfinite(found).all()
        means.write(store, tmp_path / "means.csv", ["prosody", "mfcc"])
        values = store.stream("prosody").group["values"][:][parts["train"]].astype(float)
    there = values[~np.array(missing)]
    assert 0 < len(there) < len(values)
    scale = (np.load(tmp_path / f"scaled/audio_prosody_{x}.npy") for x in ("mean", "deviation"))
    for found, expected in zip(scale, (there.mean(axis=0), there.std(axis=0)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    with (tmp_path / "means.csv").open(newline="") as file:
        cells = [
            [row[f"prosody_{name}"] for name in ("F0", "loudness", "voicing")]
            for row in csv.DictReader(file)
        ]
    assert cells[30:] == [[""] * 3] * 5
    assert "" not in [cell for row in cells[:30] for cell in row]
