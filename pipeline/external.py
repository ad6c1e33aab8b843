"""Features that were extracted elsewhere, checked and made a stream of the feature store.

A source is one of

- a folder with one file an utterance, ``<utterance>.npy`` or ``<utterance>.csv``;
- an HDF5 file with ``values`` [sum of T, D], ``offsets`` [n + 1] and ``ids`` [n], utterance i being
  ``values[offsets[i]:offsets[i + 1]]``; without ``offsets`` it has one row an utterance;
- an HDF5 file with a dataset an utterance, or a group an utterance that holds one dataset, or one
  named ``values`` beside others.

An array [T, D] is a sequence of T steps, an array [D] the values of a whole utterance. A CSV file
is always a table; where each has exactly one row, they are values of whole utterances. A first row
that is no numbers holds the columns' names.
"""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from pipeline import InputError
from pipeline.filesystem import unreadable
from pipeline.hdf5 import SCHEMA_VERSION, reading, write_strings, writing

_RESERVED = ("utterances", "votes")  # groups that each store has anyway


class ExternalError(InputError):
    """Features that cannot be used; the message names the file, the utterance and the remedy."""


@dataclass(frozen=True)
class Converted:
    """What became of a source.

    Attributes
    ----------
    name
        The stream.
    is_sequence
        Whether utterances have steps, as opposed to one row each.
    width
        Values a step, or an utterance.
    missing
        Ids of the utterances that the source lacks: no steps, or a row of zeros.
    """

    name: str
    is_sequence: bool
    width: int
    missing: tuple[str, ...]


Reader = Callable[[], "np.ndarray | h5py.Dataset"]


@dataclass(frozen=True)
class _Source:
    """Arrays by utterance, read when called for; `names` are the columns', where they have any."""

    kind: str
    readers: dict[str, Reader]
    names: Callable[[str], list[str] | None] = lambda utterance: None


def find(folder: Path, name: str) -> Path:
    """Where the stream `name` comes from: ``<folder>/<name>`` or ``<folder>/<name>.h5``.

    Raises
    ------
    ExternalError
        If neither is there, or both are.
    """
    found = [path for path in (folder / name, folder / f"{name}.h5") if path.exists()]
    if not found:
        raise ExternalError(
            f"store.external: there is no {folder / name} (a folder with one .npy or .csv an "
            f"utterance) and no {folder / name}.h5; put the features there or remove {name}"
        )
    if len(found) > 1:
        raise ExternalError(
            f"store.external: {found[0]} and {found[1]} are both there; remove or rename one"
        )
    return found[0]


def convert(source: Path, name: str, utterances: Sequence[str], output: Path) -> Converted:
    """Write features made elsewhere as a modality file that a store can be assembled from.

    One utterance is in memory at a time. The same source gives the same bytes.

    Parameters
    ----------
    source
        A folder or an HDF5 file, see above.
    name
        The stream that it becomes.
    utterances
        All ids, in the order of the utterance table.
    output
        The HDF5 file, in the layout of :mod:`pipeline.features.extraction`.

    Returns
    -------
    Converted
        Its kind and width, and which utterances are missing.

    Raises
    ------
    ExternalError
        If the source is unreadable or empty, names an utterance that is none, or an array is not
        numeric, not finite, of another width or of another number of dimensions than the rest.
    """
    if name in _RESERVED:
        raise ExternalError(f"store.external: {name} is a part of each store; choose another name")
    with _opened(source) as found:
        _check_ids(found, utterances, source)
        present = [utterance for utterance in utterances if utterance in found.readers]
        shapes = {
            utterance: _shape(found.readers[utterance](), source, utterance)
            for utterance in tqdm(present, desc=f"{name}: check", unit="utt")
        }
        is_sequence, width = _kind(shapes, source, found.kind)
        missing = tuple(utterance for utterance in utterances if utterance not in shapes)
        with writing(output) as file:
            file.attrs["schema_version"] = SCHEMA_VERSION
            file.attrs["extractor"] = json.dumps(
                {"external": name, "format": found.kind, "missing": len(missing)}, sort_keys=True
            )
            write_strings(file, "utterances/id", utterances)
            lengths = [shapes[u][0] if u in shapes else 0 for u in utterances]
            if is_sequence:
                starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
                file[f"{name}/offsets"] = starts
            else:
                starts = np.arange(len(utterances) + 1)
                write_strings(file, f"{name}/names", _names(found, present, name, width))
            values = file.create_dataset(f"{name}/values", (int(starts[-1]), width), np.float32)
            for row, utterance in enumerate(tqdm(utterances, desc=f"{name}: write", unit="utt")):
                if utterance in shapes:
                    array = _finite(found.readers[utterance](), source, utterance)
                    if array.size:
                        values[starts[row] : starts[row + 1]] = array.reshape(-1, width)
    return Converted(name, is_sequence, width, missing)


