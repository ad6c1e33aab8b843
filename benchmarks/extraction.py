"""What the benchmarks of extractions share: their command line, and racing two ways of the work."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from pipeline import InputError
from pipeline.corpus.table import read_table
from pipeline.corpus.utterance import from_table
from pipeline.features.extraction import extract
from pipeline.features.extractor import Context, Extractor
from pipeline.system import compute
from pipeline.system.hdf5 import reading

RELEASE = "IEMOCAP_full_release"  # in the embedded corpus
Task = Callable[[], list[np.ndarray]]
Kind = TypeVar("Kind")


def command(
    modality: str,
    description: str | None,
    measure: Callable[[pd.DataFrame, Path, int], dict[str, float]],
    *,
    dialogs: int,
    repeat: int = 3,
    joined: int = 1,
    arguments: Sequence[str] | None,
) -> None:
    """Run the command line of a benchmark.

    Parameters
    ----------
    modality
        Name of the benchmark and of its table.
    description
        What ``--help`` says.
    measure
        Makes a row of figures of the table's rows, the corpus's folder and the number of runs.
    dialogs
        How many are taken by default.
    repeat
        Runs by default.
    joined
        How many of them count as one.
    arguments
        Of the command line; None for the process's own.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{modality}", description=description
    )
    folder, tables = Path("data/raw/embedded"), Path("data/interim/embedded")
    parser.add_argument("--corpus", type=Path, default=folder, help=f"default: {folder}")
    parser.add_argument("--interim", type=Path, default=tables, help=f"default: {tables}")
    parser.add_argument(
        "--dialogs",
        type=int,
        default=dialogs,
        help=f"how many are read; if there are fewer, some again; default: {dialogs}",
    )
    parser.add_argument(
        "--repeat",
        type=int,
        default=repeat,
        help=f"runs; the fastest of each counts; default: {repeat}",
    )
    options = parser.parse_args(arguments)
    compute.large_pages()  # as the stages do
    path = options.interim / f"{modality}.csv"
    for needed in (options.corpus / RELEASE, path):
        if not needed.exists():
            parser.error(f"{needed} is missing; run `dvc repro parse`")
    try:
        result = measure(_rows(path, options.dialogs, joined), options.corpus, options.repeat)
    except InputError as error:
        parser.error(str(error))
    print(json.dumps(result, indent=2))
    print(f"\n| {' | '.join(result)} |\n|{'---:|' * len(result)}")
    print(f"| {' | '.join(f'{value:,}' for value in result.values())} |")


def _rows(path: Path, dialogs: int, joined: int = 1) -> pd.DataFrame:
    """Rows of the first dialogs, which are numbered, since one may be there several times."""
    known = [rows for _, rows in read_table(path).groupby("dialog", sort=False)]
    chosen = [known[n % len(known)].assign(dialog=f"{n // joined:05d}") for n in range(dialogs)]
    return pd.concat(chosen, ignore_index=True)


def stream_of(streams: Mapping[str, Any], kind: type[Kind]) -> tuple[str, Kind]:
    """Name and extractor of the first stream in ``params.yaml`` that has an extractor of a kind.

    Raises
    ------
    InputError
        If there is none.
    """
    for name, extractor in streams.items():
        if isinstance(extractor, kind):
            return name, extractor
    raise InputError(f"params.yaml: no stream has the extractor {kind.__name__}, measured here")


def race(
    tasks: Mapping[str, Task], repeat: int
) -> tuple[dict[str, float], dict[str, list[np.ndarray]]]:
    """Let tasks take turns; return the fastest seconds of each, and what it gave last."""
    seconds = dict.fromkeys(tasks, math.inf)
    results = {}
    for _ in range(repeat):
        for name, task in tasks.items():
            start = time.perf_counter()
            results[name] = task()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds, results


def extracted(
    modality: str,
    streams: Mapping[str, Extractor],
    rows: pd.DataFrame,
    context: Context,
    workers: int = 1,
) -> list[np.ndarray]:
    """Values of each stream that the real extraction writes, read back from its file."""
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
        )
        found = []
        for stream in streams:
            with reading(folder / "streams" / f"{stream}.h5") as file:
                found.append(file["values"][:])
    return found
