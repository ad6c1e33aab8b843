"""Time of the whole ``dvc repro``, divided into stages, DVC itself and start-up.

``python -m benchmarks.repro`` clones the committed repository into a temporary folder, where DVC's
cache is empty, runs ``dvc repro --force`` on the embedded corpus, then ``dvc repro`` with nothing
to do, and prints JSON and a Markdown table. The seconds of a stage are those of its command; the
rest is DVC itself: its start, hashing and the cache. ``start-up s`` is the time in which a new
interpreter imports the stage's module (median of several); later imports count as the stage's work.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import results
from pipeline import params

ROOT = Path(__file__).parents[1]
# times the command of a stage, whose name DVC sets in the environment
WRAPPER = """#!/bin/sh
start=$(date +%s.%N)
"{python}" "$@"
status=$?
echo "$DVC_STAGE $start $(date +%s.%N)" >> "{log}"
exit $status
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.repro", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="runs of short tasks (%(default)s)")
    parser.add_argument("--small", action="store_true", help="few dialogs and epochs")
    parser.add_argument("--folder", type=Path, help="for the clone; default: temporary")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        results.show(measure(Path(folder), options.repeat, small=options.small))


def measure(folder: Path, repeat: int, *, small: bool) -> list[dict[str, str | float]]:
    """Return one row per stage, then DVC itself, the whole run, and a run with nothing to do."""
    clone = Clone(folder)
    if small:
        shrink(clone.params)
    whole = clone.repro("--force")
    seconds = clone.seconds()
    start_up = {stage: _start_up(stage, clone.folder, repeat) for stage in seconds}
    nothing = statistics.median(clone.repro(idle=True) for _ in range(repeat))

    rows = [_row(stage, taken, start_up[stage], whole) for stage, taken in seconds.items()]
    rows.append(_row("DVC itself", whole - sum(seconds.values()), 0.0, whole))
    rows.append(_row("all", whole, sum(start_up.values()), whole))
    rows.append(_row("nothing to do", nothing, 0.0, whole))
    return rows


class Clone:
    """A clone of the committed repository in `folder`, whose stages are timed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        self.params = self.folder / "params.yaml"
        self._log, self._commands = folder / "seconds.txt", folder / "bin"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.folder)], check=True)
        self._commands.mkdir()
        write_wrapper(self._commands / "python", self._log)

    def repro(self, *arguments: str, idle: bool = False) -> float:
        """Return the seconds of ``dvc repro``; its output goes to the standard error.

        Raises
        ------
        RuntimeError
            If `idle`, and a stage was run.
        """
        self._log.unlink(missing_ok=True)
        path = f"{self._commands}{os.pathsep}{os.environ['PATH']}"
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "dvc", "repro", *arguments],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "PYTHONPATH": ""},
            check=True,
            stdout=sys.stderr,
        )
        seconds = time.perf_counter() - start
        if idle and self._log.exists():
            raise RuntimeError(f"dvc repro ran a stage: {', '.join(self.seconds())}")
        return seconds

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage of the last run."""
        return read_seconds(self._log)


def write_wrapper(path: Path, log: Path) -> None:
    """Write a command that runs this interpreter and logs the stage with its start and end."""
    path.write_text(WRAPPER.format(python=sys.executable, log=log), encoding="utf-8")
    path.chmod(0o755)


def read_seconds(log: Path) -> dict[str, float]:
    """Return the seconds of each stage in a wrapper's log, in the order of the pipeline."""
    seconds = {}
    for line in log.read_text("utf-8").splitlines():
        stage, start, end = line.split()
        stage = stage.partition("/dvc.yaml:")[0]  # embedded/dvc.yaml:make
        seconds[stage] = float(end) - float(start)
    return {stage: seconds[stage] for stage in results.STAGES if stage in seconds}


def _row(stage: str, seconds: float, start_up: float, whole: float) -> dict[str, str | float]:
    return {
        "stage": stage,
        "s": round(seconds, 2),
        "% of all": round(100 * seconds / whole, 1),
        "start-up s": round(start_up, 2),
        "start-up, % of all": round(100 * start_up / whole, 1),
    }


def _start_up(stage: str, clone: Path, repeat: int) -> float:
    """Median seconds in which an interpreter starts, imports a stage and ends."""
    module = "embedded.__main__" if stage == "embedded" else f"stages.{stage}"
    taken = []
    for _ in range(repeat):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {module}"], cwd=clone, check=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def shrink(path: Path) -> None:
    """Change a parameter file to a run of less than a minute."""
    raw = params.read_yaml(path)
    raw["embedded"]["dialogs_per_session"] = 1
    raw["train"]["epochs"] = 2
    path.write_text(params.as_yaml(raw), encoding="utf-8")


if __name__ == "__main__":
    main()
