"""Writing of ``store.h5``, and packing of a store into one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from pipeline.corpus.description import Description
from pipeline.features import hashing
from pipeline.features.stream import SCHEMA_VERSION, Stream
from pipeline.store.reading import TABLE, FeatureStore, StoreError, open_checked
from pipeline.system.disk import full_disk_reported, reserved
from pipeline.system.hdf5 import remove_remains, write_strings, writing

LABELS = ("emotion", "valence", "activation", "dominance")
"""The columns of the utterance table that are labels."""


def write_table(
    folder: Path,
    table: pd.DataFrame,
    votes: pd.DataFrame,
    streams: Mapping[str, Sequence[str]],
    *,
    corpus: str,
    description: Description,
    include_text: bool = True,
) -> None:
    """Check the streams of a folder, and write ``store.h5``.

    Parameters
    ----------
    folder
        ``data/features/<corpus>``, with a file ``<modality>/<stream>.h5`` per stream.
    table
        The utterance table.
    votes
        Column ``utterance`` and one column per category; all other utterances have no votes.
    streams
        The names of the streams by modality.
    corpus, description
        The name and description of the corpus.
    include_text
        Whether transcripts are written.

    Raises
    ------
    StoreError
        If the utterances of a stream are not those of the table, or if there are votes for an
        unknown utterance.
    FullDiskError
        If there is too little disk space.
    """
    ids = table["utterance"].tolist()
    recorded = {
        modality: {name: _hash(folder / modality / f"{name}.h5", ids) for name in names}
        for modality, names in streams.items()
    }
    if not include_text:
        table = table.drop(columns="text")
    path = folder / TABLE
    remove_remains(path)
    needed = 3 * int(table.memory_usage(deep=True).sum() + votes.memory_usage(deep=True).sum())
    needed += 1 << 20
    with (
        full_disk_reported(path, needed, "free disk space and run `dvc repro store` again"),
        writing(path) as file,
        reserved(file, needed),
    ):
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["corpus"] = corpus
        file.attrs["description"] = description.as_json()
        file.attrs["streams"] = json.dumps(recorded, sort_keys=True)
        file.attrs["categories"] = json.dumps([name for name in votes if name != "utterance"])
        for column in table.columns:
            group = "labels" if column in LABELS else "utterances"
            if pd.api.types.is_numeric_dtype(table[column]):
                file[f"{group}/{column}"] = table[column].to_numpy()
            else:
                write_strings(file, f"{group}/{column}", table[column].tolist())
        file["labels/votes"] = _counts(ids, votes)
        for name in ("utterances", "labels"):
            hashing.prepare(file[name], len(ids))
        file.attrs["sha256"] = hashing.EMPTY
        record(file, len(ids))


def record(file: h5py.File, utterances: int) -> None:
    """Record the hashes of utterances, labels and the whole file."""
    groups = {}
    for name in ("utterances", "labels"):
        group = file[name]
        hashes = hashing.contents(group, np.arange(utterances + 1), list(group))
        hashing.record(group, hashes.datasets, hashes.crc32)
        groups[name] = hashing.recorded(group)
    file.attrs.modify("sha256", np.bytes_(hashing.whole(file, groups)))


def _counts(ids: Sequence[str], votes: pd.DataFrame) -> np.ndarray:
    """The votes of each utterance, [N, categories] float32."""
    unknown = sorted(set(votes["utterance"]) - set(ids))
    if unknown:
        raise StoreError(
            f"votes.csv: utterance {unknown[0]} is not in utterances.csv; `dvc repro --force "
            "--single-item parse` makes both"
        )
    wide = votes.set_index("utterance").reindex(list(ids), fill_value=0.0)
    return wide.to_numpy(np.float32)


def _hash(path: Path, ids: list[str]) -> str:
    """The recorded hash of a stream, whose utterances must be those of the table."""
    with open_checked(path) as file:
        stream = Stream(path.stem, file)
        if stream.utterances != ids:
            differing = sorted(set(stream.utterances) ^ set(ids))
            example = f", such as {differing[0]}" if differing else " in their order"
            raise StoreError(
                f"{path}: its utterances differ from the utterance table{example}; "
                "`dvc repro store` extracts again"
            )
        return stream.sha256


def pack(folder: Path, output: Path, streams: Sequence[str] | None = None) -> None:
    """Write a store as one self-contained file, which :class:`FeatureStore` opens too.

    Parameters
    ----------
    streams
        The streams to include; None for all. A selection changes the hash of the store.

    Raises
    ------
    StoreError
        If the store cannot be read, or has no such stream.
    FullDiskError
        If there is too little disk space.
    """
    with FeatureStore(folder) as store:
        chosen = [store.stream(name) for name in streams or store.streams]
        needed = sum(Path(stream.group.file.filename).stat().st_size for stream in chosen)
        needed += Path(store.table.filename).stat().st_size + (1 << 20)
        output.parent.mkdir(parents=True, exist_ok=True)
        remove_remains(output)
        with (
            full_disk_reported(output, needed, "free disk space or choose another output"),
            writing(output) as file,
            reserved(file, needed),
        ):
            for name, value in store.table.attrs.items():
                file.attrs[name] = value
            for name in ("utterances", "labels"):
                file.copy(store.table[name], name)
            listed: dict[str, dict[str, str]] = {}
            for stream in chosen:
                modality = store.modality(stream.name)
                listed.setdefault(modality, {})[stream.name] = stream.sha256
                group = file.require_group(modality).create_group(stream.name)
                for name, value in stream.group.attrs.items():
                    group.attrs[name] = value
                for name in sorted(stream.group):
                    file.copy(stream.group[name], group, name)
            if streams is not None:
                file.attrs["streams"] = json.dumps(listed, sort_keys=True)
                record(file, len(store))
