"""File systems without locks, and errors of the system, which say nothing of what a file holds."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from benchmarks.synthetic import CONTEXT, make_store
from pipeline import InputError, store
from pipeline.corpus.utterance import Utterance
from pipeline.features import glove
from pipeline.features.external import External
from pipeline.features.pretrained import check, sha256
from pipeline.models.classifier import Classifier
from pipeline.store import checking, describing
from pipeline.store.reading import open_checked
from pipeline.system import hdf5
from pipeline.system.filesystem import lock, unreadable
from pipeline.system.kept import Kept
from pipeline.training import splits
from stages import run as run_stage

ROOT = Path(__file__).parents[1]

# what a file system that is mounted without locks answers
WITHOUT_LOCKS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
int flock(int file, int operation) { errno = ENOLCK; return -1; }
#define REPLACE(name)                                                            \
  int name(int file, int command, ...) {                                         \
    va_list rest;                                                                \
    va_start(rest, command);                                                     \
    void *argument = va_arg(rest, void *);                                       \
    va_end(rest);                                                                \
    if (command == F_SETLK || command == F_SETLKW || command == F_GETLK) {       \
      errno = ENOLCK;                                                            \
      return -1;                                                                 \
    }                                                                            \
    int (*real)(int, int, ...) = dlsym(RTLD_NEXT, #name);                        \
    return real(file, command, argument);                                        \
  }
REPLACE(fcntl)
REPLACE(fcntl64)
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run_without_locks(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs Python in the repository's root with the functions above in place of the system's."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("library")
    (folder / "locks.c").write_text(WITHOUT_LOCKS)
    library = folder / "locks.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, folder / "locks.c", "-ldl"], check=True
    )

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    locked = run("-c", "import fcntl; fcntl.flock(0, fcntl.LOCK_EX)")
    assert "[Errno 37] No locks available" in locked.stderr
    return run


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


# --- locks ---------------------------------------------------------------------------------------


def test_a_store_is_read_where_there_are_no_locks(path: Path, run_without_locks: Run) -> None:
    verified = run_without_locks("-m", "pipeline.store", "verify", path)
    assert (verified.returncode, verified.stdout) == (0, f"{path}: sound\n"), verified.stderr
    described = run_without_locks("-m", "pipeline.store", "describe", path)
    assert (described.returncode, described.stdout) == (0, f"{describing.describe(path)}\n")
    code = f"from pipeline.store import FeatureStore; print(FeatureStore({str(path)!r})[0])"
    with store.FeatureStore(path) as opened:
        assert run_without_locks("-c", code).stdout == f"{opened[0]}\n"


def test_features_and_store_are_written_where_there_are_no_locks(
    path: Path, tmp_path: Path, run_without_locks: Run
) -> None:
    """The same bytes; what may be of a run that is alive is kept and named."""
    names = ("kept/audio/.mfcc.h5", "store/.store.h5")
    remains = [tmp_path / f"{name}.1.partial" for name in names]
    for remain in remains:
        remain.parent.mkdir(parents=True)
        remain.write_bytes(b"half a file")
    code = f"""
