"""The whole `dvc repro` killed at any moment, with all its processes: it ends with the same hashes.

So outputs do not depend on folder and time either. ``KILLS=50 pytest tests/test_kill_repro.py``
kills fifty times, and ``SEED=...``, which a failure prints, at the same moments again.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.clone import Clone

KILLS = int(os.environ.get("KILLS", "5"))
SEED = int(os.environ.get("SEED", str(random.SystemRandom().randrange(10**6))))
LIMIT = 600.0  # seconds in which a run ends
# what each stage writes last; DVC has recorded none of it yet
LAST = (
    "data/features/embedded/audio/prosody.h5",
    "data/features/embedded/text/bert.h5",
    "data/features/embedded/visual/resnet.h5",
    "data/features/embedded/store.h5",
    "models/fold-5.safetensors",
    "results/scenarios.json",
)

pytestmark = pytest.mark.slow


def start(clone: Clone) -> subprocess.Popen[bytes]:
    """`dvc repro` as the leader of a group of processes."""
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (clone.folder.parent / "printed.log").open("ab") as log:
        return subprocess.Popen(
            ["dvc", "repro"],
            cwd=clone.folder,
            env={**os.environ, "PATH": search, "PYTHONPATH": ""},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def run_until(clone: Clone, is_time: Callable[[], bool]) -> bool:
    """Run until it ends, or until it is time to kill it; whether it was killed."""
    process = start(clone)
    deadline = time.monotonic() + LIMIT
    while process.poll() is None and not is_time():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    killed = process.poll() is None
    if killed:
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    if not killed and code != 0:
        # the kill before hit DVC while it wrote one of its own files, which it does in place
        end = (clone.folder.parent / "printed.log").read_text()[-3000:]
        assert re.search(r"dvc\.lock' (is invalid|validation failed)|Unable to read RWLock", end), (
            end
        )
        print(f"recovered: {end.strip().splitlines()[-1]}")
        clone.run("make", "recover")  # as docs/experiments.md says
        return run_until(clone, is_time)
    return killed


def never() -> bool:
    return False


def passed(moment: float) -> bool:
    return time.monotonic() > moment


def one_is_there(awaited: list[Path]) -> bool:
    return any(path.exists() for path in awaited)


def moments(clone: Clone, chosen: random.Random) -> Iterator[Callable[[], bool]]:
    """When to kill: at random, and the moment after the last byte of each stage that has none."""
    while True:
        yield partial(passed, time.monotonic() + chosen.uniform(1, 25))
        awaited = [path for name in LAST if not (path := clone.folder / name).exists()]
        if awaited:
            yield partial(one_is_there, awaited)


def test_killed_again_and_again_it_ends_with_the_hashes_of_an_uninterrupted_run(
    tmp_path: Path,
) -> None:
    whole = Clone(tmp_path / "whole")
    whole.run("dvc", "repro")
    chosen = random.Random(SEED)
    print(f"SEED={SEED}")
    kills = 0
    while kills < KILLS:
        cut = Clone(tmp_path / f"cut-{kills}")
        for is_time in moments(cut, chosen):
            if not run_until(cut, is_time if kills < KILLS else never):
                break
            kills += 1
        assert cut.hashes() == whole.hashes()
        assert "up to date" in cut.run("dvc", "repro")
