"""Results of the benchmarks: targets, files and tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import ge, le, lt
from pathlib import Path
from typing import Any

Row = Mapping[str, str | float]
Rows = Sequence[Row]

_COMPARE: dict[str, Callable[[float, float], bool]] = {"≥": ge, "≤": le, "<": lt}


class FigureError(ValueError):
    """Rows without the figure of a target, or results that must not be mixed."""


@dataclass(frozen=True)
class Target:
    """The target of a figure.

    Attributes
    ----------
    figure
        What is measured, in words.
    measure
        Extracts the figure from the benchmark's rows.
    relation, bound
        The figure should be ``≥``, ``≤`` or ``<`` this number.
    unit
        Unit of figure and bound.
    """

    figure: str
    measure: Callable[[Rows], float]
    relation: str
    bound: float
    unit: str = ""

    def row(self, rows: Rows) -> dict[str, str | float]:
        """Return the row of the summary.

        Raises
        ------
        FigureError
            If the rows lack the figure.
        """
        try:
            value = self.measure(rows)
        except (KeyError, StopIteration) as error:
            raise FigureError(f"no such figure in the rows: {self.figure}") from error
        return {
            "figure": self.figure,
            "target": f"{self.relation} {self.bound:g}{self.unit}",
            "measured": f"{value:g}{self.unit}",
            "met": "yes" if _COMPARE[self.relation](value, self.bound) else "no",
        }


@dataclass(frozen=True)
class Benchmark:
    """A command of this package.

    Attributes
    ----------
    title
        What it measures.
    targets
        Targets of its figures.
    quick
        Options of a run of about half a minute, whose figures mean little.
    """

    title: str
    targets: tuple[Target, ...]
    quick: tuple[str, ...]


def _the(column: str, **where: str) -> Callable[[Rows], float]:
    """Take a column of the last row that has the values `where` in other columns."""

    def measure(rows: Rows) -> float:
        chosen = (row for row in reversed(rows) if where.items() <= row.items())
        return float(next(chosen)[column])

    return measure


def _of_grouped(column: str) -> Callable[[Rows], float]:
    """Take the seconds of float32 relative to those of one group per utterance."""

    def measure(rows: Rows) -> float:
        grouped = _the(column, layout="one group per utterance")(rows)
        return round(_the(column, layout="float32")(rows) / grouped, 2)

    return measure


# those of dvc.yaml, and that of embedded/dvc.yaml
STAGES = (
    *("embedded", "weights", "parse", "audio", "text", "visual"),
    *("store", "train", "evaluate"),
)

BENCHMARKS = {
    "audio": Benchmark(
        "Audio extraction",
        (Target("audio extraction / plain loop", _the("times_plain"), "≥", 1.7),),
        ("--dialogs=20", "--repeat=1"),
    ),
    "visual": Benchmark(
        "Visual extraction",
        (Target("visual extraction / bare forward pass", _the("percent_of_bare"), "≥", 90, " %"),),
        ("--dialogs=1", "--repeat=1"),
    ),
    "decoding": Benchmark(
        "Decoding of films",
        (Target("decoding in two processes / in one", _the("times_one"), "≥", 1.8),),
        ("--dialogs=4", "--repeat=1"),
    ),
    "text": Benchmark(
        "Text extraction",
        (
            Target("text extraction / one by one", _the("times_one_by_one"), "≥", 3),
            Target("padding of texts", _the("% padding"), "<", 10, " %"),
        ),
        ("--dialogs=8", "--repeat=1"),
    ),
    "speech": Benchmark(
        "Extraction with a speech encoder",
        (
            Target("speech encoder / one by one", _the("times_one_by_one"), "≥", 2),
            Target("padding of the encoder's batches", _the("% padding"), "<", 10, " %"),
        ),
        ("--dialogs=2", "--layers=1"),
    ),
    "store": Benchmark(
        "Size and reading of the store",
        (
            Target("float32 store / padded", _the("% of padded", layout="float32"), "≤", 55, " %"),
            Target("float16 store / padded", _the("% of padded", layout="float16"), "≤", 28, " %"),
            *(
                Target(
                    f"epoch {column[2:]} / one group per utterance", _of_grouped(column), "≤", 0.5
                )
                for column in ("s from disk", "s from cache")
            ),
        ),
        ("--scale=0.03",),
    ),
    "training": Benchmark(
        "Training",
        (
            Target("training / plain loop", _the("times plain", loop="ours"), "≥", 2),
            Target("training / bare GRUs", _the("% of bare", loop="ours"), "≥", 70, " %"),
            Target("padding of its batches", _the("% padding", loop="ours"), "<", 10, " %"),
        ),
        ("--utterances=256",),
    ),
    "repro": Benchmark(
        "The whole pipeline",
        (Target("`dvc repro` with nothing to do", _the("s", stage="nothing to do"), "<", 3, " s"),),
        ("--small",),
    ),
    "memory": Benchmark(
        "Peak memory as the corpus grows",
        tuple(
            Target(
                f"memory of {stage}, largest corpus / 1x", _the("times 1x", stage=stage), "<", 1.1
            )
            for stage in STAGES
        ),
        ("--growth", "1", "2", "--utterances=64", "--batch-size=8"),
    ),
    "full_release": Benchmark(
        "A tree of the full release's size",
        (
            Target("check of the full release", _the("check_s"), "<", 20, " s"),
            Target("parse of the full release", _the("parse_s"), "<", 20, " s"),
        ),
        ("--repeat=1",),
    ),
    "corpus": Benchmark(
        "A corpus of full size under DVC",
        (
            Target(
                "`dvc repro parse`, nothing to do", _the("s", run="nothing to do"), "<", 8, " s"
            ),
            Target("parse, one changed label", _the("s", run="of that, the stage"), "<", 5, " s"),
        ),
        ("--repeat=1", "--beside=300"),
    ),
}


def parse(printed: str) -> list[dict[str, str | float]]:
    """Return the rows that a benchmark printed as JSON before its table."""
    rows, _ = json.JSONDecoder().raw_decode(printed)
    return rows if isinstance(rows, list) else [rows]


def read(path: Path, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results of an earlier run by benchmark; empty if there was none.

    Raises
    ------
    FigureError
        If they are of another machine or of other versions.
    """
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["machine"] != machine:
        raise FigureError(
            f"{path}: is of another machine or other versions; run all benchmarks, or set another "
            "folder with --output"
        )
    return content["benchmarks"]


