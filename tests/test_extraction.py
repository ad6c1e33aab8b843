"""Extraction: order, bytes, what is taken over and what is computed, room on the disk."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from benchmarks.synthetic import CONTEXT, Noise, Summary, Words, spoken, table
from pipeline import InputError
from pipeline.corpus.utterance import Source, Utterance
from pipeline.features.extraction import _tasks, extract
from pipeline.features.extractor import Context, Extractor, State, Steps
from pipeline.features.planning import dialogs_of, plan
from pipeline.store import Stream, checking
from pipeline.system import compute
from pipeline.system.disk import FullDiskError
from pipeline.system.kept import locked, share

DIALOGS = [f"Ses0{session}F_impro01" for session in range(1, 6)]


def run(
    folder: Path, utterances: Sequence[Utterance] | None = None, **streams: Extractor
) -> dict[str, bytes]:
    """Extract streams as the stage does, after DVC has deleted its outputs; the files' bytes."""
    output = folder / "out"
    shutil.rmtree(output, ignore_errors=True)
    extract(
        "audio",
        streams,
        spoken(table()) if utterances is None else utterances,
        CONTEXT,
        kept=folder / "kept",
        output=output,
    )
    return {path.stem: path.read_bytes() for path in sorted(output.iterdir())}


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[int, int]]:
    """Dialogs computed and kept, by stream."""
    found = re.findall(r"(\w+): computed (\d+), kept (\d+) dialogs", capsys.readouterr().out)
    return {name: (int(computed), int(kept)) for name, computed, kept in found}


def test_values_lie_in_the_tables_order(tmp_path: Path) -> None:
    run(tmp_path, mfcc=Noise())
    expected = [
        steps
        for dialog in DIALOGS
        for steps in Noise().extract(spoken(table()[table()["dialog"] == dialog]), {}, CONTEXT)
    ]
    with h5py.File(tmp_path / "out/mfcc.h5") as file:
        assert file["utterances"].asstr()[:].tolist() == table()["utterance"].tolist()
        assert file["dialogs"].asstr()[:].tolist() == DIALOGS
        np.testing.assert_array_equal(
            file["values"][:], np.concatenate([steps.values for steps in expected])
        )
        assert np.diff(file["offsets"][:]).tolist() == [len(steps.values) for steps in expected]
        stream = Stream("mfcc", file)
        assert stream.problems == {"Ses02F_impro01_F000": ["nothing to see"]}
        assert stream.identity == Noise().identity(CONTEXT)
    assert not checking.verify(tmp_path / "out/mfcc.h5")


def test_processes_give_the_same_bytes(tmp_path: Path) -> None:
    whole = run(tmp_path / "one", mfcc=Noise(), prosody=Summary())
    extract(
        "audio",
        {"mfcc": Noise(), "prosody": Summary()},
        spoken(table()),
        CONTEXT,
        kept=tmp_path / "kept",
        output=tmp_path / "two",
        workers=2,
    )
    assert {path.stem: path.read_bytes() for path in (tmp_path / "two").iterdir()} == whole


class Placed(Noise):
    """The number of the GPU that its process sees, when another process has seen another."""

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        name = os.environ["CUDA_VISIBLE_DEVICES"]
        (context.root / name).touch()
        deadline = time.monotonic() + 120
        while len(list(context.root.iterdir())) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return [Steps(np.full((2, 4), int(name), np.float32)) for _ in utterances]


def test_dialogs_are_spread_over_the_gpus_of_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On two pretended GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (78 * 2**30, 80 * 2**30))
    (tmp_path / "seen").mkdir()
    extract(
        "audio",
        {"mfcc": Placed()},
        spoken(table()),
        replace(CONTEXT, root=tmp_path / "seen", device="cuda"),
        kept=tmp_path / "kept",
        output=tmp_path / "out",
        workers=compute.network_processes(2, "cuda", per_gpu=1),
    )
    with h5py.File(tmp_path / "out/mfcc.h5") as file:
        assert set(file["values"][:].ravel()) == {0.0, 1.0}


def test_an_unsorted_or_empty_table_is_refused(tmp_path: Path) -> None:
    utterances = spoken(table().sort_values("start", kind="stable"))
    with pytest.raises(InputError, match="not consecutive"):
        run(tmp_path, utterances, mfcc=Noise())
    with pytest.raises(InputError, match="no utterance"):
        run(tmp_path, [], mfcc=Noise())


