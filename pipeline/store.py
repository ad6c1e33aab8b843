"""The feature store: one ragged HDF5 file that serves every label scheme, split and model.

Layout (schema version 1)::

    /utterances/<column>      N rows, in the order of the utterance table (sorted by id)
    /<stream>/values          [sum of T, D] float32, or [sum of T] int32 token ids
    /<stream>/offsets         [N + 1] int64; utterance i is values[offsets[i]:offsets[i + 1]]
    /<stream>/times, tokens   [sum of T], aligned with the steps (seconds; ids into vocabulary)
    /<stream>/vocabulary      [V] strings        /<stream>/vectors  [V, D] float32
    /<stream>/values, names   [N, P] float32 and [P] strings: an utterance-level stream
    /votes/values, names      such a stream: the evaluators' votes for each of the release's codes
    attributes                schema_version, corpus, parameters (JSON), extractors (JSON)

The same inputs, parameters and versions give the same bytes: fixed order, fixed-length strings,
no HDF5 timestamps. ``python -m pipeline.store describe FILE`` shows what a file holds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from pipeline import InputError
from pipeline.corpus import votes as raters
from pipeline.hdf5 import SCHEMA_VERSION, write_strings, writing

_NUMBERS = ("session", "start", "end", "valence", "activation", "dominance")
_BLOCK = 1 << 16  # rows checked at a time, so that verifying needs little memory


class StoreError(InputError):
    """A feature store that cannot be used; the message names the file and the remedy."""


# --- writing -------------------------------------------------------------------------------------


def assemble(
    table: pd.DataFrame,
    votes: pd.DataFrame,
    modalities: Sequence[Path],
    output: Path,
    *,
    corpus: str,
    parameters: dict,
) -> None:
    """Join the utterance table, the votes and each modality's features to one verified store.

    Parameters
    ----------
    table
        The utterance table.
    votes
        The votes table; kept as numbers, see :mod:`pipeline.corpus.votes`.
    modalities
        The HDF5 files that the extraction stages wrote.
    output
        The store; appears only when it is whole and verified.
    corpus, parameters
        Its name and the feature parameters, kept as attributes.

    Raises
    ------
    StoreError
        If utterances differ between table and modalities, or a stream is damaged.
    CorpusError
        If a vote is for an utterance that the table lacks.
    """
    ids = table["utterance"].tolist()
    extractors = {}
    with writing(output) as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["corpus"] = corpus
        file.attrs["parameters"] = json.dumps(parameters, sort_keys=True)
        for column in table.columns:
            name = "id" if column == "utterance" else column
            if column in _NUMBERS:
                file[f"utterances/{name}"] = table[column].to_numpy()
            else:
                write_strings(file, f"utterances/{name}", table[column].tolist())
        file["votes/values"] = raters.count(ids, votes)
        write_strings(file, "votes/names", raters.CODES)
        for path in modalities:
            with open_checked(path) as source:
                _same_ids(source, ids, path)
                extractors[path.stem] = json.loads(source.attrs["extractor"])
                for stream in sorted(set(source) - {"utterances"}):
                    source.copy(stream, file)
        file.attrs["extractors"] = json.dumps(extractors, sort_keys=True)
        faults = check(file)
        if faults:
            raise StoreError(f"{output} is not written:\n  " + "\n  ".join(faults))


def _same_ids(source: h5py.File, ids: list[str], path: Path) -> None:
    found = source["utterances/id"].asstr()[:].tolist()
    if found != ids:
        differing = sorted(set(found) ^ set(ids))
        example = f", such as {differing[0]}" if differing else " in their order"
        raise StoreError(
            f"{path}: its utterances differ from the utterance table{example}; "
            "run `dvc repro store` to extract again"
        )


# --- reading -------------------------------------------------------------------------------------


def open_checked(path: Path) -> h5py.File:
    """Open an HDF5 file of this schema version.

    Raises
    ------
    StoreError
        If it is missing, no HDF5 file, or of another schema version.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such file; `dvc pull` or `dvc repro store` makes it")
    try:
        file = h5py.File(path)
    except OSError as error:
        raise StoreError(f"{path}: is no HDF5 file or is damaged: {error}") from error
    version = file.attrs.get("schema_version")
    if version != SCHEMA_VERSION:
        file.close()
        found = "has no schema version" if version is None else f"has schema version {version}"
        raise StoreError(
            f"{path}: {found}, this code reads version {SCHEMA_VERSION}; "
            "rebuild it with `dvc repro --force --single-item store`"
        )
    return file


