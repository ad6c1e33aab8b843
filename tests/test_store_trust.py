"""Bit rot, truncation and old versions are found and named; two stores are compared."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks.synthetic import CONTEXT, Noise, make_store, spoken, table, votes
from pipeline import store
from pipeline.corpus.iemocap.codes import DESCRIPTION
from pipeline.features import streamfile
from pipeline.features.extraction import extract
from pipeline.store import __main__ as command
from pipeline.store import checking, comparing, writing

IDS = table()["utterance"].tolist()
FILES = ["store.h5", "audio/mfcc.h5", "audio/prosody.h5", "text/glove.h5"]


@pytest.fixture(scope="module", params=["none", "gzip"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streamfile, "CHUNK", 64)
        return make_store(tmp_path_factory.mktemp("store"), compression=request.param)


@pytest.fixture
def copy(path: Path, tmp_path: Path) -> Path:
    return shutil.copytree(path, tmp_path / "copy")


def content(path: Path) -> list[object]:
    """All that a reader can get from a store."""
    with store.FeatureStore(path) as opened:
        found: list[object] = [opened.utterances.to_csv(), dict(opened.table.attrs)]
        found += [opened.votes.tobytes()]
        for name in opened.streams:
            group = opened.stream(name).group
            found += [(name, key, group[key].dtype, group[key][()].tobytes()) for key in group]
            found += [sorted((key, str(value)) for key, value in group.attrs.items())]
        return found


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_found_or_changes_nothing(path: Path, copy: Path, name: str) -> None:
    sound, expected = (path / name).read_bytes(), content(path)
    chosen = random.Random(name)
    found = 0
    for _ in range(20):
        data = bytearray(sound)
        data[chosen.randrange(len(data))] ^= 1 << chosen.randrange(8)
        (copy / name).write_bytes(data)
        try:
            faults = checking.verify(copy)
        except store.StoreError:
            faults = ["cannot be opened"]
        found += bool(faults)
        # some bytes are HDF5's free space
        assert faults or content(copy) == expected
    assert found > 2


def test_rot_in_a_value_is_named_by_stream_and_utterance(copy: Path) -> None:
    with h5py.File(copy / "visual/resnet.h5", "r+") as file:
        file["values"][file["offsets"][20], 1] += 1e-3
    with h5py.File(copy / "audio/mfcc.h5", "r+") as file:
        file["times"][file["offsets"][8]] += 1
    assert checking.verify(copy) == [
        f"mfcc/times: does not match its hash in utterance {IDS[8]}",
        f"resnet/values: does not match its hash in utterance {IDS[20]}",
    ]


@pytest.mark.parametrize(
    ("file", "name", "fault"),
    [
        ("text/glove.h5", "vectors", "glove/vectors: does not match its hash"),
        ("audio/mfcc.h5", "keys", "mfcc/keys: does not match its hash"),
        ("audio/mfcc.h5", "crc32", f"mfcc/crc32: does not match its hash in utterance {IDS[0]}"),
        (
            "store.h5",
            "labels/votes",
            f"labels/votes: does not match its hash in utterance {IDS[0]}",
        ),
        (
            "store.h5",
            "labels/emotion",
            f"labels/emotion: does not match its hash in utterance {IDS[0]}",
        ),
        (
            "store.h5",
            "utterances/start",
            f"utterances/start: does not match its hash in utterance {IDS[0]}",
        ),
    ],
)
def test_rot_anywhere_else_is_named(copy: Path, file: str, name: str, fault: str) -> None:
    with h5py.File(copy / file, "r+") as opened:
        value = opened[name][0]
        opened[name][0] = b"oth" if isinstance(value, bytes) else value + 1
    assert checking.verify(copy) == [fault]


def forged(file: h5py.File) -> None:
    file.attrs["parameters"] = json.dumps({"step": 0.02})


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (forged, "mfcc: an attribute or a dataset is changed, missing or added"),
        (lambda file: file.pop("times"), "mfcc: an attribute or a dataset is changed, missing or"),
        (lambda file: file.pop("values"), "mfcc: has no values"),
        (lambda file: file.pop("crc32"), "mfcc/crc32: not 35 checksums"),
        (lambda file: file.pop("utterances"), "mfcc: cannot be read"),
        (
            lambda file: file["offsets"].write_direct(np.zeros(36, int)),
            "mfcc/times: 156 rows, not 0",
        ),
    ],
)
def test_changed_attributes_and_lost_parts_are_found(
    copy: Path, damage: Callable[[h5py.File], None], fault: str
) -> None:
    with h5py.File(copy / "audio/mfcc.h5", "r+") as file:
        damage(file)
    (found,) = checking.verify(copy)
    assert found.startswith(fault)
    assert command.main(["verify", str(copy)]) == 1


def test_a_forged_table_is_found(copy: Path) -> None:
    with h5py.File(copy / "store.h5", "r+") as file:
        file.attrs["corpus"] = "another"
    assert checking.verify(copy) == ["attributes: does not match its hash"]


def test_a_chunk_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamfile, "CHUNK", 256)
    found = make_store(tmp_path, compression="gzip") / "visual" / "resnet.h5"
    with h5py.File(found) as file:
        chunk = file["values"].id.get_chunk_info(1)
        first, last = chunk.chunk_offset[0], chunk.chunk_offset[0] + file["values"].chunks[0]
        offsets = file["offsets"][:]
    data = bytearray(found.read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + 20] = bytes(20)
    found.write_bytes(data)
    (fault,) = checking.verify(found)
    within = [IDS[i] for i in range(35) if offsets[i] < last and offsets[i + 1] > first]
    assert fault.startswith("resnet/values: cannot be read in utterances")
    assert all(name in fault for name in within[:5])


@pytest.mark.parametrize("name", ["audio/mfcc.h5", "store.h5"])
def test_wherever_it_is_cut_verifying_ends_with_a_message(
    path: Path, copy: Path, name: str
) -> None:
    data = (path / name).read_bytes()
    for size in np.linspace(1, len(data) - 1, 12).astype(int):
        (copy / name).write_bytes(data[:size])
        if size < 48:  # no superblock, so no size to miss
            with pytest.raises(store.StoreError, match="is damaged"):
                checking.verify(copy)
        else:
            assert "is truncated: its last" in checking.verify(copy)[0]


def test_a_truncated_stream_is_named_with_what_is_lost(tmp_path: Path) -> None:
    made = make_store(tmp_path)
    cut = made / "visual" / "resnet.h5"
    data = cut.read_bytes()
    with h5py.File(cut) as file:
        start = file["values"].id.get_offset() + int(file["offsets"][30]) * 5 * 4
    cut.write_bytes(data[:start])
    with (
        store.FeatureStore(made) as opened,
        pytest.raises(store.StoreError, match=r"resnet.h5: is not an HDF5 file or is damaged"),
    ):
        opened.stream("resnet")
    faults = checking.verify(made)
    assert faults[0] == (
        f"resnet.h5: is truncated: its last {len(data) - start} of {len(data)} bytes are lost"
    )
    assert f"resnet/values: does not match its hash in utterances {', '.join(IDS[30:35])}" in faults


# --- comparing -----------------------------------------------------------------------------------


def test_equal_stores_do_not_differ(path: Path, copy: Path, capsys: pytest.CaptureFixture) -> None:
    assert command.main(["diff", str(path), str(copy)]) == 0
    assert "the same content" in capsys.readouterr().out


class Elsewhere(Noise):
    """Noise with another value in the fourth utterance of the first dialog."""

    def extract(self, utterances, state, context):
        steps = super().extract(utterances, state, context)
        if utterances[0].dialog.startswith("Ses01"):
            steps[3].values[0, 2] += 0.5
        return steps


def changed_store(folder: Path) -> Path:
    """A store of one session less, another parameter and another value of `mfcc`."""
    few = table(sessions=4)
    few.loc[0, "speaker"] = "Ses01X"
    extract(
        "audio",
        {"mfcc": Elsewhere(step=0.02)},
        spoken(few),
        CONTEXT,
        kept=folder / "kept",
        output=folder / "store" / "audio",
    )
    given = votes(few)
    given["ang"] += np.arange(len(given)) == 5
    writing.write_table(
        folder / "store",
        few,
        given,
        {"audio": ["mfcc"]},
        corpus="synthetic",
        description=DESCRIPTION,
    )
    return folder / "store"


def test_what_differs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    first, second = make_store(tmp_path / "a"), changed_store(tmp_path / "b")
    lines = comparing.compare(first, second)
    assert "mfcc.parameters.step: 0.01 / 0.02" in lines
    gone = next(line for line in lines if line.startswith("utterances: "))
    assert gone.startswith("utterances: 7 utterances (Ses05F") and "first store and not" in gone
    assert f"utterances/speaker: differs in 1 utterance ({IDS[0]})" in lines
    assert "glove: only in the first store" in lines
    assert f"votes: differ in 1 utterance ({IDS[5]})" in lines
    (values,) = (line for line in lines if line.startswith("mfcc/values"))
    assert values.startswith(f"mfcc/values: differs in 1 utterance ({IDS[3]})")
    assert values.endswith(f"; the largest difference is 0.5, in {IDS[3]}")
    assert command.main(["diff", str(first), str(second)]) == 1
    assert command.main(["diff", str(first), str(tmp_path / "absent")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_rounding_to_float16_is_a_difference_with_its_size(tmp_path: Path) -> None:
    whole = make_store(tmp_path / "a")
    rounded = make_store(tmp_path / "b", dtype="float16", include_text=False)
    lines = comparing.compare(whole, rounded)
    assert "mfcc/values: float32 / float16" in lines
    assert "utterances/text: only in the first store" in lines
    assert "glove/vocabulary: only in the first store" in lines
    with store.FeatureStore(whole) as a, store.FeatureStore(rounded) as b:
        expected = max(
            float(np.abs(a.stream("mfcc")[i] - b.stream("mfcc")[i]).max(initial=0))
            for i in range(len(a))
        )
    assert any(f"the largest difference is {expected:.3g}" in line for line in lines)
