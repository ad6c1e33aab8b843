"""Reading a feature store: utterance by utterance, with nothing in memory but what is asked for."""

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
"""The file of a store's folder that names all others."""

_UNPACK = "`dvc pull` fetches it, and `dvc repro` makes it"


class StoreError(InputError):
    """A feature store that cannot be used; the message names the file and the remedy."""


class DamagedStoreError(StoreError):
    """A file whose content is damaged, or which is no HDF5 file."""


def open_checked(path: Path) -> h5py.File:
    """Open a file of a store, of the schema version that this code reads.

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
        raise StoreError(f"{path}: no such file; {_UNPACK}") from error
    except OSError as error:
        if error.errno:
            raise StoreError(unreadable(path, error)) from error
        if hdf5.is_open_otherwise(error):
            raise StoreError(
                f"{path}: this process has it open already, for writing or with locks; close it"
            ) from error
        raise DamagedStoreError(
            f"{path}: is no HDF5 file or is damaged ({error}); `dvc checkout --force` or "
            "`dvc pull --force` brings it back"
        ) from error
    try:
        version = file.attrs.get("schema_version")
    except (OSError, RuntimeError) as error:
        file.close()
        if isinstance(error, OSError) and error.errno:
            raise StoreError(unreadable(path, error)) from error
        raise DamagedStoreError(
            f"{path}: its attributes are damaged ({error}); `python -m pipeline.store verify` says "
            "what else is"
        ) from error
    if version != SCHEMA_VERSION:
        file.close()
        remedy = "make it again with `dvc repro`"
        if version == 2:
            remedy = "`python -m pipeline.store convert` turns it into a folder of streams"
        found = "has no schema version" if version is None else f"has schema version {version}"
        raise StoreError(f"{path}: {found}, this code reads version {SCHEMA_VERSION}; {remedy}")
    return file


def columns(group: h5py.Group) -> dict[str, np.ndarray]:
    """The datasets of a group with a row per utterance, by name."""
    found = {}
    for name in sorted(set(group) - {hashing.CHECKSUMS}):
        is_text = h5py.check_string_dtype(group[name].dtype) is not None
        found[name] = group[name].asstr()[:] if is_text else group[name][:]
    return found


class FeatureStore:
    """A store opened for reading; use as a context manager or close it.

    ``store["Ses01F_impro01_F000"]`` or ``store[0]`` are the arrays of an utterance by stream.
    Stream files are opened when they are first read.

    Parameters
    ----------
    path
        The folder, or a packed file.

    Raises
    ------
    StoreError
        If something is missing, damaged or of another schema version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.is_packed = self.path.is_file()
        self._table = open_checked(self.path if self.is_packed else self.path / TABLE)
        self._files: list[h5py.File] = [self._table]
        self._streams: dict[str, Stream] = {}
        listed = json.loads(self._table.attrs["streams"])
        self._modality = {name: modality for modality, names in listed.items() for name in names}
        self._recorded = {
            name: sha256 for names in listed.values() for name, sha256 in names.items()
        }

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files; streams can no longer be read."""
        self._streams.clear()
        for file in self._files:
            file.close()

    def __len__(self) -> int:
        return len(self._table["utterances/utterance"])

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
        ids = self._table["utterances/utterance"].asstr()[:]
        return {utterance: row for row, utterance in enumerate(ids)}

    @property
    def table(self) -> h5py.File:
        """The file with utterances and labels."""
        return self._table

    @cached_property
    def utterances(self) -> pd.DataFrame:
        """One row per utterance in the store's order: its columns, then its labels but votes."""
        labels = columns(self._table["labels"])
        del labels["votes"]
        return pd.DataFrame(columns(self._table["utterances"]) | labels)

    @property
    def corpus(self) -> str:
        """Its name."""
        return str(self._table.attrs["corpus"])

    @cached_property
    def description(self) -> Description:
        """The corpus: its codes, label schemes and words."""
        return Description.from_json(self._table.attrs["description"])

    @property
    def scenarios(self) -> dict[str, str]:
        """The scenario of each utterance, by id; empty for none."""
        table = self.utterances
        return dict(zip(table["utterance"], table["scenario"], strict=True))

    @property
    def votes(self) -> np.ndarray:
        """[N, categories] float32, how many evaluators chose each category."""
        return self._table["labels/votes"][:]

    @property
    def categories(self) -> list[str]:
        """The corpus's codes that can be voted for; empty where it has no votes."""
        return list(json.loads(self._table.attrs["categories"]))

    @property
    def sha256(self) -> str:
        """Hash of all content and attributes, as recorded when the store was written."""
        return hashing.recorded(self._table)

    @cached_property
    def streams(self) -> list[str]:
        """Names of the streams: what models may read. Labels are none."""
        return sorted(self._modality)

    def modality(self, name: str) -> str:
        """The group of ``params.yaml`` that a stream is of: audio, text or visual."""
        return self._modality[name]

    def stream(self, name: str) -> Stream:
        """One stream by name.

        Raises
        ------
        StoreError
            If there is none of that name, with those there are; if its file is missing, or is not
            the one that the store was made with.
        """
        if name not in self._modality:
            raise StoreError(f"{self.path}: has no stream {name}; it has {', '.join(self.streams)}")
        if name not in self._streams:
            self._streams[name] = self._open(name)
        return self._streams[name]

    def _open(self, name: str) -> Stream:
        modality = self._modality[name]
        if self.is_packed:
            return Stream(name, self._table[f"{modality}/{name}"])
        path = self.path / modality / f"{name}.h5"
        file = open_checked(path)
        self._files.append(file)
        stream = Stream(name, file)
        if stream.sha256 != self._recorded[name]:
            raise StoreError(
                f"{path}: is not the stream that {TABLE} was made with; `dvc repro store` makes "
                f"{TABLE} anew, `dvc pull` or `dvc checkout` brings back the stream"
            )
        return stream