from pathlib import Path
from benchmarks.synthetic import CONTEXT, make_store
make_store(Path({str(tmp_path)!r}))
"""
    made = run_without_locks("-c", code)
    assert made.returncode == 0, made.stderr
    for name in ("audio/mfcc.h5", "text/glove.h5", "store.h5"):
        assert (tmp_path / "store" / name).read_bytes() == (path / name).read_bytes()
    assert f"{tmp_path / 'kept/audio'}: the file system has no locks; start no other" in made.stdout
    for remain in remains:
        assert f"{remain}: delete it unless another run is writing" in made.stdout
        assert remain.read_bytes() == b"half a file"


def test_a_file_that_is_written_is_locked_against_other_processes(tmp_path: Path) -> None:
    with hdf5.writing(tmp_path / "a.h5"):
        (partial,) = tmp_path.iterdir()
        hdf5.remove_remains(tmp_path / "a.h5")
        assert partial.exists()
        with partial.open("r+b") as file, pytest.raises(BlockingIOError):
            lock(file)
    assert [found.name for found in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOLCK, False),
        (errno.ENOSYS, False),
        (errno.EOPNOTSUPP, False),
        (errno.EACCES, BlockingIOError),  # held, as some NFS servers say it
        (errno.EIO, OSError),
    ],
)
def test_no_locks_a_held_lock_and_other_errors_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, number: int, expected: bool | type[OSError]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    if isinstance(expected, bool):
        assert lock(0) == expected
        return
    with pytest.raises(expected) as raised:
        lock(0)
    assert type(raised.value) is expected


# --- errors of the system ------------------------------------------------------------------------


def taken(source: Path) -> None:
    extractor = External(path=str(source))
    extractor.extract([Utterance("a", "d")], {}, CONTEXT)


READERS: dict[str, Callable[[Path], object]] = {
    "store.h5": open_checked,
    "verified.h5": checking.verify,
    "fold-1.kept": lambda path: Kept(path.parent).load("fold-1", "00" * 32),
    "fold-1.safetensors": Classifier.load,
    "stream/a.npy": lambda path: taken(path.parent),
    "stream/a.csv": lambda path: taken(path.parent),
    "stream.h5": taken,
    "glove.txt": lambda path: glove.read_glove(path, {"a"}),
    "list.csv": splits.read,
    "weights.json": lambda path: check(path, {}),
    "weights.bin": sha256,
}


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file with a bad sector")
@pytest.mark.parametrize("name", READERS)
def test_a_file_that_the_system_does_not_let_read_is_not_called_damaged(
    tmp_path: Path, name: str
) -> None:
    """The start of a process's memory is no page: to read it is an error, as of a bad sector."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to("/proc/self/mem")
    with pytest.raises(InputError, match=rf"{path.name}: cannot be read: .*error") as raised:
        READERS[name](path)
    assert "damaged" not in str(raised.value)
    assert "is no" not in str(raised.value)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "Permission denied; ask its owner"),
        (errno.ESTALE, "Stale file handle; .* mount the file system again"),
        (errno.EMFILE, "Too many open files; allow more"),
        (errno.ENOMEM, "Cannot allocate memory; solve this and"),
    ],
)
def test_each_error_of_the_system_has_its_remedy(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, f"Unable to synchronously open file (errno = {number})")

    monkeypatch.setattr(h5py, "File", refuse)
    for opened in (store.FeatureStore, checking.verify):
        with pytest.raises(store.StoreError, match=f"store.h5: cannot be read: {remedy}"):
            opened(path)


def test_a_folder_in_place_of_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "store.h5").mkdir()
    with pytest.raises(store.StoreError, match="cannot be read: Is a directory; it must be a file"):
        store.FeatureStore(tmp_path)


def test_a_store_that_the_process_has_open_otherwise_is_not_called_damaged(
    path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.h5"
    copy.write_bytes((path / "store.h5").read_bytes())
    for mode in ("r", "r+"):
        with (
            h5py.File(copy, mode),
            pytest.raises(store.StoreError, match="this process has it open already"),
        ):
            store.FeatureStore(copy)


@pytest.mark.parametrize("name", ["mfcc/Ses01F_impro01.kept", "mfcc.h5"])
def test_kept_work_that_cannot_be_read_is_not_computed_again(tmp_path: Path, name: str) -> None:
    kept = tmp_path / "kept/audio" / name
    kept.mkdir(parents=True)
    with pytest.raises(InputError, match=rf"{kept.name}: cannot be read: Is a directory; .*delete"):
        make_store(tmp_path)
    kept.rmdir()
    kept.write_bytes(b"")  # what a disk leaves that lost power
    assert checking.verify(make_store(tmp_path)) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.csv", "absent.csv: No such file or directory; if it is an output of a stage"),
        ("folder", "folder: Is a directory; it must be a file, not a folder"),
        ("folder/a.csv/b", "a.csv/b: Not a directory; solve this and start again"),
    ],
)
def test_a_stage_ends_with_the_reason_of_the_system_whatever_the_file(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a.csv").touch()
    with pytest.raises(SystemExit, match=rf"^error: .*{message}"):
        run_stage(lambda: (tmp_path / name).open().close())


def test_an_error_of_the_system_that_names_no_file_keeps_its_traceback() -> None:
    def main() -> None:
        raise OSError(errno.ENOTCONN, "of a socket")

    with pytest.raises(OSError, match="of a socket"):
        run_stage(main)


@pytest.mark.skipif(sys.platform != "linux", reason="takes a right away from root as well")
def test_a_model_that_must_not_be_read_is_not_called_missing(tmp_path: Path) -> None:
    path = tmp_path / "fold-1.safetensors"
    path.write_bytes(b"x")
    path.chmod(0)
    code = f"""
from pathlib import Path
from pipeline.models.classifier import Classifier
Classifier.load(Path({str(path)!r}))
"""
    rights = "-dac_override,-dac_read_search"
    command = [sys.executable, "-c", code]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads everything")
        command = ["setpriv", f"--inh-caps={rights}", f"--bounding-set={rights}", *command]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"{path.name}: cannot be read: Permission denied; ask its owner" in found.stderr


def test_a_reason_that_has_no_number_is_told_in_its_own_words() -> None:
    error = OSError("Permission denied (os error 13)")
    assert unreadable(Path("a"), error).startswith("a: cannot be read: Permission denied (os")
