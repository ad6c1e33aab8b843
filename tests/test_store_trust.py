"""Bit rot, truncation and old versions are found and named; two stores are compared."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline import store
from pipeline.store import checking, command, comparing, writing
from tests.synthetic import make_store, stored, table, votes

IDS = table()["utterance"].tolist()


@pytest.fixture(scope="module", params=["none", "gzip"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = stored(compression=request.param, chunk=1)
    return make_store(tmp_path_factory.mktemp("store"), storage=settings)


@pytest.fixture
def copy(path: Path, tmp_path: Path) -> Path:
    found = tmp_path / "copy.h5"
    found.write_bytes(path.read_bytes())
    return found


def content(path: Path) -> list[object]:
    """All that a reader can get from a store."""
    with store.FeatureStore(path) as opened:
        found: list[object] = [opened.utterances.to_csv(), dict(opened.file.attrs)]
        for name in opened.streams:
            group = opened.stream(name).group
            found += [(name, key, group[key].dtype, group[key][()].tobytes()) for key in group]
        return found


def test_a_flipped_bit_is_found_or_changes_nothing(path: Path, tmp_path: Path) -> None:
    sound, expected, rotten = path.read_bytes(), content(path), tmp_path / "rotten.h5"
    chosen = random.Random(0)
    found = 0
    for _ in range(60):
        data = bytearray(sound)
        data[chosen.randrange(len(data))] ^= 1 << chosen.randrange(8)
        rotten.write_bytes(data)
        try:
            faults = checking.verify(rotten)
        except store.StoreError:
            faults = ["cannot be opened"]
        found += bool(faults)
        # some bytes are HDF5's free space
        assert faults or content(rotten) == expected
    assert found > 20


def test_rot_in_a_value_is_named_by_stream_and_utterance(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        file["resnet/values"][file["resnet/offsets"][20], 1] += 1e-3
        file["mfcc/times"][file["mfcc/offsets"][8]] += 1
    assert checking.verify(copy) == [
        f"mfcc/times: not as written in utterance {IDS[8]}",
        f"resnet/values: not as written in utterance {IDS[20]}",
    ]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("glove/vectors", "glove/vectors: not as written"),
        ("votes/values", f"votes/values: not as written in utterance {IDS[0]}"),
        ("utterances/start", f"utterances/start: not as written in utterance {IDS[0]}"),
        ("mfcc/crc32", f"mfcc/crc32: not as written in utterance {IDS[0]}"),
    ],
)
def test_rot_anywhere_else_is_named(copy: Path, name: str, fault: str) -> None:
    with h5py.File(copy, "r+") as file:
        file[name][0] = file[name][0] + 1
    assert checking.verify(copy) == [fault]


def test_changed_attributes_and_lost_parts_are_found(path: Path, tmp_path: Path) -> None:
    def damaged(damage) -> list[str]:
        other = tmp_path / "other.h5"
        other.write_bytes(path.read_bytes())
        with h5py.File(other, "r+") as file:
            damage(file)
        return checking.verify(other)

    def forge(file: h5py.File) -> None:
        file.attrs["parameters"] = json.dumps({"audio": {"step": 0.02}})

    assert damaged(forge) == ["attributes: not as written, or a stream is missing or added"]
    assert "attributes: not as written" in damaged(lambda file: file.pop("prosody"))[0]
    assert "a dataset is missing or added" in damaged(lambda file: file.pop("mfcc/remark"))[0]
    assert damaged(lambda file: file.pop("mfcc/crc32"))[0].startswith("mfcc/crc32: not 35")


def test_a_chunk_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    settings = stored(compression="gzip", chunk=1)
    found = make_store(tmp_path, storage=settings)
    with h5py.File(found) as file:
        chunk = file["resnet/values"].id.get_chunk_info(1)
        first, last = chunk.chunk_offset[0], chunk.chunk_offset[0] + file["resnet/values"].chunks[0]
        offsets = file["resnet/offsets"][:]
    data = bytearray(found.read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + 20] = bytes(20)
    found.write_bytes(data)
    faults = checking.verify(found)
    within = [IDS[i] for i in range(35) if offsets[i] < last and offsets[i + 1] > first]
    assert faults[0] == "resnet/values: some of it cannot be read"
    assert f"resnet/values: cannot be read in utterances {within[0]}, {within[1]}" in faults[1]


def test_a_truncated_file_is_named_with_what_is_lost(tmp_path: Path) -> None:
    whole, cut = make_store(tmp_path), tmp_path / "cut.h5"
    data = whole.read_bytes()
    with h5py.File(whole) as file:
        start = file["resnet/values"].id.get_offset() + int(file["resnet/offsets"][30]) * 5 * 4
    cut.write_bytes(data[:start])
    with pytest.raises(store.StoreError, match="is damaged"):
        store.FeatureStore(cut)
    faults = checking.verify(cut)
    assert faults[0] == (
        f"the file is truncated: its last {len(data) - start} of {len(data)} bytes are lost"
    )
    assert f"resnet/values: not as written in utterances {', '.join(IDS[30:35])}" in faults
    assert command.main(["verify", str(cut)]) == 1


def test_wherever_it_is_cut_verifying_ends_with_a_message(path: Path, tmp_path: Path) -> None:
    data, cut = path.read_bytes(), tmp_path / "cut.h5"
    for size in np.linspace(1, len(data) - 1, 40).astype(int):
        cut.write_bytes(data[:size])
        if size < 48:  # no superblock, so no size to miss
            with pytest.raises(store.StoreError, match="is damaged"):
                checking.verify(cut)
        else:
            assert "truncated" in checking.verify(cut)[0]


def test_the_version_before_is_refused_with_the_command(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        file.attrs["schema_version"] = 1
    with pytest.raises(
        store.StoreError, match=r"schema version 1.*`dvc repro --force --single-item store`"
    ):
        checking.verify(copy)


# --- comparing -----------------------------------------------------------------------------------


def test_equal_stores_do_not_differ(path: Path, copy: Path, capsys: pytest.CaptureFixture) -> None:
    assert command.main(["diff", str(path), str(copy)]) == 0
    assert "the same content" in capsys.readouterr().out


def changed_store(folder: Path, **settings: Any) -> Path:
    """A store of one session less, another parameter and another value of `mfcc`."""
    make_store(folder)
    few = table(sessions=4)
    keep = len(few)
    with h5py.File(folder / "audio.h5", "r+") as file:
        row = file["mfcc/offsets"][3]
        file["mfcc/values"][row, 2] += 0.5
        rows = int(file["mfcc/offsets"][keep])
        for name in ("mfcc/values", "mfcc/times"):
            values = file[name][:rows]
            del file[name]
            file[name] = values
        for name, values in (
            ("mfcc/offsets", file["mfcc/offsets"][: keep + 1]),
            ("utterances/id", file["utterances/id"][:keep]),
        ):
            dtype = file[name].dtype
            del file[name]
            file.create_dataset(name, data=values, dtype=dtype)
    few.loc[0, "speaker"] = "Ses01X"
    output = folder / "changed.h5"
    writing.assemble(
        few,
        votes(few),
        [folder / "audio.h5"],
        output,
        corpus="synthetic",
        parameters={
            "audio": {"streams": {"mfcc": {"step": 0.02, "window": 0.025}}},
            "visual": {"streams": {"resnet": {"crop": 112}}},
        },
        storage=stored(**settings),
    )
    return output


def test_what_differs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    first, second = make_store(tmp_path / "a"), changed_store(tmp_path / "b")
    lines = comparing.compare(first, second)
    assert "parameters.audio.streams.mfcc.step: 0.01 / 0.02" in lines
    assert "extractors.text.glove.identity.version: 1 / absent" in lines
    gone = next(line for line in lines if line.startswith("utterances: "))
    assert gone.startswith("utterances: 7 utterances (Ses05F") and "first store and not" in gone
    assert f"utterances/speaker: differs in 1 utterance ({IDS[0]})" in lines
    assert "glove: only in the first store" in lines
    values = next(line for line in lines if line.startswith("mfcc/values"))
    assert values.startswith(f"mfcc/values: differs in 1 utterance ({IDS[3]})")
    assert values.endswith(f"; the largest difference is 0.5, in {IDS[3]}")
    assert command.main(["diff", str(first), str(second)]) == 1
    assert command.main(["diff", str(first), str(tmp_path / "absent.h5")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_rounding_to_float16_is_a_difference_with_its_size(tmp_path: Path) -> None:
    half = stored(dtype="float16", include_text=False)
    whole, rounded = make_store(tmp_path / "a"), make_store(tmp_path / "b", storage=half)
    lines = comparing.compare(whole, rounded)
    assert "mfcc/values: float32 / float16" in lines
    assert "utterances/text: only in the first store" in lines
    assert "glove/vocabulary: only in the first store" in lines
    assert "mfcc/values: float32 / float16" in lines
    with store.FeatureStore(whole) as a, store.FeatureStore(rounded) as b:
        expected = max(
            float(np.abs(a.stream("mfcc")[i] - b.stream("mfcc")[i]).max(initial=0))
            for i in range(len(a))
        )
    assert any(f"the largest difference is {expected:.3g}" in line for line in lines)
