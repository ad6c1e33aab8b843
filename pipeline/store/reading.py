"""Reading of a feature store; features are read on access, one utterance at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from pipeline import InputError
from pipeline.corpus.description import Description
from pipeline.features import hashing
from pipeline.features.stream import SCHEMA_VERSION, Stream
from pipeline.system import hdf5
from pipeline.system.filesystem import unreadable

TABLE = "store.h5"
"""The file in the folder of a store that lists all streams."""


class StoreError(InputError):
    """A feature store that cannot be used; the message names the file and the remedy."""


class DamagedStoreError(StoreError):
    """A damaged file, or one that is not an HDF5 file."""


def open_checked(path: Path) -> h5py.File:
    """Open a file of a store, and check its schema version.

    Raises
    ------
    StoreError
        If it is missing, cannot be read, or is of another schema version.
    DamagedStoreError
        If it is not an HDF5 file or is damaged.
    """
    try:
        file = hdf5.reading(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            f"{path}: no such file; `dvc pull` fetches it, and `dvc repro` makes it"
        ) from error
    except OSError as error:
        if error.errno:
            raise StoreError(unreadable(path, error)) from error
        if any(text in str(error) for text in ("already open", "flag values don't match")):
            raise StoreError(
                f"{path}: this process has it open already, for writing or with locks; close it"
            ) from error
        raise DamagedStoreError(
            f"{path}: is not an HDF5 file or is damaged ({error}); `dvc checkout --force` or "
            "`dvc pull --force` brings it back"
        ) from error
    try:
        version = file.attrs.get("schema_version")
    except (OSError, RuntimeError) as error:
        file.close()
        if isinstance(error, OSError) and error.errno:
            raise StoreError(unreadable(path, error)) from error
        raise DamagedStoreError(
            f"{path}: its attributes are damaged ({error}); `python -m pipeline.store verify` "
            "lists all damage"
        ) from error
    if version != SCHEMA_VERSION:
        file.close()
        remedy = "make it again with `dvc repro`"
        if version == 2:
            remedy = "`python -m pipeline.store convert` turns it into a folder of streams"
        has = "has no schema version" if version is None else f"has schema version {version}"
        raise StoreError(f"{path}: {has}, this code reads version {SCHEMA_VERSION}; {remedy}")
    return file


def columns(group: h5py.Group) -> dict[str, np.ndarray]:
    """The datasets of a group that have one row per utterance, by name."""
    datasets = {name: group[name] for name in sorted(set(group) - {hashing.CHECKSUMS})}
    return {
        name: (dataset.asstr() if h5py.check_string_dtype(dataset.dtype) else dataset)[:]
        for name, dataset in datasets.items()
    }


class FeatureStore:
    """A store, opened for reading; use it as a context manager, or close it.

    ``store["Ses01F_impro01_F000"]`` or ``store[0]`` are the arrays of an utterance by stream.
    Stream files are opened when they are first read.

    Parameters
    ----------
    path
        The folder, or a packed file.

    Attributes
    ----------
    table
        The HDF5 file with utterances and labels.

    Raises
    ------
    StoreError
        If a file is missing, damaged or of another schema version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.is_packed = self.path.is_file()
        self.table = open_checked(self.path if self.is_packed else self.path / TABLE)
        self._files: list[h5py.File] = [self.table]
        self._streams: dict[str, Stream] = {}
        self._recorded = {
            name: (modality, sha256)
            for modality, streams in json.loads(self.table.attrs["streams"]).items()
            for name, sha256 in streams.items()
        }

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._streams.clear()
        for file in self._files:
            file.close()

    def __len__(self) -> int:
        return len(self.table["utterances/utterance"])

    def __iter__(self) -> Iterator[str]:
        """Ids of the utterances, in the order of the store."""
        return iter(self.row_of)

    def __getitem__(self, utterance: str | int) -> dict[str, np.ndarray]:
        """Arrays of one utterance by stream; the utterance is given by its id or row.

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
        ids = self.table["utterances/utterance"].asstr()[:]
        return {utterance: row for row, utterance in enumerate(ids)}

    @cached_property
    def utterances(self) -> pd.DataFrame:
        """The utterance table, in the order of the store, with labels and without votes."""
        labels = columns(self.table["labels"])
        del labels["votes"]
        return pd.DataFrame(columns(self.table["utterances"]) | labels)

    @property
    def corpus(self) -> str:
        return str(self.table.attrs["corpus"])

    @cached_property
    def description(self) -> Description:
        """The codes, label schemes and terms of the corpus."""
        return Description.from_json(self.table.attrs["description"])

    @property
    def scenarios(self) -> dict[str, str]:
        """The scenario of each utterance, by id; empty if it has none."""
        table = self.utterances
        return dict(zip(table["utterance"], table["scenario"], strict=True))

    @property
    def votes(self) -> np.ndarray:
        """[N, categories] float32, the number of raters who chose each category."""
        return self.table["labels/votes"][:]

    @property
    def categories(self) -> list[str]:
        """The codes that raters can vote for; empty for a corpus without votes."""
        return list(json.loads(self.table.attrs["categories"]))

    @property
    def sha256(self) -> str:
        """Hash of all content and attributes, as recorded when the store was written."""
        return hashing.recorded(self.table)

    @property
    def streams(self) -> list[str]:
        """Names of the streams, which are the possible inputs of models."""
        return sorted(self._recorded)

    def modality(self, name: str) -> str:
        """The group of ``params.yaml`` to which a stream belongs: audio, text or visual."""
        return self._recorded[name][0]

    def stream(self, name: str) -> Stream:
        """One stream by name.

        Raises
        ------
        StoreError
            If there is no stream of that name, or its file is missing, or it is not the file that
            the store was made with.
        """
        if name not in self._recorded:
            raise StoreError(f"{self.path}: has no stream {name}; it has {', '.join(self.streams)}")
        if name not in self._streams:
            self._streams[name] = self._open(name)
        return self._streams[name]

    def _open(self, name: str) -> Stream:
        modality, sha256 = self._recorded[name]
        if self.is_packed:
            return Stream(name, self.table[f"{modality}/{name}"])
        path = self.path / modality / f"{name}.h5"
        file = open_checked(path)
        self._files.append(file)
        stream = Stream(name, file)
        if stream.sha256 != sha256:
            raise StoreError(
                f"{path}: is not the stream that {TABLE} was made with; `dvc repro store` makes "
                f"{TABLE} again, `dvc pull` or `dvc checkout` brings back the stream"
            )
        return stream
