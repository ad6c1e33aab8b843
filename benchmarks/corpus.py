"""Time of ``dvc repro parse`` on a corpus of the full release's size.

``python -m benchmarks.corpus`` clones the committed repository into a temporary folder and makes
the tree of ``benchmarks/release.py`` beside it, with a few bytes in each media file and 30,000
further files that no stage reads, as of motion capture. It prints JSON and a Markdown table with
the seconds of the first run, of a run with nothing to do (median of several), and of a run after
one label has changed. For the last one, the seconds of the stage's own command are given too: the
rest is DVC, which goes through the whole tree several times.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import release, results
from benchmarks.repro import Clone
from pipeline import params

OTHER_FILES = 30_000


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="runs with nothing to do")
    parser.add_argument(
        "--beside", type=int, default=OTHER_FILES, help="number of files that no stage reads"
    )
    parser.add_argument("--folder", type=Path, help="for clone and tree; default: temporary")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        results.show(measure(Path(folder), options.repeat, options.beside))


def measure(folder: Path, repeat: int, beside: int) -> list[dict[str, str | float]]:
    """Return one row per kind of run."""
    root = make_tree(folder / "IEMOCAP_full_release", beside)
    clone = Clone(folder)
    raw = params.read_yaml(clone.params)
    raw["corpus"]["root"] = str(root)
    clone.params.write_text(params.as_yaml(raw), encoding="utf-8")

    first = clone.repro("parse")
    nothing = statistics.median(clone.repro("parse", idle=True) for _ in range(repeat))
    label = release.labels_file(root, "Ses03F_impro01")
    text = label.read_text(encoding="utf-8")
    label.write_text(text.replace("\tang\t", "\tfru\t", 1), encoding="utf-8")
    changed = clone.repro("parse")
    seconds = {
        "the first time": first,
        "nothing to do": nothing,
        "one changed label": changed,
        "of that, the stage": clone.seconds()["parse"],
    }
    return [{"run": name, "s": round(taken, 2)} for name, taken in seconds.items()]


def make_tree(root: Path, beside: int) -> Path:
    """Write the tree of full size with small media files and `beside` files that no stage reads."""
    release.make_full(root)
    for path in itertools.chain(root.rglob("*.wav"), root.rglob("*.avi")):
        path.write_text(path.name, encoding="utf-8")
    dialogs = [dialog for session in range(1, 6) for dialog in release.full_dialogs(session)]
    for number, dialog in zip(range(beside), itertools.cycle(dialogs), strict=False):
        folder = root / release.session(dialog) / "dialog/MOCAP_rotated" / dialog
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text("1 0.0 1.25\n", encoding="utf-8")
    return root


if __name__ == "__main__":
    main()
