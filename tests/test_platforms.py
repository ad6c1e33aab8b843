"""Other systems: what only Linux has is not needed, and no open file is replaced or deleted.

Windows and macOS are imitated here: what they lack is taken away, and files that are open cannot
be replaced or deleted, as on Windows.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.synthetic import CONTEXT, Noise, make_store, spoken, table
from pipeline import InputError, params
from pipeline.features.extraction import extract
from pipeline.store import FeatureStore
from pipeline.store.inputs import of_model
from pipeline.system import compute, disk, filesystem
from pipeline.system.kept import link, locked
from pipeline.training import fitting, folds
from tests.test_training import planned, settings

ROOT = Path(__file__).parents[1]

# put before all that a process imports; libraries, which have a way of their own without it on
# Windows, keep fcntl
LACKING = """
import builtins, os
for name in ("sched_getaffinity", "posix_fallocate", "link"):
    delattr(os, name)
usual = builtins.__import__
def importing(name, globals=None, *rest, **named):
    if name == "fcntl" and globals and globals["__name__"].startswith("pipeline"):
        raise ImportError(name)
    return usual(name, globals, *rest, **named)
builtins.__import__ = importing
"""
TRAIN = """
import json, os, sys
from pathlib import Path

import torch

from pipeline import params
from pipeline.evaluation import attention, prediction
from pipeline.store import FeatureStore
from pipeline.system import compute, filesystem
from pipeline.training import folds

if __name__ == "__main__":
    assert filesystem.fcntl is None and not hasattr(os, "sched_getaffinity")
    store, folder = Path(sys.argv[1]), Path(sys.argv[2])
    device = compute.device("auto")
    jobs = folds.plan(
        store,
        params.load(folder / "params.yaml"),
        lists=folder / "splits",
        models=folder / "models",
        curves=folder / "curves",
        checkpoints=folder / "parts",
        device=device.type,
    )
    folds.train_folds(jobs, compute.parallel_folds(2, device.type))
    with FeatureStore(store) as opened:
        predictions = prediction.test_folds(opened, folder / "models", device)
        attention.write(opened, folder / "models", predictions, folder / "attention.h5", device)
    predictions.to_csv(folder / "predictions.csv", index=False)
"""


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that has none of what is Linux's own, and keeps open files as they are."""
    for name in ("sched_getaffinity", "posix_fallocate", "link"):
        monkeypatch.delattr(os, name)
    monkeypatch.setattr(filesystem, "fcntl", None)
    monkeypatch.setattr(sys, "platform", "win32")

    def guarded(method: Callable[..., Any], target: int) -> Callable[..., Any]:
        def act(*arguments: Any, **options: Any) -> Any:
            for path in arguments[: target + 1]:
                if is_open(Path(path)):
                    raise PermissionError(errno.EACCES, "it is open", str(path))
            return method(*arguments, **options)

        return act

    monkeypatch.setattr(Path, "replace", guarded(Path.replace, 1))
    monkeypatch.setattr(Path, "unlink", guarded(Path.unlink, 0))


def is_open(path: Path) -> bool:
    """Whether this process has a file open, under this name or another."""
    if not path.exists():
        return False
    own = [entry for entry in Path("/proc/self/fd").iterdir() if entry.exists()]
    return any(entry.samefile(path) for entry in own)


linux = pytest.mark.skipif(sys.platform != "linux", reason="is told by /proc what is open")


