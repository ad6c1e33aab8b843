"""The common part of the extraction benchmarks: command line, timing, and the extraction itself."""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from benchmarks import results
from pipeline import InputError
from pipeline.corpus.table import read_table
from pipeline.corpus.utterance import from_table
from pipeline.features.extraction import extract
from pipeline.features.extractor import Context, Extractor
from pipeline.system import compute
from pipeline.system.cluster import Cluster
from pipeline.system.hdf5 import reading

RELEASE = "IEMOCAP_full_release"  # folder in data/raw/embedded
Task = Callable[[], list[np.ndarray]]
Kind = TypeVar("Kind")
Result = TypeVar("Result")


def command(
    name: str,
    description: str | None,
    measure: Callable[[pd.DataFrame, Path, int], results.Row | results.Rows],
    arguments: Sequence[str] | None = None,
    *,
    dialogs: int,
    repeat: int = 3,
    joined: int = 1,
    table: str = "",
) -> None:
    """Run the command line of a benchmark.

    Parameters
    ----------
    name
        Of the benchmark.
    description
        Text of ``--help``.
    measure
        Takes the rows of the table, the corpus's folder and the number of runs; returns one row of
        figures by name, or several.
    arguments
        Command-line arguments; None for those of the process.
    dialogs
        Default number of dialogs.
    repeat
        Default number of runs.
    joined
        Number of dialogs to merge into one.
    table
        Name of the table, if it is not that of the benchmark.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    default = "default: %(default)s"
    parser.add_argument("--corpus", type=Path, default=Path("data/raw/embedded"), help=default)
    parser.add_argument("--interim", type=Path, default=Path("data/interim/embedded"), help=default)
    parser.add_argument(
        "--dialogs",
        type=int,
        default=dialogs,
        help=f"number of dialogs; they are repeated if the corpus has fewer; {default}",
    )
    parser.add_argument(
        "--repeat", type=int, default=repeat, help=f"runs, of which the fastest counts; {default}"
    )
    options = parser.parse_args(arguments)
    compute.large_pages()  # as the stages do
    path = options.interim / f"{table or name}.csv"
    for required in (options.corpus / RELEASE, path):
        if not required.exists():
            parser.error(f"{required} is missing; run `dvc repro parse`")
    try:
        results.show(measure(_rows(path, options.dialogs, joined), options.corpus, options.repeat))
    except InputError as error:
        parser.error(str(error))


def _rows(path: Path, dialogs: int, joined: int = 1) -> pd.DataFrame:
    """Rows of the first dialogs, which get new ids, since a dialog may be repeated."""
    each = [rows for _, rows in read_table(path).groupby("dialog", sort=False)]
    chosen = [each[n % len(each)].assign(dialog=f"{n // joined:05d}") for n in range(dialogs)]
    return pd.concat(chosen, ignore_index=True)


def stream_of(streams: Mapping[str, Any], kind: type[Kind]) -> tuple[str, Kind]:
    """Name and extractor of the first stream in ``params.yaml`` whose extractor is of a class.

    Raises
    ------
    InputError
        If there is none.
    """
    for name, extractor in streams.items():
        if isinstance(extractor, kind):
            return name, extractor
    raise InputError(
        f"params.yaml: no stream has the extractor {kind.__name__}, which is measured here"
    )


def race(
    tasks: Mapping[str, Callable[[], Result]], repeat: int
) -> tuple[dict[str, float], dict[str, Result]]:
    """Run the tasks in turn `repeat` times; return least seconds and last result of each."""
    seconds = dict.fromkeys(tasks, math.inf)
    last = {}
    for _ in range(repeat):
        for name, task in tasks.items():
            start = time.perf_counter()
            last[name] = task()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds, last


def extracted(
    modality: str,
    streams: Mapping[str, Extractor],
    rows: pd.DataFrame,
    context: Context,
    *,
    workers: int = 1,
    cluster: Cluster | None = None,
) -> list[np.ndarray]:
    """Run the extraction of the stage; return the values of each stream, read from its file."""
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(name)
        extract(
            modality,
            streams,
            from_table(rows),
            context,
            kept=folder / "kept",
            output=folder / "streams",
            workers=workers,
            cluster=cluster,
        )
        values = []
        for stream in streams:
            with reading(folder / "streams" / f"{stream}.h5") as file:
                values.append(file["values"][:])
    return values
