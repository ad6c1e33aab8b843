"""Tasks on the workers of a Dask cluster, instead of processes of this machine.

Workers and this process share a disk: a task reads its inputs there and writes its own result. What
travels is the task, a few kilobytes, and the news that it is finished. Dask is the extra
``cluster``; docs/clusters.md explains how to start workers.

A task may run twice, after its worker was lost. This is harmless, since a result replaces the file
of its name as a whole, and both have the same bytes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property, partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar
from uuid import uuid4

import pipeline
from pipeline import InputError, params
from pipeline.params.cluster import Address, Queue
from pipeline.system import compute
from pipeline.system.extras import imported
from pipeline.system.filesystem import sha256

Item = TypeVar("Item")
Result = TypeVar("Result")

CONNECT = 30
"""Seconds to wait for a scheduler."""
WAIT = 120
"""Seconds to wait for a shared disk that is not there."""

_LIBRARIES = ("numpy", "torch", "transformers", "librosa", "opensmile", "opencv-python-headless")
_GONE = {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN}
_one_at_a_time = threading.Lock()  # a worker may have several threads, and torch has one setting


def device_name(settings: params.Compute, cluster: Cluster | None) -> str:
    """The device on which tasks run: of the workers, or without a cluster of this machine."""
    return cluster.device(settings.device) if cluster else str(compute.device(settings.device))


@contextmanager
def connected(settings: Address | Queue | None) -> Iterator[Cluster | None]:
    """The cluster of the parameter ``compute.cluster``, or None if it is null."""
    if settings is None:
        yield None
        return
    with Cluster(settings) as cluster:
        yield cluster


class Cluster:
    """A Dask cluster, to which this process connects when it has the first task.

    Parameters
    ----------
    settings
        The parameter ``compute.cluster``.
    """

    def __init__(self, settings: Address | Queue) -> None:
        self._settings = settings
        self._jobs: Any = None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        if "client" in self.__dict__:
            self.client.close()
        if self._jobs is not None:
            self._jobs.close()

    @cached_property
    def client(self) -> Any:
        """Dask's ``Client``.

        Raises
        ------
        InputError
            If Dask is not installed, or there is no such scheduler.
        """
        dask = _dask()
        settings = self._settings
        try:
            if isinstance(settings, Queue):
                self._jobs = _submitted(settings)
                client = dask.Client(self._jobs)
            else:
                client = dask.Client(timeout=CONNECT, **_address(settings, dask))
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(f"compute.cluster: {settings}: no connection: {error}") from error
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        print(f"cluster: {workers} workers so far; dashboard: {client.dashboard_link}", flush=True)
        scheme = client.scheduler.address.partition(":")[0]
        if scheme != "tls" and not _is_local(client.scheduler.address):
            print(
                f"warning: {client.scheduler.address} has no TLS; everybody who reaches it can run "
                "any code as the user of the workers (docs/clusters.md)",
                file=sys.stderr,
                flush=True,
            )
        return client

    def call(self, function: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
        """The result of a function on one of the workers; errors as of :meth:`completed`."""
        work = partial(function, *arguments, **named)
        future = self.client.submit(run, work, str(Path.cwd()), fingerprint(), pure=False)
        if not _survived(future):
            raise _deadly([function.__name__])
        return future.result()

    def device(self, name: str) -> str:
        """The device of the workers: `name`, or for ``auto`` what one of them finds."""
        return self.call(_device, name) if name == "auto" else name

    def completed(
        self,
        function: Callable[[Item], object],
        tasks: Sequence[Item],
        *,
        name: Callable[[Item], str],
        size: Callable[[Item], float],
    ) -> Iterator[Item]:
        """Run a function on each task, the largest first; yield each task that is finished.

        Parameters
        ----------
        function
            Of a module that the workers can import.
        name
            Of a task, for messages.
        size
            Of a task, such as its seconds of speech.

        Raises
        ------
        InputError
            The first one of a task; tasks that have not begun are cancelled. Or, when all others
            are finished, that some tasks ended every worker that tried them.
        """
        from distributed import as_completed

        here, code = str(Path.cwd()), fingerprint()

        def submit(task: Item) -> Any:
            return self.client.submit(
                run,
                partial(function, task),
                here,
                code,
                key=f"{name(task)}-{uuid4().hex}",
                priority=size(task),
                pure=False,
            )

        futures = {submit(task): task for task in sorted(tasks, key=size, reverse=True)}
        suspects, deadly = [], []
        try:
            for future in as_completed(list(futures)):
                task = futures.pop(future)
                if _survived(future):
                    yield task
                else:
                    suspects.append(task)
            # Dask blames all tasks that a lost worker had; alone, a task shows whether it is one
            for task in suspects:
                futures = {(future := submit(task)): task}
                if _survived(future):
                    yield task
                else:
                    deadly.append(name(task))
        finally:
            self.client.cancel(list(futures))
        if deadly:
            raise _deadly(deadly)

    def running(self) -> str:
        """What runs where, for a progress bar: the number of workers, and the task of each host."""
        busy = {
            worker: keys[0].rpartition("-")[0]
            for worker, keys in self.client.processing().items()
            if keys
        }
        hosts = [f"{task} on {_host(worker)}" for worker, task in sorted(busy.items())[:2]]
        return f"{len(busy)} workers: {', '.join(hosts)}" + (", ..." if len(busy) > 2 else "")


def _survived(future: Any) -> bool:
    """Wait for a task; whether it did not end its workers.

    Raises
    ------
    InputError
        That of the task, or if a worker lacks a package.
    """
    from distributed import KilledWorker

    try:
        future.result()
    except KilledWorker:
        return False
    except ModuleNotFoundError as error:
        raise InputError(
            f"a worker cannot import {error.name}: start it in this environment"
        ) from error
    return True


def _deadly(names: Sequence[str]) -> InputError:
    return InputError(
        f"{', '.join(sorted(names))}: ended every worker that tried, perhaps for want of memory; "
        "all others are finished and kept. Give workers more memory, or look into their logs, and "
        "start again"
    )


def run(work: Callable[[], Result], folder: str, code: str) -> Result:
    """Do some work on a worker.

    Waits for the shared disk up to :data:`WAIT` seconds, and tries again if it was lost meanwhile.

    Parameters
    ----------
    folder
        Working directory of the process that sent the work.
    code
        Its :func:`fingerprint`.

    Raises
    ------
    InputError
        If this worker does not have the folder or the code.
    """
    with _one_at_a_time:
        compute.start_remote()
        deadline = time.monotonic() + WAIT
        while True:
            _enter(folder, deadline)
            if fingerprint() != code:
                raise InputError(
                    f"{socket.gethostname()}: this worker has other code of the pipeline, or other "
                    "versions of libraries; start it in the environment of this run, after each "
                    "change of the code"
                )
            try:
                return work()
            except OSError as error:
                if error.errno not in _GONE or time.monotonic() > deadline:
                    raise
            time.sleep(1)


def _enter(folder: str, deadline: float) -> None:
    """Change into the folder of the run, as soon as it is there."""
    while True:
        try:
            return os.chdir(folder)
        except OSError as error:
            if time.monotonic() > deadline:
                raise InputError(
                    f"{socket.gethostname()}: {folder} does not exist on this worker "
                    f"({error.strerror}); the folder of this run must be on a disk that all "
                    "workers share"
                ) from error
        time.sleep(1)


@cache
def fingerprint() -> str:
    """A digest of what decides bytes: this package's code, versions of libraries, processor."""
    root = Path(pipeline.__file__).parent
    files = {str(path.relative_to(root)): sha256(path) for path in sorted(root.rglob("*.py"))}
    decisive = (files, [version(name) for name in _LIBRARIES], platform.machine())
    return hashlib.sha256(repr(decisive).encode()).hexdigest()