@linux
@pytest.mark.usefixtures("elsewhere")
def test_an_open_file_cannot_be_replaced_where_it_is_imitated(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("1")
    second.write_text("2")
    with h5py.File(tmp_path / "open.h5", "w"), pytest.raises(PermissionError):
        first.replace(tmp_path / "open.h5")
    with second.open(), pytest.raises(PermissionError):
        second.unlink()
    assert first.replace(second).read_text() == "1"


@linux
@pytest.mark.usefixtures("elsewhere")
def test_extraction_takes_over_what_it_has_and_replaces_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table()

    def run(rows: pd.DataFrame) -> bytes:
        output = tmp_path / "out"
        (output / "mfcc.h5").unlink(missing_ok=True)  # as DVC does
        extract(
            "audio",
            {"mfcc": Noise()},
            spoken(rows),
            CONTEXT,
            kept=tmp_path / "kept",
            output=output,
        )
        return (output / "mfcc.h5").read_bytes()

    first = run(rows)
    fewer = rows[rows["dialog"] != "Ses03F_impro01"]
    assert run(fewer) != first
    assert "computed 0, kept 4 dialogs" in capsys.readouterr().out
    assert run(rows) == first
    assert "computed 1, kept 4 dialogs" in capsys.readouterr().out


@pytest.mark.slow
def test_training_and_evaluation_from_a_store_without_what_is_linuxs_own(tmp_path: Path) -> None:
    """In several processes, which lack the same."""
    store = make_store(tmp_path / "own")
    raw = settings().model_dump(mode="json")
    raw["split"] |= {"protocol": "random", "folds": 3}
    raw["train"] |= {"epochs": 1}
    (tmp_path / "params.yaml").write_text(params.as_yaml(raw), encoding="utf-8")
    (tmp_path / "sitecustomize.py").write_text(LACKING, encoding="utf-8")
    (tmp_path / "run.py").write_text(TRAIN, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "run.py"), str(store), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "computed 3, kept 0 models" in done.stdout
    names = pd.read_csv(tmp_path / "predictions.csv")["utterance"]
    assert len(list((tmp_path / "models").glob("*.safetensors"))) == 3
    assert len(names) == names.nunique() > 20


class TestWithoutWhatIsLinuxsOwn:
    def test_processes_are_those_of_joblib(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It respects affinity and the limits of containers."""
        monkeypatch.setattr(joblib, "cpu_count", lambda: 7)
        assert (compute.processes(0), compute.processes(3)) == (7, 3)

    @linux
    def test_processes_respect_affinity(self) -> None:
        code = (
            "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
            "from pipeline.system import compute; print(compute.processes(0))"
        )
        found = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True
        )
        assert found.stdout.strip() == b"1"

    @pytest.mark.usefixtures("elsewhere")
    def test_processes_are_counted(self) -> None:
        assert compute.processes(0) >= 1

    @pytest.mark.usefixtures("elsewhere")
    def test_a_worker_starts(self) -> None:
        compute.start_worker()

    @pytest.mark.usefixtures("elsewhere")
    def test_room_is_looked_for(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"1234")
        disk.reserve(path, 4096)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            disk.reserve(path, 1 << 60)
        assert path.read_bytes() == b"1234"

    @pytest.mark.usefixtures("elsewhere")
    def test_a_link_is_a_copy(self, tmp_path: Path) -> None:
        (tmp_path / "one").write_text("1")
        link(tmp_path / "one", tmp_path / "other")
        assert (tmp_path / "other").read_text() == "1"
        assert not (tmp_path / "other").samefile(tmp_path / "one")

    @pytest.mark.usefixtures("elsewhere")
    def test_what_has_no_lock_is_said(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with locked(tmp_path):
            assert "has no lock" in capsys.readouterr().out


class NoFloat64(TorchDispatchMode):
    """Refuses operations whose results are float64."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None) -> Any:
        found = function(*arguments, **(options or {}))
        for value in found if isinstance(found, tuple | list) else (found,):
            wide = isinstance(value, torch.Tensor) and value.dtype == torch.float64
            assert not wide, f"{function} gives float64"
        return found


class TestDevice:
    @pytest.fixture
    def there(self, monkeypatch: pytest.MonkeyPatch) -> set[str]:
        """The devices that torch finds."""
        found: set[str] = set()
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in found)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in found)
        return found

    @pytest.mark.parametrize("name", ["cuda", "mps"])
    def test_what_is_asked_for_has_to_be_there(self, name: str, there: set[str]) -> None:
        with pytest.raises(InputError, match=f"compute.device is {name}, but torch finds"):
            compute.device(name)
        there.add(name)
        assert compute.device(name) == torch.device(name)

    def test_auto_is_cuda_or_the_cpu_and_never_mps(self, there: set[str]) -> None:
        there.add("mps")
        assert compute.device("auto") == torch.device("cpu")
        there.add("cuda")
        assert compute.device("auto") == torch.device("cuda")
        assert compute.device("cpu") == torch.device("cpu")

    @pytest.mark.parametrize("targets", ["majority", "votes"])
    def test_a_step_of_training_needs_no_float64_which_mps_lacks(
        self, tmp_path: Path, targets: str
    ) -> None:
        raw = settings().model_dump()
        raw["train"] |= {"targets": targets, "balance": "weights"}
        job = planned(make_store(tmp_path), tmp_path, params.parse(raw))[0]
        with FeatureStore(job.store) as store:
            dataset = of_model(store, job.model, job.train.max_steps)
            train = np.array([store.row_of[utterance] for utterance in job.fold.train])
            classifier = folds.build(dataset, job.model, job.train.max_steps, job.classes, train)
            random = np.random.default_rng(0)
            run = fitting.Run(classifier, job.train, torch.device("cpu"), random)
            batch = dataset.batch(train[:8])
            aims = torch.from_numpy(job.targets[train[:8]])
            with NoFloat64():
                assert run.learn(batch, aims, torch.ones(8), 0.001) > 0
                with pytest.raises(AssertionError, match="float64"):
                    torch.ones(8).double()

    def test_parameters_know_them_all(self) -> None:
        for name in ("auto", "cpu", "cuda", "mps"):
            assert params.Compute(device=name, workers=0, parallel_folds=0).device == name
