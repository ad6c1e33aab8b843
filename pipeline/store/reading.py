"""Reading a feature store: utterance by utterance, with nothing in memory but what is asked for."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd

from pipeline import InputError, hdf5
from pipeline.corpus.description import Description
from pipeline.filesystem import unreadable
from pipeline.store.hashing import recorded

SCHEMA_VERSION = 2
"""Of the feature store; each modality's file has its own, :mod:`pipeline.hdf5`."""


class StoreError(InputError):
    """A feature store that cannot be used; the message names the file and the remedy."""


class DamagedStoreError(StoreError):
    """A file whose content is damaged, or which is no HDF5 file."""


def open_checked(path: Path) -> h5py.File:
    """Open a feature store, or the file of one modality, of the version that this code reads.

    Raises
    ------
    StoreError
        If it is missing, cannot be read, or is of another schema version.
    DamagedStoreError
        If it is no HDF5 file or is damaged.
    """
    try:
        file = hdf5.reading(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            f"{path}: no such file; `dvc pull` or `dvc repro store` makes it"
        ) from error
    except OSError as error:
        if error.errno:
            raise StoreError(unreadable(path, error)) from error
        if hdf5.is_open_otherwise(error):
            raise StoreError(
                f"{path}: this process has it open already, for writing or with locks; close it, "
                "or read the attribute `file` of the store that is open"
            ) from error
        raise DamagedStoreError(
            f"{path}: is no HDF5 file or is damaged ({error}); `dvc repro --force --single-item "
            "store` or `dvc pull --force` replaces it"
        ) from error
    try:
        version = file.attrs.get("schema_version")
        # a modality's file names its one extractor, a store all of them in `extractors`
        is_modality = "extractor" in file.attrs
    except (OSError, RuntimeError) as error:
        file.close()
        if isinstance(error, OSError) and error.errno:
            raise StoreError(unreadable(path, error)) from error
        raise DamagedStoreError(
            f"{path}: its attributes are damaged ({error}); `python -m pipeline.store verify` says "
            "what else is"
        ) from error
    expected = hdf5.SCHEMA_VERSION if is_modality else SCHEMA_VERSION
    if version != expected:
        file.close()
        found = "has no schema version" if version is None else f"has schema version {version}"
        stage = path.stem if is_modality else "store"
        raise StoreError(
            f"{path}: {found}, this code reads version {expected}; "
            f"rebuild it with `dvc repro --force --single-item {stage}`"
        )
    return file


class Statistics(NamedTuple):
    """Of each value of a stream the mean [D] and the standard deviation [D], float64."""

    mean: np.ndarray
    deviation: np.ndarray

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """(values - mean) / deviation of [..., D], as float32."""
        return ((values - self.mean) / self.deviation).astype(np.float32)


