"""Time of the whole ``dvc repro``, and what of it each stage, DVC and the start of processes take.

``python -m benchmarks.repro`` clones the repository as it is committed into a temporary folder,
where DVC's cache is empty, runs ``dvc repro --force`` there on the embedded corpus, then
``dvc repro`` with nothing to do, and prints JSON and a Markdown table. A stage's seconds are those
of its command, timed from within; what the whole takes beyond them is DVC's own: its start, hashes
and the cache. ``start-up s`` is how long a new interpreter takes to import the stage's module, the
median of several; what a stage imports later, when it is needed, counts as its work.
"""

from __future__ import annotations

import argparse
import os
import re
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
# times the command of a stage; DVC names the stage in the environment
WRAPPER = """#!/bin/sh
start=$(date +%s.%N)
"{python}" "$@"
status=$?
echo "$DVC_STAGE $start $(date +%s.%N)" >> "{log}"
exit $status
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.repro", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="runs of what is short (%(default)s)")
    parser.add_argument("--small", action="store_true", help="a few dialogs and epochs only")
    parser.add_argument("--folder", type=Path, help="for the clone; default: temporary")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = measure(Path(folder), options.repeat, small=options.small)
    results.show(rows)


def measure(folder: Path, repeat: int, *, small: bool) -> list[dict[str, str | float]]:
    """Return one row per stage, then DVC, all of them together, and a run with nothing to do."""
    clone, commands, log = folder / "clone", folder / "bin", folder / "seconds.txt"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    if small:
        _shrink(clone / "params.yaml")
    commands.mkdir()
    write_wrapper(commands / "python", log)

    whole = _repro(clone, commands)
    seconds = read_seconds(log)
    start_up = {stage: _start_up(stage, clone, repeat) for stage in seconds}
    nothing = statistics.median(_nothing(clone) for _ in range(repeat))

    rows = [_row(stage, taken, start_up[stage], whole) for stage, taken in seconds.items()]
    rows.append(_row("DVC itself", whole - sum(seconds.values()), 0.0, whole))
    rows.append(_row("all", whole, sum(start_up.values()), whole))
    rows.append(_row("nothing to do", nothing, 0.0, whole))
    return rows


def write_wrapper(path: Path, log: Path) -> None:
    """Write a command that runs this interpreter, and adds stage, start and end to a log."""
    path.write_text(WRAPPER.format(python=sys.executable, log=log), encoding="utf-8")
    path.chmod(0o755)


def read_seconds(log: Path) -> dict[str, float]:
    """Return the seconds of each stage in the log of a wrapper, in the pipeline's order."""
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


def _repro(clone: Path, commands: Path) -> float:
    """Seconds of the whole pipeline; says on the standard error which stage runs."""
    search = f"{commands}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "dvc", "repro", "--force"]
    start = time.perf_counter()
    with (
        (clone.parent / "errors.txt").open("w+", encoding="utf-8") as errors,
        subprocess.Popen(
            command,
            cwd=clone,
            env={**os.environ, "PATH": search, "PYTHONPATH": ""},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.match(r"Running stage '([\w/.:]+)'", line):
                print(f"repro: {found[1]}", file=sys.stderr, flush=True)
        status = process.wait()
        seconds = time.perf_counter() - start
        if status:
            errors.seek(0)
            print(errors.read(), file=sys.stderr)
            raise subprocess.CalledProcessError(status, command)
    return seconds


def _nothing(clone: Path) -> float:
    """Seconds of a run that finds all up to date."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=clone,
        check=True,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - start
    if "up to date" not in done.stdout:
        raise RuntimeError(f"dvc repro had something to do:\n{done.stdout}")
    return seconds


def _start_up(stage: str, clone: Path, repeat: int) -> float:
    """Median seconds of an interpreter that imports a stage and ends."""
    module = "embedded.__main__" if stage == "embedded" else f"stages.{stage}"
    taken = []
    for _ in range(repeat):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {module}"], cwd=clone, check=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _shrink(path: Path) -> None:
    """Change a parameter file to a run of less than a minute."""
    raw = params.read_yaml(path)
    raw["embedded"]["dialogs_per_session"] = 1
    raw["train"]["epochs"] = 2
    path.write_text(params.as_yaml(raw), encoding="utf-8")


if __name__ == "__main__":
    main()