def _device(name: str) -> str:
    return str(compute.device(name))


def _dask(module: str = "distributed") -> ModuleType:
    """A module of Dask.

    Raises
    ------
    InputError
        If it is not installed.
    """
    return imported(module, "cluster", f"compute.cluster: {module} sends tasks to other machines")


def _address(settings: Address, dask: ModuleType) -> dict[str, Any]:
    """Arguments of ``Client`` for a scheduler that runs already."""
    tls = settings.tls
    security = tls and dask.Security(
        tls_ca_file=tls.ca,
        tls_client_cert=tls.certificate,
        tls_client_key=tls.key,
        require_encryption=True,
    )
    if "://" in settings.scheduler:
        return {"address": settings.scheduler, "security": security}
    if not Path(settings.scheduler).is_file():
        raise FileNotFoundError(f"there is no file {settings.scheduler}")
    return {"scheduler_file": settings.scheduler, "security": security}


def _submitted(settings: Queue) -> Any:
    """A cluster of dask-jobqueue, whose jobs are submitted; encrypted unless it is told not to."""
    dask_jobqueue = _dask("dask_jobqueue")
    kinds = {name.removesuffix("Cluster").lower(): name for name in vars(dask_jobqueue)}
    # Dask's defaults are without encryption, and a dashboard that the whole network sees
    safe = {"security": True, "scheduler_options": {"dashboard_address": "127.0.0.1:0"}}
    options = safe | (settings.model_extra or {})
    try:
        jobs = getattr(dask_jobqueue, kinds[settings.kind])(**options)
    except TypeError as error:
        raise InputError(f"compute.cluster: {error}") from error
    jobs.scale(jobs=settings.jobs)
    return jobs


def _host(address: str) -> str:
    """The host of an address such as ``tcp://10.0.0.1:40001``."""
    return address.rpartition("://")[2].rpartition(":")[0]


def _is_local(address: str) -> bool:
    return address.startswith("inproc") or _host(address) in {"127.0.0.1", "localhost", "[::1]"}
