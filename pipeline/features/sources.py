"""Readers of features that were extracted by another program.

A source is one of

- a folder with one file per utterance, ``<utterance>.npy`` or ``<utterance>.csv``;
- an HDF5 file with ``values`` [sum of T, D], ``offsets`` [n + 1] and ``ids`` [n], where utterance i
  is ``values[offsets[i]:offsets[i + 1]]``; without ``offsets`` there is one row per utterance;
- an HDF5 file with one dataset per utterance, or with one group per utterance that has a single
  dataset, or a dataset named ``values``.

An array [T, D] is a sequence of T steps, an array [D] is one vector for the whole utterance. A CSV
file is a table [T, D]; if each file has exactly one row, the rows are vectors of whole utterances.
If the first row of a CSV file has no numbers, it is the names of the columns.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import h5py
import numpy as np

from pipeline import InputError
from pipeline.system.filesystem import unreadable
from pipeline.system.hdf5 import reading
from pipeline.system.values import is_number


class ExternalError(InputError):
    """Features that cannot be used; the message begins with the parameter ``path``."""


Reader = Callable[[], "np.ndarray | h5py.Dataset"]


@dataclass(frozen=True)
class Source:
    """A source of features, which are read on access.

    Attributes
    ----------
    path
        The folder or file.
    kind
        ``npy``, ``csv`` or the layout of an HDF5 file.
    readers
        A function per utterance, which reads its array.
    names
        A function that reads the names of the columns of an utterance, if there are any.
    """

    path: Path
    kind: str
    readers: Mapping[str, Reader]
    names: Callable[[str], list[str] | None] = lambda utterance: None

    def _shape(self, utterance: str, array: np.ndarray | h5py.Dataset) -> tuple[int, ...]:
        if array.dtype.kind not in "fiub":
            raise ExternalError(
                f"path: {self.path}: utterance {utterance} holds values of type {array.dtype}; "
                "save numbers"
            )
        if array.ndim not in (1, 2):
            raise ExternalError(
                f"path: {self.path}: utterance {utterance} has {array.ndim} dimensions; save "
                "[T, D] for a sequence or [D] for values of the whole utterance"
            )
        return tuple(array.shape)

    @cached_property
    def form(self) -> tuple[bool, int]:
        """Whether the arrays are sequences, and the number of values per row.

        Raises
        ------
        ExternalError
            If the arrays differ in this, if all are empty, or if one is not numeric or does not
            have one or two dimensions.
        """
        shapes = {
            utterance: self._shape(utterance, read()) for utterance, read in self.readers.items()
        }
        filled = {utterance: shape for utterance, shape in shapes.items() if 0 not in shape}
        if not filled:
            raise ExternalError(f"path: {self.path}: no utterance has a value")
        first, shape = next(iter(filled.items()))
        for utterance, other in filled.items():
            if len(other) != len(shape):
                raise ExternalError(
                    f"path: {self.path}: utterance {first} has {len(shape)} dimensions and "
                    f"{utterance} has {len(other)}; save all as [T, D], or all as [D]"
                )
            if other[-1] != shape[-1]:
                raise ExternalError(
                    f"path: {self.path}: utterance {first} has {shape[-1]} values per row and "
                    f"{utterance} has {other[-1]}; all must have the same"
                )
        one_row = self.kind == "csv" and all(other[0] == 1 for other in shapes.values())
        is_sequence = len(shape) == 2 and not one_row
        empty = sorted(set(shapes) - set(filled))
        if empty and not is_sequence:
            raise ExternalError(
                f"path: {self.path}: utterance {empty[0]} has no values; remove it to have it "
                "counted as missing"
            )
        return is_sequence, shape[-1]

    def read(self, utterance: str) -> np.ndarray:
        """The features of an utterance, [T, D] or [D] float32.

        Raises
        ------
        ExternalError
            If a value is not a finite float32.
        """
        array = self.readers[utterance]()
        with np.errstate(over="ignore"):  # overflow gives infinity, reported below
            values = np.asarray(array[...], dtype=np.float32)
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            place = ", ".join(map(str, bad[0]))
            raise ExternalError(
                f"path: {self.path}: utterance {utterance} has {len(bad)} values that are not "
                f"finite float32, the first at [{place}]; extract it again or remove it"
            )
        return values


def open_source(source: Path) -> Source:
    """Open a source; an HDF5 file stays open as long as the source is used.

    Raises
    ------
    ExternalError
        If it is missing, cannot be read, or is not of a form described above.
    """
    if source.is_dir():
        return _folder(source)
    if not source.exists():
        raise ExternalError(
            f"path: {source} does not exist; it must be a folder with one .npy or .csv file per "
            "utterance, or an HDF5 file"
        )
    try:
        file = reading(source)
    except OSError as error:
        if error.errno:
            raise ExternalError(f"path: {unreadable(source, error)}") from error
        raise ExternalError(
            f"path: {source}: is neither a folder nor a readable HDF5 file: {error}"
        ) from error
    joined = "values" in file and "ids" in file
    return _joined(file, source) if joined else _grouped(file, source)


def _folder(source: Path) -> Source:
    """Open a folder with one file per utterance; hidden and other files are ignored."""
    paths: dict[str, Path] = {}
    for path in sorted(source.iterdir()):
        if path.suffix not in (".npy", ".csv") or path.name.startswith("."):
            continue
        if path.stem in paths:
            raise ExternalError(
                f"path: {source}: {path.stem} is there as .npy and as .csv; remove one"
            )
        paths[path.stem] = path
    kinds = {path.suffix for path in paths.values()}
    if len(kinds) > 1:
        raise ExternalError(f"path: {source}: holds .npy and .csv files; use one kind")
    if kinds == {".csv"}:
        readers = {name: partial(_read_table, path) for name, path in paths.items()}
        return Source(source, "csv", readers, lambda utterance: _read_csv(paths[utterance])[0])
    return Source(source, "npy", {name: partial(_read_npy, path) for name, path in paths.items()})


def _read_npy(path: Path) -> np.ndarray:
    """The array of a file, mapped into memory."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise ExternalError(f"path: {unreadable(path, error)}") from error
    except (ValueError, OverflowError) as error:
        raise ExternalError(f"path: {path}: is not a .npy file of numbers: {error}") from error