def _check_ids(found: _Source, utterances: Sequence[str], source: Path) -> None:
    if not found.readers:
        raise ExternalError(
            f"{source}: holds no features; expected one .npy or .csv file an utterance, or in HDF5 "
            "values, offsets and ids, or a dataset or group an utterance"
        )
    unknown = sorted(set(found.readers) - set(utterances))
    if unknown:
        near = difflib.get_close_matches(unknown[0], utterances, n=1, cutoff=0.5)
        known = near[0] if near else utterances[0]
        raise ExternalError(
            f"{source}: {len(unknown)} of {len(found.readers)} names are no utterances of the "
            f"corpus, such as {unknown[0]}; ids are of the form {known}; rename or remove them"
        )


def _shape(array: np.ndarray | h5py.Dataset, source: Path, utterance: str) -> tuple[int, ...]:
    """Shape of an array of numbers."""
    if array.dtype.kind not in "fiub":
        raise ExternalError(
            f"{source}: utterance {utterance} holds values of type {array.dtype}; save numbers"
        )
    if array.ndim not in (1, 2):
        raise ExternalError(
            f"{source}: utterance {utterance} has {array.ndim} dimensions; save [T, D] for a "
            "sequence or [D] for values of the whole utterance"
        )
    return tuple(array.shape)


def _kind(shapes: dict[str, tuple[int, ...]], source: Path, kind: str) -> tuple[bool, int]:
    """Whether the arrays are sequences, and their width; all must agree."""
    # an empty array says nothing about the rest
    filled = {utterance: shape for utterance, shape in shapes.items() if 0 not in shape}
    if not filled:
        raise ExternalError(f"{source}: no utterance has a value")
    first, shape = next(iter(filled.items()))
    for utterance, other in filled.items():
        if len(other) != len(shape):
            raise ExternalError(
                f"{source}: utterance {first} has {len(shape)} dimensions and {utterance} has "
                f"{len(other)}; save all as [T, D], or all as [D]"
            )
        if other[-1] != shape[-1]:
            raise ExternalError(
                f"{source}: utterance {first} has {shape[-1]} values a row and {utterance} has "
                f"{other[-1]}; all must have the same"
            )
    one_row = kind == "csv" and all(other[0] == 1 for other in shapes.values())
    is_sequence = len(shape) == 2 and not one_row
    empty = sorted(set(shapes) - set(filled))
    if empty and not is_sequence:
        raise ExternalError(
            f"{source}: utterance {empty[0]} has no values; remove it to have it counted as missing"
        )
    return is_sequence, shape[-1]


def _finite(array: np.ndarray | h5py.Dataset, source: Path, utterance: str) -> np.ndarray:
    """The array in memory as float32."""
    with np.errstate(over="ignore"):  # what overflows is infinite, and said below
        values = np.asarray(array[...], dtype=np.float32)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        place = ", ".join(map(str, bad[0]))
        raise ExternalError(
            f"{source}: utterance {utterance} has {len(bad)} values that are no finite float32, "
            f"the first at [{place}]; extract it again or remove it"
        )
    return values


def _names(found: _Source, present: list[str], name: str, width: int) -> list[str]:
    """What each value of an utterance-level stream is: the columns' names, else numbers."""
    given = found.names(present[0])
    if given is None or len(given) != width:
        return [f"{name}_{number}" for number in range(width)]
    return given


# --- the sources ---------------------------------------------------------------------------------


@contextmanager
def _opened(source: Path) -> Iterator[_Source]:
    if source.is_dir():
        yield _folder(source)
        return
    try:
        file = reading(source)
    except OSError as error:
        if error.errno:
            raise ExternalError(unreadable(source, error)) from error
        raise ExternalError(
            f"{source}: is no folder and no HDF5 file that can be read: {error}"
        ) from error
    with file:
        yield (
            _joined(file, source) if "values" in file and "ids" in file else _grouped(file, source)
        )


