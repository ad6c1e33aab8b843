"""Extraction dialog by dialog, resumable after a kill, in any number of processes.

Each finished dialog is a part file named by its dialog and keyed by all that decides its values:
the extractor's identity, the table's rows, size and modification time of its media. A run
that starts again computes only the parts that lack or have another key, then joins all of them in
the table's order, so its final bytes equal those of an uninterrupted run.

The parts outlive the run: DVC deletes a stage's outputs before it runs the stage again, so a kill
between the last byte and DVC's own record of it would cost everything. The stage `store`, which
runs after that record, removes them.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline import InputError
from pipeline.compute import start_worker
from pipeline.filesystem import lock, unreadable
from pipeline.hdf5 import SCHEMA_VERSION, reading, remove_remains, write_strings, writing
from pipeline.space import full_disk_reported, reserved

Arrays = dict[str, np.ndarray]
Layout = dict[str, tuple[tuple[int, ...], np.dtype]]  # shape and type by dataset

_REMEDY = "make room and start again: every finished dialog is kept in"


@dataclass(frozen=True)
class Problem:
    """An utterance whose features are missing or cut, and why."""

    utterance: str
    reason: str


class Extractor(Protocol):
    """Turns the rows of one dialog into arrays; picklable, heavy state built on first use.

    Arrays are named by their place in the store: ``<stream>/values`` ([sum of T, D] float32, or
    [n, P] for an utterance-level stream), ``<stream>/lengths`` ([n] int64; sequence streams only)
    and ``<stream>/<other>`` ([sum of T], aligned with the steps).
    """

    def identity(self) -> dict[str, Any]:
        """All that decides the values, as JSON: parameters, versions, hashes of weights."""

    def sources(self, rows: pd.DataFrame) -> list[Path]:
        """The media files that `rows` are read from; they may be missing."""

    def dialog(self, rows: pd.DataFrame) -> tuple[Arrays, list[Problem]]:
        """Features of all utterances of one dialog, in the rows' order."""

    def constants(self) -> Arrays:
        """Datasets of the whole corpus, such as a vocabulary."""


def extract(
    extractor: Extractor,
    table: pd.DataFrame,
    *,
    parts: Path,
    output: Path,
    report: Path,
    workers: int = 1,
    description: str = "extract",
) -> None:
    """Write the features of all utterances of `table` to `output` and its problems to `report`.

    Parameters
    ----------
    extractor
        The modality's extractor.
    table
        One row an utterance, sorted by id; needs the columns ``utterance`` and ``dialog``.
    parts
        Folder of finished dialogs; kept at the end too, until its owner deletes it.
    output, report
        An HDF5 file in the layout of :mod:`pipeline.store`, and a JSON file with counts.
    workers
        Processes; with 1 everything runs in this one.
    description
        Label of the progress bar.

    Raises
    ------
    InputError
        If the utterances of a dialog are not consecutive in `table`, or there are none; if another
        run writes the same parts; if the disk is full, with what is needed. All finished dialogs
        are kept.
    """
    dialogs = _dialogs(table)
    parts.mkdir(parents=True, exist_ok=True)
    with _alone(parts):
        identity = extractor.identity()
        keys = {dialog: _key(identity, extractor, rows) for dialog, rows in dialogs.items()}
        paths = {dialog: parts / f"{dialog}.npz" for dialog in dialogs}
        todo = [dialog for dialog in dialogs if _read_key(paths[dialog]) != keys[dialog]]

        left = sum(len(dialogs[dialog]) for dialog in todo)
        done = len(table) - left
        with tqdm(total=len(table), initial=done, desc=description, unit="utt") as bar:
            for dialog, arrays, problems in _compute(extractor, dialogs, todo, workers):
                rows = len(dialogs[dialog])
                size = sum(array.nbytes for array in arrays.values())
                # of the parts to come, and of all utterances in the joined file
                needed = size * (left + len(table)) // rows
                with full_disk_reported(parts, needed, f"{_REMEDY} {parts}"):
                    _write_part(paths[dialog], keys[dialog], arrays, problems)
                bar.update(rows)
                left -= rows

        ordered = [paths[dialog] for dialog in dialogs]
        _join(ordered, table["utterance"].tolist(), identity, extractor.constants(), output)
        _write_report(ordered, table, output, report)


