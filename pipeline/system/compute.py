"""The device and the processes on which work runs."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline import InputError, params

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")

_GPU_SHARE = 4 * 2**30  # bytes of a process: CUDA itself, a large network, and a batch of it
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of GNU's malloc.h


def device(name: str) -> torch.device:
    """The torch device of `name`: ``auto``, ``cpu``, ``cuda`` or ``mps`` (the GPU of a Mac).

    ``auto`` is CUDA if torch has a CUDA device, and otherwise the CPU. It never selects MPS, since
    MPS does not implement all of torch's operations.

    Raises
    ------
    InputError
        If torch has no such device.
    """
    import torch  # not needed by every stage

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = "cuda" if available["cuda"] else "cpu"
    elif not available.get(name, True):
        raise InputError(
            f"compute.device is {name}, but torch finds no such device; set compute.device to auto "
            f"or cpu, or install a build of torch with {name.upper()}"
        )
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise InputError(f"{name!r} is no device; name auto, cpu, cuda or mps") from error


def local_device(settings: params.Compute) -> torch.device:
    """The device of this machine; on a cluster, any will do for what is not sent there."""
    return device("auto" if settings.cluster else settings.device)


@contextmanager
def inference() -> Iterator[None]:
    """Without gradients; on a GPU also without TF32, so that its values agree with a CPU's."""
    import torch

    flags = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    with torch.inference_mode(), flags:
        yield


def large_pages() -> None:
    """Let torch allocate large tensors in huge pages, in this process and its children.

    With pages of 4 KiB, mapping a new tensor can take longer than computing it. Values do not
    change. This has an effect on Linux only.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch reads it at its first allocation


def few_kernels() -> None:
    """Let torch keep the kernels of a few shapes only, in this process and its children.

    oneDNN compiles a kernel for each shape of a convolution, and keeps 1,024 of them by default. As
    each length of an utterance is another shape, memory would grow with the corpus until then.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")  # read at the first kernel


def parallel_folds(number: int, device: str) -> int:
    """How many folds train in parallel; 0 means one per core, on a GPU as many as fit into it."""
    return number or network_processes(0, device, per_gpu=None)


def processes(workers: int) -> int:
    """The number of processes for `workers`; 0 means one per core.

    CPU affinity and the limits of a container reduce the number of cores.
    """
    from joblib import cpu_count  # slow to import

    return workers or cpu_count()


def network_processes(workers: int, device: str, *, per_gpu: int | None) -> int:
    """The number of processes that each run a network; `workers` as of :func:`processes`.

    Parameters
    ----------
    per_gpu
        Processes that keep a GPU busy; None if as many are of use as fit into its memory, since
        each process has its own copy of the network. The GPU of a Mac serves one.
    """
    if device == "cpu":
        return processes(workers)
    if device != "cuda":
        return 1
    fit = _places()
    return max(1, min(processes(workers), len(fit), len(set(fit)) * (per_gpu or len(fit))))


def _places() -> list[str]:
    """The GPU of each process that fits into the memory of one, as CUDA_VISIBLE_DEVICES names it.

    The GPUs take turns, so that the first processes are on different ones.
    """
    import torch

    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    number = torch.cuda.device_count()
    names = chosen.split(",")[:number] if chosen else [str(index) for index in range(number)]
    fit = [torch.cuda.mem_get_info(index)[0] // _GPU_SHARE for index in range(number)]
    return [
        name
        for turn in range(max(fit, default=0))
        for name, most in zip(names, fit, strict=True)
        if turn < most
    ]


def pool(
    number: int, device: str, start: Callable[..., None] | None = None, *arguments: Any
) -> ProcessPoolExecutor:
    """A pool of processes; those that run networks on GPUs are spread over all GPUs.

    Parameters
    ----------
    start
        Called in each process at its start, with the `arguments`.
    """
    # spawned, not forked: a forked child of a process with OpenMP threads can hang
    context = get_context("spawn")
    places = context.SimpleQueue()
    fit = _places() if device == "cuda" else []
    for index in range(number):
        places.put(fit[index % len(fit)] if fit else None)
    return ProcessPoolExecutor(
        number, context, initializer=start_worker, initargs=(places, start, *arguments)
    )


def ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Yield `items`, and prefetch one item in a thread."""
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = thread.submit(next, items, None)
            yield item


def start_worker(
    places: SimpleQueue[str | None] | None = None,
    start: Callable[..., None] | None = None,
    *arguments: Any,
) -> None:
    """Initialise a worker process: it ends with its parent, and reuses memory that it frees.

    Parameters
    ----------
    places
        Has the GPU of each process of the pool, or None.
    start, arguments
        As of :func:`pool`.
    """
    _end_with_parent()
    _keep_memory()
    if places is not None and (place := places.get()) is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = place  # CUDA reads it at its first call
    if start is not None:
        start(*arguments)


def start_remote() -> None:
    """Prepare a worker of a cluster for tasks, as a stage and its processes are prepared."""
    large_pages()
    few_kernels()
    _keep_memory()


def _keep_memory() -> None:
    """Reuse freed memory in this process instead of returning it to the system.

    A network frees and allocates large tensors with each batch, and the system clears all memory
    that it hands out. Values do not change. This has an effect on Linux with the GNU C library
    only.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)  # take large blocks from the heap too
        mallopt(_M_TRIM_THRESHOLD, -1)  # and never shrink the heap


def _end_with_parent() -> None:
    """End this worker process when its parent is killed; otherwise it would wait forever."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
