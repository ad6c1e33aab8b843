"""Where work runs: the device, the number of processes, and when those end."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import parent_process
from typing import TYPE_CHECKING, TypeVar

from pipeline import InputError

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of GNU's malloc.h


def device(name: str) -> torch.device:
    """The torch device of `name`: ``auto``, ``cpu``, ``cuda`` or ``mps``, the GPU of a Mac.

    ``auto`` is CUDA where there is a device, and otherwise the CPU. MPS has to be asked for: not
    all of torch's operations exist there.

    Raises
    ------
    InputError
        If a device is asked for that torch does not find.
    """
    import torch  # stages that need no torch do not load it

    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = "cuda" if found["cuda"] else "cpu"
    elif not found.get(name, True):
        raise InputError(
            f"compute.device is {name}, but torch finds no such device; set compute.device to auto "
            f"or cpu, or install a build of torch with {name.upper()}"
        )
    return torch.device(name)


def large_pages() -> None:
    """Have torch ask for large pages of memory for large tensors, in this process and its children.

    Without them the system hands out each new tensor 4 KiB at a time, which takes longer than to
    compute it. No value changes. Linux only; elsewhere it does nothing.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read by torch at its first tensor


def parallel_folds(number: int, device: str) -> int:
    """Return how many folds train at once; for 0 one for each core, but a GPU trains one."""
    return number or (processes(0) if device == "cpu" else 1)


def processes(workers: int) -> int:
    """Return the number of processes for `workers`; 0 is one for each core of this process.

    That are the cores which affinity and the limits of a container leave it.
    """
    from joblib import cpu_count  # takes a moment

    return workers or cpu_count()


def ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Yield `items`, the next one always being made in a thread; never more than one ahead."""
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = thread.submit(next, items, None)
            yield item


def start_worker() -> None:
    """Prepare a worker process: it ends with its parent, and keeps the memory that it frees."""
    _end_with_parent()
    _keep_memory()


def _keep_memory() -> None:
    """Have this process use freed memory again instead of returning it to the system at once.

    A network frees its large tensors at each batch and allocates as many at the next, and what was
    returned the system has to clear again. No value changes. Linux with GNU's C library only;
    elsewhere it does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)  # large blocks come from the heap too, which outlives them
        mallopt(_M_TRIM_THRESHOLD, -1)  # and of which nothing is returned


def _end_with_parent() -> None:
    """Let a worker process end when its parent has been killed; it would wait for work for ever."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