@dataclass(frozen=True)
class Stream:
    """One stream of a store; values are read when asked for."""

    name: str
    group: h5py.Group

    @property
    def is_sequence(self) -> bool:
        """Whether utterances have steps, as opposed to one row each."""
        return "offsets" in self.group

    @property
    def has_tokens(self) -> bool:
        """Whether the values are token ids into a table of vectors."""
        return "vectors" in self.group

    @property
    def width(self) -> int:
        """Values a step (of a token stream: of its vectors)."""
        return int(self.group["vectors" if self.has_tokens else "values"].shape[1])

    @property
    def names(self) -> list[str]:
        """What each value of an utterance-level stream is."""
        return self.group["names"].asstr()[:].tolist()

    @cached_property
    def offsets(self) -> np.ndarray:
        """[N + 1] int64."""
        return self.group["offsets"][:]

    @property
    def lengths(self) -> np.ndarray:
        """[N] int64, steps of each utterance."""
        return np.diff(self.offsets)

    def __getitem__(self, index: int) -> np.ndarray:
        """Values of one utterance: [T, D], [T] token ids, or [P]."""
        return self.aligned("values", index)

    def aligned(self, name: str, index: int) -> np.ndarray:
        """Steps of one utterance from any step-aligned dataset, such as ``times``."""
        if not self.is_sequence:
            return self.group[name][index]
        return self.group[name][self.offsets[index] : self.offsets[index + 1]]

    def words(self, index: int) -> list[str] | None:
        """The token of each step of one utterance; None for a stream without tokens."""
        if "vocabulary" not in self.group:
            return None
        ids = self.aligned("values" if self.has_tokens else "tokens", index)
        return [self.vocabulary[token] for token in ids]

    @cached_property
    def vocabulary(self) -> list[str]:
        """The string of each token id."""
        return self.group["vocabulary"].asstr()[:].tolist()

    @cached_property
    def vectors(self) -> np.ndarray:
        """[V, D] float32, the vector of each token id."""
        return self.group["vectors"][:]


class FeatureStore:
    """A store opened for reading; use as a context manager or close it.

    Raises
    ------
    StoreError
        If the file is missing, damaged or of another schema version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.file = open_checked(self.path)

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; streams can no longer be read."""
        self.file.close()

    def __len__(self) -> int:
        return len(self.file["utterances/id"])

    @cached_property
    def utterances(self) -> pd.DataFrame:
        """The utterance table, one row an utterance in the store's order."""
        columns = {}
        for name, dataset in self.file["utterances"].items():
            is_text = h5py.check_string_dtype(dataset.dtype) is not None
            columns["utterance" if name == "id" else name] = (
                dataset.asstr()[:] if is_text else dataset[:]
            )
        return pd.DataFrame(columns)

    @property
    def streams(self) -> list[str]:
        """Names of the streams."""
        return sorted(set(self.file) - {"utterances"})

    def stream(self, name: str) -> Stream:
        """One stream by name.

        Raises
        ------
        StoreError
            If there is none of that name; the message lists those there are.
        """
        if name not in self.streams:
            raise StoreError(f"{self.path}: has no stream {name}; it has {', '.join(self.streams)}")
        return Stream(name, self.file[name])


# --- checking ------------------------------------------------------------------------------------


def verify(path: Path) -> list[str]:
    """Every fault of a store as a line that names stream and utterance; empty if it is sound."""
    with open_checked(path) as file:
        return check(file)


def check(file: h5py.File) -> list[str]:
    """As :func:`verify`, for an open file."""
    if "utterances/id" not in file:
        return ["utterances/id is missing"]
    ids = file["utterances/id"].asstr()[:].tolist()
    faults = []
    if ids != sorted(set(ids)):
        faults.append("utterances/id: not unique and sorted")
    for name, dataset in file["utterances"].items():
        if len(dataset) != len(ids):
            faults.append(f"utterances/{name}: {len(dataset)} rows for {len(ids)} utterances")
    for name in sorted(set(file) - {"utterances"}):
        faults += _check_stream(Stream(name, file[name]), ids)
    return faults


