"""Run all benchmarks, one after another, each in its own process.

``python -m benchmarks`` writes all rows to ``benchmarks/results.json`` and a page with the targets
and all tables to ``benchmarks/results.md``. It takes about half an hour on two otherwise idle
cores. Run ``dvc repro parse`` first: audio, visual, decoding and text read the embedded corpus. If
a benchmark fails, the others still run, and the command names it and exits with status 1. A missed
target is not a failure.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.results import BENCHMARKS, FigureError

FOLDER = Path(__file__).parent
PACKAGES = (
    *("torch", "numpy", "librosa", "opensmile", "opencv-python-headless", "transformers", "h5py"),
    "dvc",
)
Run = Callable[[str, Sequence[str]], str]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=BENCHMARKS,
        metavar="NAME",
        help=f"run only these and keep the other results: {', '.join(BENCHMARKS)}",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to check that all benchmarks run"
    )
    parser.add_argument(
        "--output", type=Path, default=FOLDER, help="folder of the results (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    facts = machine()
    try:
        kept = results.read(options.output / "results.json", facts) if options.only else {}
    except FigureError as error:
        parser.error(str(error))
    names = [name for name in BENCHMARKS if name in (options.only or BENCHMARKS)]
    if failed := measure(names, kept, options.output, facts, quick=options.quick):
        sys.exit(f"failed: {', '.join(failed)}")


def measure(
    names: Sequence[str],
    kept: dict[str, Any],
    folder: Path,
    facts: dict[str, Any],
    *,
    quick: bool = False,
    run: Run | None = None,
) -> list[str]:
    """Run benchmarks and write the results after each; return those that failed.

    Parameters
    ----------
    names
        The benchmarks to run.
    kept
        Results of earlier runs. Those of `names` are replaced, or dropped if the benchmark fails.
    folder
        Output folder of ``results.json`` and ``results.md``.
    facts
        From :func:`machine`.
    quick
        Whether to use small sizes.
    run
        Runs a benchmark by name and options and returns its output; raises
        ``CalledProcessError`` if it fails. By default :func:`run_command`.
    """
    measured, failed = dict(kept), []
    for number, name in enumerate(names, 1):
        print(f"[{number}/{len(names)}] {name}", file=sys.stderr, flush=True)
        options = BENCHMARKS[name].quick if quick else ()
        measured.pop(name, None)
        try:
            rows = results.parse((run or run_command)(name, options))
            for target in BENCHMARKS[name].targets:
                target.row(rows)
        except (subprocess.CalledProcessError, ValueError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed.append(name)
        else:
            measured[name] = {"options": list(options), "rows": rows}
        results.write(folder, facts, measured)
    return failed


def run_command(name: str, options: Sequence[str]) -> str:
    """Run a benchmark in a new process; return its standard output."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TQDM_DISABLE": "1"},
    )
    return done.stdout


def machine() -> dict[str, Any]:
    """The machine: cores, processor, torch device, and versions of libraries."""
    import torch

    from pipeline import params
    from pipeline.system import compute

    device = compute.device(params.load().compute.device)
    return {
        "cores": compute.processes(0),
        "processor": _processor(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU",
        "versions": {
            "Python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
    }


def _processor() -> str:
    """The CPU's model name on Linux; elsewhere its architecture."""
    path = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*:\s*(.+)", path.read_text("utf-8")) if path.exists() else None
    return name[1] if name else platform.machine()


if __name__ == "__main__":
    main()
