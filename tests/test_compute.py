"""Where work runs, how wide, and one item ahead."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator

import joblib
import pytest
import torch

from pipeline import InputError
from pipeline.system import compute


def test_a_fold_a_core_on_a_cpu_one_on_a_gpu_or_as_many_as_asked_for() -> None:
    assert compute.parallel_folds(0, "cpu") == joblib.cpu_count()
    assert compute.parallel_folds(0, "cuda") == 1
    assert compute.parallel_folds(3, "cuda") == compute.parallel_folds(3, "cpu") == 3


@pytest.mark.parametrize(
    ("workers", "free", "number"),
    [(0, 78, 16), (4, 78, 4), (0, 15, 3), (8, 15, 3), (0, 1, 1), (1, 78, 1)],
)
def test_cores_and_free_memory_limit_the_networks_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, workers: int, free: int, number: int
) -> None:
    """On a pretended GPU, whose free memory is in GiB, beside 16 cores."""
    monkeypatch.setattr(joblib, "cpu_count", lambda: 16)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * 2**30, 80 * 2**30))
    assert compute.network_processes(workers, torch.device("cuda", 0)) == number


def test_cores_alone_limit_the_networks_on_a_cpu_and_a_mac_has_one_on_its_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: 16)
    assert compute.network_processes(0, torch.device("cpu")) == 16
    assert compute.network_processes(5, torch.device("cpu")) == 5
    assert compute.network_processes(0, torch.device("mps")) == 1


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