def _check_stream(stream: Stream, ids: list[str]) -> list[str]:
    if "values" not in stream.group:
        return [f"{stream.name}: has no values"]
    faults = []
    if stream.is_sequence:
        offsets = stream.offsets
        if len(offsets) != len(ids) + 1 or offsets[0] != 0 or (np.diff(offsets) < 0).any():
            return [f"{stream.name}/offsets: not {len(ids) + 1} values rising from 0"]
        rows = int(offsets[-1])
    else:
        rows = len(ids)
        names = stream.group.get("names")
        if names is not None and len(names) != stream.width:
            faults.append(f"{stream.name}/names: {len(names)} names for {stream.width} values")
    for name in ("values", "times", "tokens"):
        if name in stream.group and len(stream.group[name]) != rows:
            faults.append(f"{stream.name}/{name}: {len(stream.group[name])} rows, not {rows}")
    return faults or _check_values(stream, ids)


def _check_values(stream: Stream, ids: list[str]) -> list[str]:
    """Values must be finite, token ids must be in the vocabulary."""
    faults = []
    for name in ("values", "times", "tokens"):
        if name not in stream.group:
            continue
        dataset = stream.group[name]
        is_token = np.issubdtype(dataset.dtype, np.integer)
        size = len(stream.group["vocabulary"]) if is_token else 0
        for start in range(0, len(dataset), _BLOCK):
            block = dataset[start : start + _BLOCK]
            bad = (block < 0) | (block >= size) if is_token else ~np.isfinite(block)
            if bad.any():
                row = start + int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))
                where = np.searchsorted(stream.offsets, row, "right") - 1
                utterance = ids[where if stream.is_sequence else row]
                what = (
                    "a token outside the vocabulary" if is_token else "a value that is not finite"
                )
                faults.append(f"{stream.name}/{name}: {what} in utterance {utterance}")
                break
    return faults


# --- describing ----------------------------------------------------------------------------------


def describe(path: Path) -> str:
    """A table of what a store holds."""
    with FeatureStore(path) as opened:
        table = opened.utterances
        lines = [
            f"corpus      {opened.file.attrs.get('corpus', '-')}, schema version {SCHEMA_VERSION}",
            f"utterances  {len(opened)} in {table['dialog'].nunique()} dialogs, "
            f"{table['session'].nunique()} sessions, {table['speaker'].nunique()} speakers",
            f"emotions    {_counts(table['emotion'])}",
            "",
            f"{'stream':<10}{'width':>7}{'type':>9}{'steps':>10}{'shortest':>10}{'mean':>8}"
            f"{'longest':>9}{'empty':>7}{'MiB':>8}",
        ]
        for name in opened.streams:
            lines.append(_describe_stream(opened.stream(name)))
        lines += ["", "parameters  " + str(opened.file.attrs.get("parameters", "-"))]
        for name, extractor in json.loads(opened.file.attrs.get("extractors", "{}")).items():
            lines.append(f"{name:<12}{json.dumps(extractor, sort_keys=True)}")
    return "\n".join(lines)


def _counts(emotions: pd.Series) -> str:
    return ", ".join(f"{name} {count}" for name, count in emotions.value_counts().items())


def _describe_stream(stream: Stream) -> str:
    values = stream.group["values"]
    size = values.size * values.dtype.itemsize / 2**20
    row = f"{stream.name:<10}{stream.width:>7}{values.dtype.name:>9}"
    if not stream.is_sequence:
        return f"{row}{'one row an utterance':>44}{size:>8.1f}"
    n = stream.lengths
    row += f"{n.sum():>10}{n.min():>10}{n.mean():>8.1f}{n.max():>9}"
    return f"{row}{(n == 0).sum():>7}{size:>8.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: ``python -m pipeline.store describe|verify FILE``."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.store", description="Feature stores.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("describe", "print a table of what a store holds"),
        ("verify", "check a store; exit code 1 if it is damaged"),
    ):
        commands.add_parser(name, help=text, description=text).add_argument("file", type=Path)
    options: Any = parser.parse_args(arguments)
    try:
        if options.command == "describe":
            print(describe(options.file))
            return 0
        faults = verify(options.file)
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(faults) if faults else f"{options.file}: sound")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