@dataclass(frozen=True)
class Stream:
    """One stream of a store; values are read when asked for."""

    name: str
    group: h5py.Group

    @cached_property
    def is_sequence(self) -> bool:
        """Whether utterances have steps, as opposed to one row each."""
        return "offsets" in self.group

    @cached_property
    def has_tokens(self) -> bool:
        """Whether the values are token ids into a table of vectors."""
        return "vectors" in self.group

    @property
    def width(self) -> int:
        """Values a step (of a token stream: of its vectors)."""
        return int(self.group["vectors" if self.has_tokens else "values"].shape[1])

    @property
    def identity(self) -> dict[str, Any]:
        """What decides which features these are, as JSON; the same on every processor.

        It is that of the extractor, and of token ids also a digest of the vectors that they stand
        for. Nothing but its name is known of a stream made elsewhere, or in a store of before
        streams had identities.
        """
        found: dict[str, Any] = {"external": self.name}
        for modality in json.loads(self.group.file.attrs["extractors"]).values():
            made = modality.get(self.name)
            if isinstance(made, dict) and "identity" in made:
                found = dict(made["identity"])
        if self.has_tokens:
            found["vectors"] = recorded(self.group["vectors"])
        return found

    @property
    def checksums(self) -> np.ndarray:
        """[N] uint32, of each utterance's rows, as recorded when the store was written."""
        return self.group["crc32"][:]

    @property
    def names(self) -> list[str]:
        """What each value of an utterance-level stream is."""
        return self.group["names"].asstr()[:].tolist()

    @cached_property
    def offsets(self) -> np.ndarray:
        """[N + 1] int64; of an utterance-level stream 0 to N."""
        if self.is_sequence:
            return self.group["offsets"][:]
        return np.arange(len(self.group["values"]) + 1)

    @property
    def lengths(self) -> np.ndarray:
        """[N] int64, steps of each utterance."""
        return np.diff(self.offsets)

    def __getitem__(self, index: int) -> np.ndarray:
        """Values of one utterance: [T, D] float32, [T] int32 token ids, or [P] float32."""
        values = self.aligned("values", index)
        return values.astype(np.float32, copy=False) if values.dtype.kind == "f" else values

    def numbers(self, index: int) -> np.ndarray:
        """[T, D] or [P] float32 of one utterance; of token ids their vectors."""
        return self.vectors[self[index]] if self.has_tokens else self[index]

    def statistics(self, indices: np.ndarray, lengths: np.ndarray | None = None) -> Statistics:
        """Mean and standard deviation over all steps of the utterances at `indices`.

        Two passes in float64, one utterance at a time. A value that never varies gets deviation 1.

        Parameters
        ----------
        indices
            Rows of the store.
        lengths
            [N] how many steps of each utterance of the store count, the first ones; None: all.
        """
        lengths = self.lengths if lengths is None else lengths
        steps = max(int(lengths[indices].sum()), 1)
        mean, square = np.zeros(self.width), np.zeros(self.width)
        for index in indices:
            mean += self._steps(index, lengths).sum(axis=0, dtype=np.float64) / steps
        for index in indices:
            square += np.square(self._steps(index, lengths) - mean).sum(axis=0) / steps
        deviation = np.sqrt(square)
        varies = deviation > 1e-6 * (1 + np.abs(mean))
        return Statistics(mean, np.where(varies, deviation, 1.0))

    def _steps(self, index: int, lengths: np.ndarray) -> np.ndarray:
        """[T, D], the steps of one utterance that count; of an utterance-level stream one."""
        return np.atleast_2d(self.numbers(index))[: lengths[index]]

    def aligned(self, name: str, index: int) -> np.ndarray:
        """Steps of one utterance from any step-aligned dataset, such as ``times``."""
        rows = self._rows(name)
        if not self.is_sequence:
            return np.array(rows[index])
        index = range(len(self.offsets) - 1)[index]  # as of any sequence, from the end too
        return np.array(rows[self.offsets[index] : self.offsets[index + 1]])

    def _rows(self, name: str) -> np.ndarray | h5py.Dataset:
        if name not in self._opened:
            self._opened[name] = _mapped(self.group[name])
        return self._opened[name]

    @cached_property
    def _opened(self) -> dict[str, np.ndarray | h5py.Dataset]:
        return {}

    def words(self, index: int) -> list[str]:
        """What each step of one utterance is called.

        Its token; where the store holds no text ``#`` and the token's id; where it holds no ids
        either, or the stream has none, ``#`` and the step's number from 0.
        """
        dataset = "values" if self.has_tokens else "tokens"
        if dataset in self.group:
            ids = self.aligned(dataset, index)
        else:
            ids = np.arange(len(self.aligned("values", index)))
        if "vocabulary" in self.group:
            return [self.vocabulary[token] for token in ids]
        return [f"#{number}" for number in ids]

    @cached_property
    def vocabulary(self) -> list[str]:
        """The string of each token id; only where the store holds text."""
        return self.group["vocabulary"].asstr()[:].tolist()

    @cached_property
    def vectors(self) -> np.ndarray:
        """[V, D] float32, the vector of each token id."""
        return self.group["vectors"][:]


