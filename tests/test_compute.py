"""Where work runs, how wide, and one item ahead."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

import joblib
import pytest
import torch

from pipeline import InputError
from pipeline.system import compute


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend GPUs with so many GiB of free memory, beside 16 cores."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 16)

    def pretend(*free: int) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (free[index] * 2**30, 0))

    return pretend


@pytest.mark.parametrize(
    ("workers", "free", "number"),
    [
        (0, [78], 16),
        (4, [78], 4),
        (0, [15], 3),
        (8, [15], 3),
        (0, [1], 1),
        (1, [78], 1),
        (0, [15, 9], 5),
        (2, [15, 9], 2),
        (0, [15, 1], 3),
        (0, [1, 1], 1),
    ],
)
def test_cores_and_free_memory_limit_the_networks_on_gpus(
    gpus: Callable[..., None], workers: int, free: list[int], number: int
) -> None:
    gpus(*free)
    assert compute.network_processes(workers, "cuda", per_gpu=None) == number


def test_one_process_per_gpu_if_it_keeps_it_busy(gpus: Callable[..., None]) -> None:
    gpus(78, 78, 1)
    assert compute.network_processes(0, "cuda", per_gpu=1) == 2  # the third is in use
    assert compute.network_processes(1, "cuda", per_gpu=1) == 1


def test_cores_alone_limit_the_networks_on_a_cpu_and_a_mac_has_one_on_its_gpu(
    gpus: Callable[..., None],
) -> None:
    assert compute.network_processes(0, "cpu", per_gpu=1) == 16
    assert compute.network_processes(5, "cpu", per_gpu=None) == 5
    assert compute.network_processes(0, "mps", per_gpu=None) == 1


def test_a_fold_a_core_or_as_many_as_fit_into_the_gpus_or_as_many_as_asked_for(
    gpus: Callable[..., None],
) -> None:
    gpus(15, 9)
    assert compute.parallel_folds(0, "cpu") == 16
    assert compute.parallel_folds(0, "cuda") == 5
    assert compute.parallel_folds(0, "mps") == 1
    assert compute.parallel_folds(3, "cuda") == compute.parallel_folds(3, "cpu") == 3


everybody: list[Barrier] = []


def meet(barrier: Barrier) -> None:
    everybody.append(barrier)


def visible(_: int) -> str | None:
    """The GPUs of a process; waits for the others of the pool, so that each is asked once."""
    everybody[0].wait(timeout=120)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize(
    ("chosen", "free", "expected"),
    [
        (None, [78, 78], ["0", "0", "1", "1"]),
        ("GPU-a,GPU-b", [78, 78], ["GPU-a", "GPU-a", "GPU-b", "GPU-b"]),
        (None, [5, 78], ["0", "1", "1", "1"]),  # memory of the first for one
        (None, [1, 1], [None] * 4),  # no room: as before, and the error of CUDA
    ],
)
def test_processes_are_spread_over_the_gpus(
    gpus: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    chosen: str | None,
    free: list[int],
    expected: list[str | None],
) -> None:
    gpus(*free)
    if chosen:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    with compute.pool(4, "cuda", meet, get_context("spawn").Barrier(4)) as pool:
        assert sorted(pool.map(visible, range(4)), key=str) == expected
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == chosen


def test_processes_on_a_cpu_see_what_the_stage_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with compute.pool(1, "cpu", meet, get_context("spawn").Barrier(1)) as pool:
        assert list(pool.map(visible, range(1))) == ["7"]


class TestAhead:
    def test_gives_all_items_in_order(self) -> None:
        assert list(compute.ahead(iter(range(5)))) == [0, 1, 2, 3, 4]
        assert list(compute.ahead(iter(()))) == []

    def test_makes_one_item_ahead_and_no_more(self) -> None:
        made: list[int] = []
        second, third = threading.Event(), threading.Event()

        def items() -> Iterator[int]:
            for number, event in ((1, None), (2, second), (3, third)):
                made.append(number)
                if event is not None:
                    event.set()
                yield number

        ready = compute.ahead(items())
        assert next(ready) == 1
        assert second.wait(10)  # made while the first one is used
        assert made == [1, 2]
        assert next(ready) == 2
        assert third.wait(10)
        ready.close()

    def test_an_error_reaches_who_asks_for_the_item(self) -> None:
        def items() -> Iterator[int]:
            yield 1
            raise OSError("gone")

        ready = compute.ahead(items())
        assert next(ready) == 1
        with pytest.raises(OSError, match="gone"):
            next(ready)


class TestLargePages:
    def test_children_have_the_setting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
        compute.large_pages()
        code = "import os; print(os.environ['THP_MEM_ALLOC_ENABLE'])"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert found.stdout.strip() == b"1"

    def test_what_the_user_sets_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
        compute.large_pages()
        assert os.environ["THP_MEM_ALLOC_ENABLE"] == "0"


def test_torch_keeps_fewer_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    compute.few_kernels()
    assert 1 <= int(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) < 1024


class TestStartWorker:
    @pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of GNU's C library")
    @pytest.mark.parametrize("worker", [False, True])
    def test_freed_memory_stays_with_the_process(self, worker: bool) -> None:
        """Of 64 MB that are freed, counted in an own process, in pages that it still holds."""
        code = f"""
import numpy as np, psutil
from pipeline.system import compute
if {worker}:
    compute.start_worker()
before = psutil.Process().memory_info().rss
np.ones(8_000_000)
print(psutil.Process().memory_info().rss - before)
"""
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert (int(found.stdout) > 60_000_000) == worker


def test_a_name_that_is_no_device_is_an_error() -> None:
    with pytest.raises(InputError, match="'gpu' is no device; name auto, cpu, cuda or mps"):
        compute.device("gpu")
