"""What a corpus of the full release's size costs DVC and the stage `parse`, run after run.

``python -m benchmarks.corpus`` clones the repository as it is committed into a temporary folder,
makes the tree of ``benchmarks/release.py`` beside it, with a few bytes in each recording and video
and 30,000 files that nobody reads, as motion capture has, and prints JSON and a Markdown table.
Seconds of ``dvc repro parse`` the first time, with nothing to do (the median of several), and after
one changed label; of the last also those of the stage's own command, since DVC goes through the
whole tree several times when a stage runs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import release, results
from benchmarks.repro import read_seconds, write_wrapper
from pipeline import params

ROOT = Path(__file__).parents[1]
BESIDE = 30_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="runs with nothing to do")
    parser.add_argument("--beside", type=int, default=BESIDE, help="files that nobody reads")
    parser.add_argument("--folder", type=Path, help="for clone and tree; default: temporary")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        results.show(measure(Path(folder), options.repeat, options.beside))


def measure(folder: Path, repeat: int, beside: int) -> list[dict[str, str | float]]:
    """Return one row per kind of run."""
    root = make_tree(folder / "IEMOCAP_full_release", beside)
    clone, commands, log = folder / "clone", folder / "bin", folder / "seconds.txt"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    raw = params.read_yaml(clone / "params.yaml")
    raw["corpus"]["root"] = str(root)
    (clone / "params.yaml").write_text(params.as_yaml(raw), encoding="utf-8")
    commands.mkdir()
    write_wrapper(commands / "python", log)

    first = _repro(clone, commands)
    nothing = statistics.median(_repro(clone, commands) for _ in range(repeat))
    log.unlink()
    label = release.labels_file(root, "Ses03F_impro01")
    text = label.read_text(encoding="utf-8")
    label.write_text(text.replace("\tang\t", "\tfru\t", 1), encoding="utf-8")
    changed = _repro(clone, commands)
    seconds = {
        "the first time": first,
        "nothing to do": nothing,
        "one changed label": changed,
        "of that, the stage": read_seconds(log)["parse"],
    }
    return [{"run": name, "s": round(taken, 2)} for name, taken in seconds.items()]


def make_tree(root: Path, beside: int) -> Path:
    """Write the tree of full size, with media of a few bytes and files that nobody reads."""
    release.make_full(root)
    for path in itertools.chain(root.rglob("*.wav"), root.rglob("*.avi")):
        path.write_text(path.name, encoding="utf-8")
    dialogs = [dialog for session in range(1, 6) for dialog in release.full_dialogs(session)]
    for number in range(beside):
        dialog = dialogs[number % len(dialogs)]
        folder = root / release.session(dialog) / "dialog/MOCAP_rotated" / dialog
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text("1 0.0 1.25\n", encoding="utf-8")
    return root


def _repro(clone: Path, commands: Path) -> float:
    """Seconds of a run of `parse`."""
    search = f"{commands}{os.pathsep}{os.environ['PATH']}"
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "parse"],
        cwd=clone,
        env={**os.environ, "PATH": search, "PYTHONPATH": ""},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