def _mapped(dataset: h5py.Dataset) -> np.ndarray | h5py.Dataset:
    """The dataset as an array in the file's own pages, where its layout allows; else itself.

    A slice of such an array takes microseconds, one through HDF5 takes a hundred of them.
    """
    file = dataset.file
    offset = dataset.id.get_offset()  # None unless its bytes lie in one piece
    if offset is None or file.mode != "r" or file.driver != "sec2":
        return dataset
    # by HDF5's own descriptor, since the path may name another file by now
    pages = mmap.mmap(file.id.get_vfd_handle(), 0, access=mmap.ACCESS_READ)
    values = np.frombuffer(pages, dataset.dtype, dataset.size, offset)
    return values.reshape(dataset.shape)


class FeatureStore:
    """A store opened for reading; use as a context manager or close it.

    ``store["Ses01F_impro01_F000"]`` or ``store[0]`` are the arrays of an utterance by stream.

    Raises
    ------
    StoreError
        If the file is missing, damaged or of another schema version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.file = open_checked(self.path)
        self._streams: dict[str, Stream] = {}

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; streams can no longer be read."""
        self._streams.clear()
        self.file.close()

    def __len__(self) -> int:
        return len(self.file["utterances/id"])

    def __iter__(self) -> Iterator[str]:
        """Ids of the utterances, in the store's order."""
        return iter(self.row_of)

    def __getitem__(self, utterance: str | int) -> dict[str, np.ndarray]:
        """Arrays by stream of one utterance, named by its id or its row.

        Raises
        ------
        StoreError
            If there is no such utterance.
        """
        if isinstance(utterance, str):
            if utterance not in self.row_of:
                raise StoreError(f"{self.path}: has no utterance {utterance}")
            row = self.row_of[utterance]
        else:
            row = int(utterance)
            if not -len(self) <= row < len(self):
                raise StoreError(f"{self.path}: has no row {row}; it has {len(self)} utterances")
        return {name: self.stream(name)[row] for name in self.streams}

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each utterance, by id."""
        ids = self.file["utterances/id"].asstr()[:]
        return {utterance: row for row, utterance in enumerate(ids)}

    @cached_property
    def utterances(self) -> pd.DataFrame:
        """The utterance table, one row an utterance in the store's order."""
        columns = {}
        for name, dataset in self.file["utterances"].items():
            if name == "crc32":
                continue
            is_text = h5py.check_string_dtype(dataset.dtype) is not None
            columns["utterance" if name == "id" else name] = (
                dataset.asstr()[:] if is_text else dataset[:]
            )
        return pd.DataFrame(columns)

    @property
    def scenarios(self) -> dict[str, str]:
        """The scenario of each utterance, by id; empty for none."""
        table = self.utterances
        return dict(zip(table["utterance"], table["scenario"], strict=True))

    @cached_property
    def description(self) -> Description:
        """The corpus: its codes, label schemes and words.

        Raises
        ------
        StoreError
            If the store is of before it was kept.
        """
        if "description" not in self.file.attrs:
            raise StoreError(
                f"{self.path}: does not say what its corpus is; make it again with `dvc repro`"
            )
        return Description.from_json(self.file.attrs["description"])

    @cached_property
    def streams(self) -> list[str]:
        """Names of the streams: what models may read. Labels, and so the votes, are none."""
        return sorted(set(self.file) - {"utterances", "votes"})

    @property
    def votes(self) -> Stream | None:
        """How many evaluators chose each code, [N, codes]; None if the store holds no votes."""
        return Stream("votes", self.file["votes"]) if "votes" in self.file else None

    @property
    def sha256(self) -> str:
        """Hash of all content and attributes, as recorded when the store was written."""
        return self.file.attrs["sha256"].decode()

    def stream(self, name: str) -> Stream:
        """One stream by name.

        Raises
        ------
        StoreError
            If there is none of that name; the message lists those there are.
        """
        if name not in self.streams:
            if name == "votes":
                raise StoreError(f"{self.path}: votes are labels, which no model may read")
            raise StoreError(f"{self.path}: has no stream {name}; it has {', '.join(self.streams)}")
        if name not in self._streams:
            self._streams[name] = Stream(name, self.file[name])
        return self._streams[name]
