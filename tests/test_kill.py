"""Extraction in real processes: killed at any moment, on a full disk, twice at once."""

from __future__ import annotations

import io
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import h5py
import numpy as np
import pytest
from pydantic import PrivateAttr

from benchmarks.synthetic import CONTEXT, Noise, spoken, table
from pipeline import InputError
from pipeline.corpus.utterance import Utterance
from pipeline.features import extraction
from pipeline.features.extractor import Context, State, Steps
from pipeline.system import disk, hdf5

KILLS = 60
SEED = int(os.environ.get("SEED") or int.from_bytes(os.urandom(4), "little"))
WIDTH = 400
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate")

# processes start at once, from a server that has loaded the modules
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.test_kill"])


class Logged(Noise):
    """Noise that takes its time and notes in a file which dialogs it computes."""

    _log: Path = PrivateAttr()
    _pace: float = PrivateAttr(0.0)

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        with self._log.open("a") as file:
            file.write(f"{utterances[0].dialog}\n")
        time.sleep(self._pace)
        return super().extract(utterances, state, context)


def logged(folder: Path, pace: float) -> Logged:
    extractor = Logged(width=WIDTH)
    extractor._log, extractor._pace = folder / "computed.log", pace
    return extractor


def extract(folder: Path, extractor: Noise, workers: int = 1) -> None:
    extraction.extract(
        *("audio", {"mfcc": extractor}, spoken(table()), CONTEXT),
        kept=folder / "kept",
        output=folder / "out",
        workers=workers,
    )


@dataclass(frozen=True)
class Fate:
    """What befalls a run: a kill at its n-th change of a file, or files that cannot grow."""

    kill_at: int = 0
    limit: int = 0


def work(folder: Path, pace: float = 0.0, workers: int = 1, fate: Fate | None = None) -> None:
    """One run of an extraction; an error that its user can mend goes to error.txt."""
    sys.stdout = sys.stderr = io.StringIO()
    fate = fate or Fate()
    extractor = logged(folder, pace)
    if fate.kill_at:
        _kill_at(fate.kill_at, folder)
    if fate.limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fate.limit, fate.limit))
    try:
        extract(folder, extractor, workers)
    except InputError as error:
        (folder / "error.txt").write_text(str(error))
        sys.exit(2)


def _kill_at(number: int, folder: Path) -> None:
    """Kill this process as its `number`-th opening, renaming or deletion in `folder` begins."""
    left = number

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in EVENTS and str(arguments[0]).startswith(str(folder)):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def start(folder: Path, **options: object) -> BaseProcess:
    folder.mkdir(exist_ok=True)
    process = PROCESSES.Process(target=work, args=(folder,), kwargs=options)
    process.start()
    return process


def ended(process: BaseProcess) -> int:
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def computed(folder: Path) -> list[str]:
    log = folder / "computed.log"
    found = log.read_text().split() if log.exists() else []
    log.unlink(missing_ok=True)
    return found


def finished(folder: Path) -> set[str]:
    """Dialogs that are kept, each as a file of its own or in that of the stream."""
    found = {path.stem for path in (folder / "kept/mfcc").glob("*.kept")}
    if (folder / "kept/mfcc.h5").exists():
        with hdf5.reading(folder / "kept/mfcc.h5") as file:
            found |= set(file["dialogs"].asstr()[:].tolist())
    return found