# --- what is taken over ---------------------------------------------------------------------------


def test_an_interrupted_run_resumes_and_ends_with_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run(tmp_path / "whole", mfcc=Noise())
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "cut", mfcc=Noise().failing("Ses04F_impro01"))
    assert not (tmp_path / "cut" / "out").exists()
    again = Noise()
    assert run(tmp_path / "cut", mfcc=again) == whole
    assert again.calls == ["Ses04F_impro01", "Ses05F_impro01"]
    assert printed(capsys)["mfcc"] == (2, 3)
    assert [path.name for path in (tmp_path / "cut/kept").iterdir() if path.is_dir()] == []


def test_what_is_finished_outlives_the_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, again = run(tmp_path, mfcc=Noise(), glove=Words()), Noise()
    capsys.readouterr()
    assert run(tmp_path, mfcc=again, glove=Words()) == whole
    assert again.calls == []
    assert printed(capsys) == {"mfcc": (0, 5), "glove": (0, 5)}


def test_a_stream_more_costs_that_stream_and_one_less_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = run(tmp_path, mfcc=Noise())
    both = run(tmp_path, mfcc=Noise(), prosody=Summary())
    assert both["mfcc"] == one["mfcc"]
    assert printed(capsys)["mfcc"] == (0, 5)
    assert run(tmp_path, prosody=Summary()) == {"prosody": both["prosody"]}
    assert printed(capsys) == {"prosody": (0, 5)}
    # what no stream uses is forgotten
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [".lock", "prosody.h5"]


def test_another_parameter_version_or_library_computes_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, mfcc=Noise())

    def calls(**parameters: Any) -> int:
        extractor = Noise(**parameters)
        run(tmp_path, mfcc=extractor)
        return len(extractor.calls)

    assert calls(width=6) == calls() == 5  # and back: only the last file is kept
    assert calls(dtype="float16") == calls() == 5
    monkeypatch.setattr(Noise, "version", 2)
    assert calls() == 5
    monkeypatch.setattr("pipeline.features.extractor.version", lambda name: "9.9")
    assert calls() == 5
    assert calls(compression="gzip") == 0  # the file is written anew from what is there


def test_compression_and_text_rewrite_the_file_without_computing(tmp_path: Path) -> None:
    run(tmp_path, mfcc=Noise())
    packed = Noise(compression="gzip")
    found = run(tmp_path, mfcc=packed)
    assert packed.calls == [] and found == run(tmp_path / "new", mfcc=Noise(compression="gzip"))
    words = []
    for include in (True, False, True):
        extract(
            *("text", {"glove": Words()}, spoken(table()), CONTEXT),
            kept=tmp_path / "kept",
            output=tmp_path / "out",
            include_text=include,
        )
        words.append((tmp_path / "out/glove.h5").read_bytes())
    assert b"<unk>" in words[0] and b"<unk>" not in words[1] and words[0] == words[2]


