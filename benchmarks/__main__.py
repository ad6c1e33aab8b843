"""All benchmarks, one after another, each in a process of its own.

``python -m benchmarks`` writes the rows of each to ``benchmarks/results.json``, and a page with all
tables, the targets first, to ``benchmarks/results.md``. It takes about half an hour on two cores,
which should have nothing else to do. Audio, visual and text read the embedded corpus that ``dvc
repro parse`` makes. If a benchmark fails, the others still run; the command then names
it and ends with status 1. A target that is not met is no failure.
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
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=BENCHMARKS,
        metavar="NAME",
        help=f"run these and keep the other results: {', '.join(BENCHMARKS)}",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that all run")
    parser.add_argument("--output", type=Path, default=FOLDER, help="default: %(default)s")
    options = parser.parse_args(arguments)
    facts = machine()
    kept = {}
    try:
        if options.only:
            kept = results.read(options.output / "results.json", facts)
    except FigureError as error:
        parser.error(str(error))
    names = [name for name in BENCHMARKS if name in (options.only or BENCHMARKS)]
    failed = measure(names, kept, options.output, facts, quick=options.quick)
    if failed:
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
        Of the benchmarks.
    kept
        Results of earlier runs. Those of `names` are replaced; of one that fails none is left.
    folder
        For ``results.json`` and ``results.md``.
    facts
        From :func:`machine`.
    quick
        Small sizes.
    run
        Takes name and options of a benchmark, returns what it printed, and raises
        ``CalledProcessError`` if that failed; by default :func:`run_command`.
    """
    found, failed = dict(kept), []
    for number, name in enumerate(names, 1):
        print(f"[{number}/{len(names)}] {name}", file=sys.stderr, flush=True)
        options = BENCHMARKS[name].quick if quick else ()
        found.pop(name, None)
        try:
            rows = results.parse((run or run_command)(name, options))
            for target in BENCHMARKS[name].targets:
                target.row(rows)
        except (subprocess.CalledProcessError, ValueError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed.append(name)
        else:
            found[name] = {"options": list(options), "rows": rows}
        results.write(folder, facts, found)
    return failed


def run_command(name: str, options: Sequence[str]) -> str:
    """What a benchmark prints, run in a new process; its errors go where ours go."""
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
    """What explains figures: cores, processor, where models run, versions."""
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
    """Name of the CPU as Linux tells it; elsewhere its architecture."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", path.read_text("utf-8")) if path.exists() else None
    return found[1] if found else platform.machine()


if __name__ == "__main__":
    main()
