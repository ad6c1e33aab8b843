"""Time to check and to parse a tree of the full release's size, on one core.

``python -m benchmarks.full_release`` makes the tree of ``benchmarks/release.py`` in a temporary
folder, which is not timed, and prints JSON and a Markdown table. Media in it are empty: neither
opens them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import release, results


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full_release", description=__doc__)
    parser.add_argument("--root", type=Path, help="a tree that exists, such as a real copy")
    parser.add_argument("--repeat", type=int, default=3, help="runs; the fastest counts")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or release.make_full(Path(folder) / "IEMOCAP_full_release")
        with _one_core():
            result = measure(root, Path(folder) / "interim", options.repeat)
    results.show(result)


def measure(root: Path, interim: Path, repeat: int) -> dict[str, float]:
    """Return the sizes of the tree at `root` and the seconds that each task takes."""

    def check() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            release.command(["check", str(root)])

    def parse() -> None:
        release.write(release.parse(root), interim)

    seconds = {"check_s": _fastest(check, repeat), "parse_s": _fastest(parse, repeat)}
    report = json.loads((interim / "parse.json").read_text("utf-8"))
    return {"dialogs": report["dialogs"], "utterances": report["utterances"], **seconds}


def _fastest(task: Callable[[], None], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return round(min(times), 2)


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process on one core where the system can (Linux), and let go of it after."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


if __name__ == "__main__":
    main()
