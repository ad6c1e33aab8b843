"""Time to check and to parse a tree of the full release's size.

``python -m benchmarks.full_release`` makes the tree of ``benchmarks/release.py`` in a temporary
folder and prints JSON and a Markdown table. Both tasks run on one core and open no media, which are
empty in that tree.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import release, results
from benchmarks.extraction import race


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full_release", description=__doc__)
    parser.add_argument("--root", type=Path, help="an existing tree, such as a real copy")
    parser.add_argument("--repeat", type=int, default=3, help="runs, of which the fastest counts")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or release.make_full(Path(folder) / "IEMOCAP_full_release")
        results.show(measure(root, Path(folder) / "interim", options.repeat))


def measure(root: Path, interim: Path, repeat: int) -> dict[str, float]:
    """Return the number of dialogs and utterances at `root` and the seconds of each task."""

    def check() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            release.command(["check", str(root)])

    def parse() -> None:
        release.write(release.parse(root), interim)

    seconds, _ = race({"check_s": check, "parse_s": parse}, repeat)
    report = json.loads((interim / "parse.json").read_text("utf-8"))
    sizes = {name: report[name] for name in ("dialogs", "utterances")}
    return sizes | {name: round(taken, 2) for name, taken in seconds.items()}


if __name__ == "__main__":
    main()