def write(folder: Path, machine: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """Write ``results.json`` and ``results.md``.

    Parameters
    ----------
    folder
        Output folder.
    machine
        Cores, processor, device, versions.
    results
        ``options`` and ``rows`` of each benchmark.
    """
    ordered = {name: results[name] for name in BENCHMARKS if name in results}
    text = json.dumps({"machine": machine, "benchmarks": ordered}, indent=2, ensure_ascii=False)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    (folder / "results.md").write_text(render(machine, ordered), encoding="utf-8")


def render(machine: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """Render a Markdown page: all targets with their figures, then the rows of each benchmark."""
    summary = [
        target.row(result["rows"])
        for name, result in results.items()
        for target in BENCHMARKS[name].targets
    ]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    parts = [
        "# Figures\n\nThis page is written by `python -m benchmarks`; do not edit it.",
        f"{machine['cores']} cores of {machine['processor']}; models on {machine['device']}; "
        f"{versions}.",
        table(summary) if summary else "",
    ]
    if missing := [name for name in BENCHMARKS if name not in results]:
        parts.append(f"Not measured: {', '.join(missing)}.")
    if small := [name for name, result in results.items() if result["options"]]:
        parts.append(f"Run with small sizes, so that the figures mean little: {', '.join(small)}.")
    for name, result in results.items():
        command = " ".join(["python -m", f"benchmarks.{name}", *result["options"]])
        parts.append(f"## {BENCHMARKS[name].title}\n\n`{command}`\n\n{table(result['rows'])}")
    return "\n\n".join(filter(None, parts)) + "\n"


def table(rows: Rows) -> str:
    """Return rows of the same columns as a Markdown table; numbers are right-aligned."""
    first = rows[0]
    rule = "".join("---|" if isinstance(value, str) else "---:|" for value in first.values())
    lines = [f"| {' | '.join(first)} |", f"|{rule}"]
    for row in rows:
        cells = (v if isinstance(v, str) else f"{v:,}" for v in row.values())
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def show(rows: Row | Rows) -> None:
    """Print one row or several as JSON, then as a Markdown table."""
    print(json.dumps(rows, indent=2))
    print(f"\n{table([rows] if isinstance(rows, Mapping) else rows)}")