@contextmanager
def _alone(parts: Path) -> Iterator[None]:
    """Keep other runs from writing `parts`, where the file system has locks."""
    with parts.with_name(f"{parts.name}.lock").open("w") as file:
        try:
            if not lock(file):
                print(f"{parts}: has no lock on this file system; let no other run write it")
        except BlockingIOError:
            raise InputError(
                f"{parts}: another run is writing it; wait until that has ended, then start again"
            ) from None
        yield


def _dialogs(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each dialog, in the table's order."""
    dialogs = {str(name): rows for name, rows in table.groupby("dialog", sort=False)}
    joined = [utterance for rows in dialogs.values() for utterance in rows["utterance"]]
    if not joined:
        raise InputError("the table has no utterance; check data/interim/parse.json")
    if joined != table["utterance"].tolist():
        raise InputError("the utterances of a dialog are not consecutive; sort the table by id")
    return dialogs


def _key(identity: dict[str, Any], extractor: Extractor, rows: pd.DataFrame) -> str:
    """Digest of all that decides one dialog's values."""
    media = []
    for path in extractor.sources(rows):
        try:
            stat = path.stat()
            media.append([path.name, stat.st_size, stat.st_mtime_ns])
        except OSError:  # the extractor says why it cannot be read
            media.append([path.name])
    key = json.dumps([identity, rows.to_csv(index=False), media], sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()


def _compute(
    extractor: Extractor, dialogs: dict[str, pd.DataFrame], todo: list[str], workers: int
) -> Iterator[tuple[str, Arrays, list[Problem]]]:
    """The features of each dialog in `todo`, as they are finished."""
    if workers == 1 or len(todo) < 2:
        for dialog in todo:
            yield dialog, *extractor.dialog(dialogs[dialog])
        return
    # spawned, not forked: a child of a process with OpenMP threads can hang
    pool = ProcessPoolExecutor(
        min(workers, len(todo)), get_context("spawn"), initializer=start_worker
    )
    try:
        futures = {pool.submit(extractor.dialog, dialogs[dialog]): dialog for dialog in todo}
        for future in as_completed(list(futures)):
            # popped, so that a finished dialog's arrays are freed once they are written
            yield futures.pop(future), *future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _write_part(path: Path, key: str, arrays: Arrays, problems: list[Problem]) -> None:
    text = json.dumps([asdict(problem) for problem in problems])
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, key=np.array(key), problems=np.array(text), **arrays)  # type: ignore[arg-type]
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _read_key(path: Path) -> str | None:
    """The key of a finished part; None if it is missing or damaged.

    Raises
    ------
    InputError
        If the system does not let read it, since what it holds is not to be computed again.
    """
    try:
        with np.load(path) as part:
            return str(part["key"])
    except (FileNotFoundError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    except OSError as error:
        raise InputError(
            f"{unreadable(path, error)}; or delete it, and its dialog is computed again"
        ) from error


def _join(
    parts: list[Path], ids: list[str], identity: dict[str, Any], constants: Arrays, output: Path
) -> None:
    """Write all parts, one at a time, as one file in the store's layout."""
    shapes, lengths = _measure(parts)
    needed = _size(shapes, lengths, ids, identity, constants)
    output.parent.mkdir(parents=True, exist_ok=True)
    remove_remains(output)
    remedy = f"{_REMEDY} {parts[0].parent}"
    with (
        full_disk_reported(output, needed, remedy),
        writing(output) as file,
        reserved(file, needed),
    ):
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["extractor"] = json.dumps(identity, sort_keys=True)
        write_strings(file, "utterances/id", ids)
        for stream, values in sorted(lengths.items()):
            file[f"{stream}/offsets"] = np.concatenate([[0], np.cumsum(values)]).astype(np.int64)
        for name, (shape, dtype) in sorted(shapes.items()):
            file.create_dataset(name, shape=shape, dtype=dtype)
        for name, array in sorted(constants.items()):
            if array.dtype.kind in "UO":
                write_strings(file, name, array.tolist())
            else:
                file[name] = array
        start = dict.fromkeys(shapes, 0)
        for path in parts:
            with _opened(path) as part:
                for name in shapes:
                    array = part[name]
                    file[name][start[name] : start[name] + len(array)] = array
                    start[name] += len(array)


def _size(
    shapes: Layout,
    lengths: dict[str, np.ndarray],
    ids: list[str],
    identity: dict[str, Any],
    constants: Arrays,
) -> int:
    """Bytes that the joined file takes at most."""
    values = sum(math.prod(shape) * dtype.itemsize for shape, dtype in shapes.values())
    offsets = sum(8 * (len(array) + 1) for array in lengths.values())
    strings = [ids, *(array.tolist() for array in constants.values() if array.dtype.kind in "UO")]
    texts = sum(
        len(text) * max((len(str(s).encode()) for s in text), default=1) for text in strings
    )
    numbers = sum(array.nbytes for array in constants.values() if array.dtype.kind not in "UO")
    # of HDF5 itself: headers and groups, well under 4 KiB a dataset
    own = 4096 * (4 + len(shapes) + len(lengths) + len(constants)) + 2 * len(json.dumps(identity))
    return values + offsets + texts + numbers + own


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A finished part, to read.

    Raises
    ------
    InputError
        If the disk has lost some of it; the part is then deleted.
    """
    try:
        with np.load(path) as part:
            yield part
    except (zipfile.BadZipFile, zlib.error):
        path.unlink()
        raise InputError(
            f"{path}: was damaged on the disk and has been deleted; start again, which computes "
            "this dialog anew and keeps the others"
        ) from None


def _measure(parts: list[Path]) -> tuple[Layout, dict[str, np.ndarray]]:
    """Shape and type of each joined dataset, and the lengths of each sequence stream."""
    rows: dict[str, int] = {}
    kinds: Layout = {}
    lengths: dict[str, list[np.ndarray]] = {}
    for path in parts:
        with _opened(path) as part:
            for name in part.files:
                stream, _, kind = name.partition("/")
                if kind == "lengths":
                    lengths.setdefault(stream, []).append(part[name])
                elif kind:
                    shape, dtype = _header(part, name)
                    rows[name] = rows.get(name, 0) + shape[0]
                    kinds[name] = (shape[1:], dtype)
    shapes = {name: ((rows[name], *tail), dtype) for name, (tail, dtype) in kinds.items()}
    return shapes, {stream: np.concatenate(arrays) for stream, arrays in lengths.items()}


def _header(part: Any, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array in a part, without reading its values."""
    with part.zip.open(f"{name}.npy") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return shape, dtype


def _write_report(parts: list[Path], table: pd.DataFrame, output: Path, report: Path) -> None:
    """Counts of the finished file and every problem with its reason."""
    problems: list[dict[str, str]] = []
    for path in parts:
        with _opened(path) as part:
            problems += json.loads(str(part["problems"]))
    with reading(output) as file:
        streams = {
            name: {
                "steps": int(group["offsets"][-1]),
                "empty": int((np.diff(group["offsets"][:]) == 0).sum()),
            }
            for name, group in file.items()
            if "offsets" in group
        }
    content = {"utterances": len(table), "streams": streams, "problems": problems}
    partial = report.with_name(f".{report.name}.partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(report)
    if problems:
        concerned = {problem["utterance"] for problem in problems}  # some by several streams
        print(f"{len(concerned)} of {len(table)} utterances have problems; see {report}")
