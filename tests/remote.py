"""Tasks of tests that workers of a cluster import, which share a folder."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

from pipeline import InputError


def touch(name: str) -> None:
    Path(name).write_text(str(os.getpid()))


def fail(name: str) -> None:
    if name == "bad":
        raise InputError("bad: is no task")
    touch(name)


def die(name: str) -> None:
    if name == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    touch(name)


def die_once(name: str) -> None:
    if not Path("died").exists():
        touch("died")
        os.kill(os.getpid(), signal.SIGKILL)
    touch(name)


def lose_the_disk(name: str) -> None:
    if not Path("lost").exists():
        touch("lost")
        raise OSError(errno.ESTALE, "Stale file handle")
    touch(name)


def begin(name: str) -> None:
    with Path("order").open("a") as file:
        file.write(f"{name} ")