def _folder(source: Path) -> _Source:
    """One file an utterance; hidden files and others' extensions are not looked at."""
    paths: dict[str, Path] = {}
    for path in sorted(source.iterdir()):
        if path.suffix not in (".npy", ".csv") or path.name.startswith("."):
            continue
        if path.stem in paths:
            raise ExternalError(f"{source}: {path.stem} is there as .npy and as .csv; remove one")
        paths[path.stem] = path
    kinds = {path.suffix for path in paths.values()}
    if len(kinds) > 1:
        raise ExternalError(f"{source}: holds .npy and .csv files; use one kind")
    if kinds == {".csv"}:
        return _Source(
            "csv",
            {name: partial(_read_table, path) for name, path in paths.items()},
            lambda utterance: _read_csv(paths[utterance])[0],
        )
    return _Source("npy", {name: partial(_read_npy, path) for name, path in paths.items()})


def _read_npy(path: Path) -> np.ndarray:
    """An array of a file, read from disk when it is used."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise ExternalError(unreadable(path, error)) from error
    except (ValueError, OverflowError) as error:
        raise ExternalError(f"{path}: is no .npy file of numbers: {error}") from error


def _read_csv(path: Path) -> tuple[list[str] | None, np.ndarray]:
    """Names of the columns, where the first row has them, and a table [T, D] float64."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except OSError as error:
        raise ExternalError(unreadable(path, error)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ExternalError(f"{path}: is no CSV file: {error}") from error
    names = None
    if rows and not any(_is_number(cell) for cell in rows[0]):
        names = [cell.strip() for cell in rows.pop(0)]
    width = len(rows[0]) if rows else 0
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise ExternalError(f"{path}: row {number} has {len(row)} values, not {width}")
        for cell in row:
            if not _is_number(cell):
                raise ExternalError(
                    f"{path}: row {number} holds {cell!r}, which is no number; "
                    "save numbers with commas between them"
                )
    table = np.array([[float(cell) for cell in row] for row in rows], np.float64)
    return names, table.reshape(len(rows), width)


def _read_table(path: Path) -> np.ndarray:
    return _read_csv(path)[1]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _joined(file: h5py.File, source: Path) -> _Source:
    """All utterances in one dataset ``values``, in the order of ``ids``."""
    values, ids = file["values"], _strings(file["ids"], source)
    if len(set(ids)) != len(ids):
        raise ExternalError(f"{source}: ids names an utterance twice")
    if "offsets" not in file:
        if values.ndim != 2 or len(values) != len(ids):
            raise ExternalError(
                f"{source}: values has shape {values.shape} for {len(ids)} ids and there are no "
                "offsets; save [n, D], or offsets [n + 1] where utterances have steps"
            )
        return _Source("h5 rows", {u: partial(values.__getitem__, i) for i, u in enumerate(ids)})
    if values.ndim != 2:
        raise ExternalError(f"{source}: values has shape {values.shape}; save [sum of T, D]")
    offsets = file["offsets"][...]
    if (
        offsets.dtype.kind not in "iu"
        or offsets.shape != (len(ids) + 1,)
        or offsets[0] != 0
        or offsets[-1] != len(values)
        or (offsets[1:] < offsets[:-1]).any()
    ):
        raise ExternalError(
            f"{source}: offsets must be {len(ids) + 1} whole numbers that rise from 0 to "
            f"{len(values)}, the rows of values"
        )
    return _Source(
        "h5 ragged",
        {
            utterance: partial(values.__getitem__, slice(int(start), int(end)))
            for utterance, start, end in zip(ids, offsets[:-1], offsets[1:], strict=True)
        },
    )


def _strings(dataset: h5py.Dataset, source: Path) -> list[str]:
    if h5py.check_string_dtype(dataset.dtype) is None:
        raise ExternalError(f"{source}: ids holds values of type {dataset.dtype}; save strings")
    return dataset.asstr()[...].tolist()


def _grouped(file: h5py.File, source: Path) -> _Source:
    """A dataset an utterance, or a group with one dataset or with one named ``values``."""
    paths = {}
    for name, item in file.items():
        inner = name
        if isinstance(item, h5py.Group):
            if "values" not in item and len(item) != 1:
                raise ExternalError(
                    f"{source}: group {name} holds {', '.join(item) or 'nothing'}; name the "
                    "features of each utterance values"
                )
            inner = f"{name}/values" if "values" in item else f"{name}/{next(iter(item))}"
        if not isinstance(file.get(inner), h5py.Dataset):
            raise ExternalError(f"{source}: {inner} is no dataset")
        paths[name] = inner
    return _Source("h5 groups", {name: partial(file.get, path) for name, path in paths.items()})