def test_a_file_of_an_earlier_version_gets_the_attributes_of_today(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its values are kept, and the bytes are those of a fresh run."""

    class Earlier(Noise):
        def parameters(self) -> dict[str, Any]:
            return {"extractor": self.extractor}

    before = run(tmp_path / "one", mfcc=Earlier())
    assert printed(capsys)["mfcc"] == (5, 0)
    after = run(tmp_path / "one", mfcc=Noise())
    assert printed(capsys)["mfcc"] == (0, 5)
    assert after == run(tmp_path / "other", mfcc=Noise()) != before


@pytest.mark.parametrize(
    "change",
    [{"start": 0.25}, {"text": "neu"}, {"audio": Source("a.wav", place="b")}],
    ids=["times", "text", "recording"],
)
def test_a_changed_row_or_recording_costs_its_dialog(
    tmp_path: Path, change: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    utterances = spoken(table())
    run(tmp_path, utterances, mfcc=Noise())
    utterances[9] = replace(utterances[9], **change)
    again = Noise()
    found = run(tmp_path, utterances, mfcc=again)
    assert again.calls == ["Ses02F_impro01"]
    assert found == run(tmp_path / "new", utterances, mfcc=Noise())


def test_an_utterance_more_costs_its_dialog(tmp_path: Path) -> None:
    run(tmp_path, mfcc=Noise())
    utterances = spoken(table())
    more = [*utterances[:7], replace(utterances[6], id="Ses01F_impro01_F999"), *utterances[7:]]
    again = Noise()
    assert run(tmp_path, more, mfcc=again) == run(tmp_path / "new", more, mfcc=Noise())
    assert again.calls == ["Ses01F_impro01"]
    fewer, again = utterances[7:], Noise()
    assert run(tmp_path, fewer, mfcc=again) == run(tmp_path / "few", fewer, mfcc=Noise())
    assert again.calls == []


def test_another_vocabulary_computes_all_dialogs(tmp_path: Path) -> None:
    class Others(Words):
        def prepare(self, utterances: Sequence[Utterance], context: Context) -> State:
            state = super().prepare(utterances, context)
            return {**state, "vectors": state["vectors"] + 1}

    first = run(tmp_path, glove=Words())
    second = run(tmp_path, glove=Others())
    assert first != second == run(tmp_path / "new", glove=Others())


# --- damage ---------------------------------------------------------------------------------------


def test_a_finished_dialog_that_the_disk_damages_is_computed_again(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", mfcc=Noise())
    with pytest.raises(RuntimeError):
        run(tmp_path / "cut", mfcc=Noise().failing("Ses04F_impro01"))
    for dialog, size in (("Ses01F_impro01", 100), ("Ses02F_impro01", 0)):
        part = tmp_path / "cut/kept/mfcc" / f"{dialog}.kept"
        content = bytearray(part.read_bytes())
        content[-9] ^= 1
        part.write_bytes(content[: size or len(content)])
    again = Noise()
    assert run(tmp_path / "cut", mfcc=again) == whole
    assert again.calls == ["Ses01F_impro01", "Ses02F_impro01", "Ses04F_impro01", "Ses05F_impro01"]


@pytest.mark.parametrize("seed", range(20))
def test_a_kept_stream_that_the_disk_damages_is_mended(tmp_path: Path, seed: int) -> None:
    """A flipped bit costs its dialog, or the stream where it says what lies where."""
    whole = run(tmp_path, mfcc=Noise())
    kept = tmp_path / "kept/mfcc.h5"
    content = bytearray(kept.read_bytes())
    random = np.random.default_rng(seed)
    content[random.integers(len(content))] ^= 1 << random.integers(8)
    kept.unlink()
    kept.write_bytes(content)
    found = run(tmp_path, mfcc=Noise())
    # some bytes are HDF5's free space
    assert found == whole or (
        not checking.verify(tmp_path / "out/mfcc.h5") and found["mfcc"] == bytes(content)
    )


def test_a_damaged_value_costs_its_dialog_alone(tmp_path: Path) -> None:
    whole = run(tmp_path, mfcc=Noise())
    kept = tmp_path / "kept/mfcc.h5"
    content = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(content)
    with h5py.File(kept, "r+") as file:
        file["values"][file["offsets"][15], 1] += 1
    again = Noise()
    assert run(tmp_path, mfcc=again) == whole
    assert again.calls == ["Ses03F_impro01"]


# --- the disk -------------------------------------------------------------------------------------


def test_features_lie_on_the_disk_once(tmp_path: Path) -> None:
    run(tmp_path, mfcc=Noise())
    kept, output = tmp_path / "kept/mfcc.h5", tmp_path / "out/mfcc.h5"
    assert kept.samefile(output)
    # as DVC does where it copies into its cache and back
    content = output.read_bytes()
    output.unlink()
    output.write_bytes(content)
    share(tmp_path / "kept", tmp_path / "out")
    assert kept.samefile(output)
    other = run(tmp_path / "other", mfcc=Noise(width=5))["mfcc"]
    output.unlink()
    output.write_bytes(other)
    share(tmp_path / "kept", tmp_path / "out")
    assert kept.read_bytes() == content


def test_where_there_are_no_links_files_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    whole = run(tmp_path / "linked", mfcc=Noise())
    monkeypatch.setattr(os, "link", refuse)
    assert run(tmp_path, mfcc=Noise()) == whole == run(tmp_path, mfcc=Noise())


def test_the_outputs_that_dvc_has_linked_are_never_written_in_place(tmp_path: Path) -> None:
    run(tmp_path, mfcc=Noise())
    cache = tmp_path / "cache"
    os.link(tmp_path / "out/mfcc.h5", cache)
    content = cache.read_bytes()
    extract(
        *("audio", {"mfcc": Noise(width=6)}, spoken(table()), CONTEXT),
        kept=tmp_path / "kept",
        output=tmp_path / "out",
    )
    assert cache.read_bytes() == content != (tmp_path / "out/mfcc.h5").read_bytes()


def test_room_is_asked_for_before_hours_of_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, mfcc=Noise())
    size = (tmp_path / "kept/mfcc.h5").stat().st_size

    def leave(free: int) -> None:
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    changed = Noise(width=5)
    leave(2 * size - 1)
    with pytest.raises(
        FullDiskError, match=r"are needed to write new stream files .* free disk space"
    ):
        run(tmp_path, mfcc=changed)
    assert changed.calls == []
    leave(2 * size)
    run(tmp_path, mfcc=changed)
    leave(0)
    run(tmp_path, mfcc=Noise(width=5))  # nothing is written


def test_another_run_of_the_same_is_kept_away(tmp_path: Path) -> None:
    with locked(tmp_path / "kept"), pytest.raises(InputError, match="another run is writing it"):
        run(tmp_path, mfcc=Noise())


def test_a_recording_that_is_gone_since_the_corpus_was_parsed_is_an_error(tmp_path: Path) -> None:
    """As where the corpus lies on a disk that is not mounted: nothing is taken for missing."""
    utterances = spoken(table())
    utterances[9] = replace(utterances[9], audio=Source("gone.wav", sha256="1"))
    with pytest.raises(InputError, match=r"gone.wav: existed when the corpus was parsed and is"):
        run(tmp_path, utterances, mfcc=Noise())
    utterances[9] = replace(utterances[9], audio=Source("gone.wav"))  # missing then, too
    run(tmp_path, utterances, mfcc=Noise())


# --- groups of dialogs ----------------------------------------------------------------------------


class Grouped(Noise):
    """Noise that is given ten utterances or more at once."""

    @property
    def group(self) -> int:
        return 10

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        self.calls.append("+".join(dict.fromkeys(u.dialog[3:5] for u in utterances)))
        return [Steps(np.full((2, 4), len(utterances), np.float32)) for _ in utterances]


def test_dialogs_are_read_in_groups_that_the_table_alone_decides(tmp_path: Path) -> None:
    grouped = Grouped()
    whole = run(tmp_path, mfcc=grouped)
    assert grouped.calls == ["01+02", "03+04", "05"]
    kept = tmp_path / "kept/mfcc.h5"
    with h5py.File(kept) as file:
        assert file["values"][:, 0].tolist() == [14.0] * 56 + [7.0] * 14
    content = bytearray(kept.read_bytes())
    with h5py.File(kept) as file:
        place = file["values"].id.get_offset() + 16 * 30  # in the third dialog
    content[place + 16 * 20] ^= 1
    kept.unlink()
    kept.write_bytes(content)
    again = Grouped()
    assert run(tmp_path, mfcc=again) == whole
    assert again.calls == ["03+04"]


def test_a_changed_row_costs_its_group(tmp_path: Path) -> None:
    utterances = spoken(table())
    run(tmp_path, utterances, mfcc=Grouped())
    utterances[0] = replace(utterances[0], text="neu")
    again = Grouped()
    run(tmp_path, utterances, mfcc=again)
    assert again.calls == ["01+02"]


def test_streams_that_read_the_same_dialogs_share_a_task(tmp_path: Path) -> None:
    order: list[str] = []

    class First(Noise):
        def extract(self, *given: Any) -> list[Steps]:
            order.append(f"first {given[0][0].dialog[3:5]}")
            return super().extract(*given)

    class Second(Summary):
        def extract(self, *given: Any) -> list[Steps]:
            order.append(f"second {given[0][0].dialog[3:5]}")
            return super().extract(*given)

    run(tmp_path, mfcc=First(), prosody=Second())
    assert order[:4] == ["first 01", "second 01", "first 02", "second 02"]


def test_what_is_sent_to_a_process_does_not_grow_with_the_corpus() -> None:
    """A task of one dialog, of corpora of five dialogs and of fifty."""
    sizes = []
    for sessions in (5, 50):
        given = dialogs_of(spoken(table(sessions=sessions)))
        made = plan("audio", "mfcc", Noise(), given, CONTEXT, include_text=True)
        tasks = _tasks([made], {"mfcc": list(given)}, given, CONTEXT, Path("kept"))
        sizes.append(len(pickle.dumps(tasks[0])))
    assert len(tasks) == 50 and abs(sizes[1] - sizes[0]) < 100