def left_over(folder: Path) -> set[str]:
    """What lies there beside the log and the lock, and what is kept."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.endswith((".kept", ".lock", ".log"))}


WHOLE = {"kept/mfcc.h5", "out/mfcc.h5"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Output of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    assert ended(start(folder)) == 0
    return results(folder)


def results(folder: Path) -> bytes:
    return (folder / "out/mfcc.h5").read_bytes()


@pytest.mark.slow
def test_killed_at_every_change_of_a_file(tmp_path: Path, whole: bytes) -> None:
    number = 1
    while True:
        folder = tmp_path / str(number)
        code = ended(start(folder, fate=Fate(kill_at=number)))
        kept = finished(folder)
        computed(folder)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert ended(start(folder)) == 0
        assert kept.isdisjoint(computed(folder))
        assert results(folder) == whole
        assert left_over(folder) == WHOLE
        shutil.rmtree(folder)
        number += 1
    assert number > 15  # each of five parts is opened and renamed, then joined


@pytest.mark.slow
def test_killed_at_random_moments_again_and_again(tmp_path: Path, whole: bytes) -> None:
    random = np.random.default_rng(SEED)
    print(f"SEED={SEED}")  # shown on failure; set it to draw the same moments again
    kills = 0
    while kills < KILLS:
        folder = tmp_path / str(kills)
        kept: set[str] = set()
        while True:
            process = start(folder, pace=0.005)
            process.join(random.uniform(0, 0.2))
            process.kill()
            code = ended(process)
            assert kept.isdisjoint(computed(folder))
            assert kept <= finished(folder)
            kept = finished(folder)
            if code == 0:
                break
            kills += 1
        assert results(folder) == whole
        assert kept == set(table()["dialog"])


@pytest.mark.slow
def test_killed_with_worker_processes(tmp_path: Path, whole: bytes) -> None:
    process = start(tmp_path, pace=0.3, workers=2)
    deadline = time.monotonic() + 60
    while not finished(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    workers = children(process.pid)
    assert workers
    process.kill()
    ended(process)
    kept = finished(tmp_path)
    deadline = time.monotonic() + 20
    while any(map(alive, workers)):
        assert time.monotonic() < deadline, "workers outlive the run that was killed"
        time.sleep(0.01)
    computed(tmp_path)
    assert ended(start(tmp_path, workers=2)) == 0
    assert kept.isdisjoint(computed(tmp_path))
    assert results(tmp_path) == whole


def children(parent: int | None) -> list[int]:
    """Ids of the processes that a process has started."""
    listed = Path(f"/proc/{parent}/task/{parent}/children")
    if not listed.exists():
        pytest.skip("this system does not list the children of a process")
    return [int(child) for child in listed.read_text().split()]


def alive(process: int) -> bool:
    """Whether a process runs, which may be anybody's."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"  # an orphan that has ended may wait for its new parent to notice


def test_a_second_run_at_once_is_refused_and_harms_nothing(tmp_path: Path, whole: bytes) -> None:
    first = start(tmp_path, pace=0.2)
    deadline = time.monotonic() + 60
    while not finished(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert ended(start(tmp_path)) == 2
    assert "another run is writing it" in (tmp_path / "error.txt").read_text()
    assert ended(first) == 0
    assert len(computed(tmp_path)) == 5
    assert results(tmp_path) == whole


@pytest.mark.parametrize(
    ("limit", "file", "kept"), [(20_000, "kept/mfcc/Ses0", 0), (120_000, "kept/mfcc.h5", 5)]
)
def test_files_that_cannot_grow(
    tmp_path: Path, whole: bytes, limit: int, file: str, kept: int
) -> None:
    assert ended(start(tmp_path, fate=Fate(limit=limit))) == 2
    message = (tmp_path / "error.txt").read_text()
    assert message.startswith(str(tmp_path / file))
    assert "are needed and" in message and "are free" in message
    assert "free disk space and start again; finished " in message
    assert left_over(tmp_path) == {"error.txt"}
    assert len(finished(tmp_path)) == kept
    computed(tmp_path)
    assert ended(start(tmp_path)) == 0
    assert len(computed(tmp_path)) == 5 - kept
    assert results(tmp_path) == whole


def test_a_full_disk_says_how_much_is_needed_and_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    usage = shutil.disk_usage(tmp_path)._replace(free=1_234)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(disk.FullDiskError) as caught:
            extract(tmp_path, Noise(width=WIDTH))
    assert "1.23 kB are free" in str(caught.value)
    extract(tmp_path, Noise(width=WIDTH))
    size = (tmp_path / "out/mfcc.h5").stat().st_size
    needed = str(caught.value).partition("about ")[2].partition(" kB are needed")[0]
    assert size <= float(needed) * 1000 < size + 50_000


def test_space_set_aside_leaves_no_trace(tmp_path: Path) -> None:
    def content(name: str, size: int) -> bytes:
        with h5py.File(tmp_path / name, "w") as file, disk.reserved(file, size):
            file["values"] = np.arange(1000)
        return (tmp_path / name).read_bytes()

    with h5py.File(tmp_path / "plain", "w") as file:
        file["values"] = np.arange(1000)
    plain = (tmp_path / "plain").read_bytes()
    assert content("ample", 1_000_000) == content("scant", 10) == plain


def test_reserving_leaves_a_file_as_it_was_where_there_is_no_room(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    disk.reserve(path, 4096)
    assert path.read_bytes() == b"content" + bytes(4089)
    path.write_bytes(b"content")
    with pytest.raises(OSError):
        disk.reserve(path, 1 << 60)
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2_200_000_000, "2.2 GB")],
)
def test_sizes_are_readable(size: int, words: str) -> None:
    assert disk.readable(size) == words