def _read_csv(path: Path) -> tuple[list[str] | None, np.ndarray]:
    """The names of the columns, if the first row has them, and the table [T, D] float64."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except OSError as error:
        raise ExternalError(f"path: {unreadable(path, error)}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ExternalError(f"path: {path}: is not a CSV file: {error}") from error
    names = None
    if rows and not any(is_number(cell) for cell in rows[0]):
        names = [cell.strip() for cell in rows.pop(0)]
    width = len(rows[0]) if rows else 0
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise ExternalError(f"path: {path}: row {number} has {len(row)} values, not {width}")
        for cell in row:
            if not is_number(cell):
                raise ExternalError(
                    f"path: {path}: row {number} holds {cell!r}, which is not a number; "
                    "save numbers with commas between them"
                )
    table = np.array([[float(cell) for cell in row] for row in rows], np.float64)
    return names, table.reshape(len(rows), width)


def _read_table(path: Path) -> np.ndarray:
    return _read_csv(path)[1]


def _joined(file: h5py.File, source: Path) -> Source:
    """Open a file with one dataset ``values``, in the order of ``ids``."""
    values = file["values"]
    if h5py.check_string_dtype(file["ids"].dtype) is None:
        raise ExternalError(
            f"path: {source}: ids holds values of type {file['ids'].dtype}; save strings"
        )
    ids = file["ids"].asstr()[...].tolist()
    if len(set(ids)) != len(ids):
        raise ExternalError(f"path: {source}: ids has an utterance twice")
    if "offsets" not in file:
        if values.ndim != 2 or len(values) != len(ids):
            raise ExternalError(
                f"path: {source}: values has shape {values.shape} for {len(ids)} ids and there are "
                "no offsets; save [n, D], or offsets [n + 1] where utterances have steps"
            )
        return Source(
            source, "h5 rows", {u: partial(values.__getitem__, i) for i, u in enumerate(ids)}
        )
    if values.ndim != 2:
        raise ExternalError(f"path: {source}: values has shape {values.shape}; save [sum of T, D]")
    offsets = file["offsets"][...]
    if (
        offsets.dtype.kind not in "iu"
        or offsets.shape != (len(ids) + 1,)
        or offsets[0] != 0
        or offsets[-1] != len(values)
        or (offsets[1:] < offsets[:-1]).any()
    ):
        raise ExternalError(
            f"path: {source}: offsets must be {len(ids) + 1} whole numbers that rise from 0 to "
            f"{len(values)}, the rows of values"
        )
    return Source(
        source,
        "h5 ragged",
        {
            utterance: partial(values.__getitem__, slice(int(start), int(end)))
            for utterance, start, end in zip(ids, offsets[:-1], offsets[1:], strict=True)
        },
    )


def _grouped(file: h5py.File, source: Path) -> Source:
    """Open a file with one dataset, or one group, per utterance."""
    paths = {}
    for name, item in file.items():
        inner = name
        if isinstance(item, h5py.Group):
            if "values" not in item and len(item) != 1:
                raise ExternalError(
                    f"path: {source}: group {name} holds {', '.join(item) or 'nothing'}; name the "
                    "dataset of each utterance values"
                )
            inner = f"{name}/values" if "values" in item else f"{name}/{next(iter(item))}"
        if not isinstance(file.get(inner), h5py.Dataset):
            raise ExternalError(f"path: {source}: {inner} is not a dataset")
        paths[name] = inner
    return Source(
        source, "h5 groups", {name: partial(file.get, path) for name, path in paths.items()}
    )
