"""Workers of a cluster and the process that sends them tasks, killed at random moments.

Scheduler and workers are processes of their own, as on several machines, and share a folder.
``KILLS`` in the environment is the number of kills, ``SEED`` repeats a run.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from benchmarks.synthetic import CONTEXT, spoken, table
from pipeline.features import extraction
from pipeline.params.cluster import Address
from pipeline.system.cluster import Cluster
from tests.test_kill import Logged, logged

pytest.importorskip("distributed", reason="needs the extra cluster")
pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("KILLS") or 4)
SEED = int(os.environ.get("SEED") or int.from_bytes(os.urandom(4), "little"))
DIALOGS, PACE = 40, 0.2  # seconds per dialog
PROCESSES = multiprocessing.get_context("forkserver")


def extract(folder: Path, extractor: Logged, cluster: Cluster | None) -> bytes:
    extraction.extract(
        *("audio", {"mfcc": extractor}, spoken(table(2, sessions=DIALOGS)), CONTEXT),
        kept=folder / "kept",
        output=folder / "out",
        cluster=cluster,
    )
    return (folder / "out/mfcc.h5").read_bytes()


def drive(folder: Path, scheduler: Path) -> None:
    """One run on the cluster."""
    sys.stdout = sys.stderr = io.StringIO()
    with Cluster(Address(kind="address", scheduler=str(scheduler))) as cluster:
        extract(folder, logged(folder, PACE), cluster)


def _command(name: str, *options: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{name}", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@contextmanager
def started(folder: Path) -> Iterator[tuple[Path, subprocess.Popen]]:
    """A scheduler, and two workers that are started again whenever they end."""
    path = folder / "scheduler.json"
    file = ("--scheduler-file", str(path), "--no-dashboard", "--host", "127.0.0.1")
    scheduler = _command("dask_scheduler", *file, "--port", "0")
    several = ("--nworkers", "2", "--nthreads", "1", "--local-directory", str(folder / "scratch"))
    workers = _command("dask_worker", *file, *several)
    try:
        deadline = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield path, workers
    finally:
        for process in (workers, scheduler):
            process.terminate()
            process.wait()


def alive(workers: subprocess.Popen) -> list[psutil.Process]:
    """The processes that compute, below their nannies."""
    found = psutil.Process(workers.pid).children()
    return [process for process in found if "spawn_main" in " ".join(process.cmdline())]


def test_random_kills_lose_nothing(tmp_path: Path) -> None:
    print(f"SEED={SEED}")
    rng = random.Random(SEED)
    expected = extract(tmp_path / "here", Logged.model_validate(logged(tmp_path, 0.0)), None)
    folder = tmp_path / "there"
    folder.mkdir()
    kills = runs = 0
    with started(tmp_path) as (scheduler, workers):
        while kills < KILLS or not (folder / "out/mfcc.h5").exists():
            driver = PROCESSES.Process(target=drive, args=(folder, scheduler))
            driver.start()
            runs += 1
            assert runs < 2 * KILLS + 5
            while driver.is_alive():
                driver.join(rng.uniform(0.5, 3.0))
                if driver.is_alive() and kills < KILLS:
                    kill(rng, driver, workers)
                    kills += 1
            assert driver.exitcode in {0, -signal.SIGKILL}
            if kills < KILLS:  # a run that was killed, or one that was faster than its kills
                shutil.rmtree(folder / "out", ignore_errors=True)
            if driver.exitcode == 0 and kills < KILLS:
                shutil.rmtree(folder / "kept")
    assert (folder / "out/mfcc.h5").read_bytes() == expected


def kill(rng: random.Random, driver: BaseProcess, workers: subprocess.Popen) -> None:
    """Kill the driver or a worker."""
    victims = alive(workers)
    if rng.random() < 0.3 or not victims:
        driver.kill()
        driver.join()
    else:
        rng.choice(victims).kill()
