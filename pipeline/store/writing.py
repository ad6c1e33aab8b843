"""Writing a feature store from the utterance table, the votes and each modality's features."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd

from pipeline.corpus.description import Description
from pipeline.corpus.table import CorpusError
from pipeline.hdf5 import bytes_a_row, remove_remains, rows_a_block, write_strings, writing
from pipeline.space import full_disk_reported, reserved
from pipeline.store import hashing
from pipeline.store.checking import check
from pipeline.store.reading import SCHEMA_VERSION, StoreError, Stream, open_checked

if TYPE_CHECKING:
    from pipeline.features.extractor import Extractor

_NUMBERS = ("order", "start", "end", "valence", "activation", "dominance")


@dataclass(frozen=True)
class Storage:
    """How a store is written.

    Attributes
    ----------
    include_text
        Whether it holds transcripts, vocabularies and tokens.
    streams
        By stream, what has its `dtype` and `compression`: an extractor. They are for values with
        steps, which are nearly all of the bytes; times, vectors, values of whole utterances and
        streams made elsewhere are kept as they are.
    chunk
        Bytes of a chunk, where values are compressed.
    """

    include_text: bool = True
    streams: Mapping[str, Extractor] = field(default_factory=dict)
    chunk: int = 256 * 1024

    def of(self, stream: Stream) -> tuple[str, str]:
        """Type and compression of the values of a stream."""
        found = self.streams.get(stream.name)
        return (found.dtype, found.compression) if found else ("float32", "none")


def assemble(
    table: pd.DataFrame,
    votes: pd.DataFrame,
    modalities: Sequence[Path],
    output: Path,
    *,
    corpus: str,
    parameters: dict,
    storage: Storage,
    description: Description | None = None,
) -> None:
    """Join the utterance table, the votes and each modality's features to one verified store.

    Parameters
    ----------
    table
        The utterance table.
    votes
        How many raters chose each of the corpus's codes, in the rows of `table`.
    modalities
        The HDF5 files that the extraction stages wrote, and those of streams made elsewhere.
    output
        The store; appears only when it is whole and verified.
    corpus, parameters
        Its name and the feature parameters, kept as attributes.
    storage
        How it is written.
    description
        What later stages are told of the corpus; without it nothing can be trained on the store.

    Raises
    ------
    StoreError
        If utterances differ between table and modalities, a stream is damaged or there twice, or a
        value is too large for float16.
    CorpusError
        If votes are of other utterances than the table.
    FullDiskError
        If there is no room.
    """
    ids = table["utterance"].tolist()
    if votes["utterance"].tolist() != ids:
        raise CorpusError(
            "votes.csv: its utterances are not those of utterances.csv; `dvc repro --force "
            "--single-item parse` makes both"
        )
    votes = votes.drop(columns="utterance").astype(np.float32)
    if not storage.include_text:
        table = table.drop(columns="text")
    output.parent.mkdir(parents=True, exist_ok=True)
    remove_remains(output)
    with _opened(modalities, ids) as (streams, extractors):
        needed = _size(table, votes, streams, storage)
        remedy = "make room and run `dvc repro store` again"
        with (
            full_disk_reported(output, needed, remedy),
            writing(output) as file,
            reserved(file, needed),
        ):
            file.attrs["schema_version"] = SCHEMA_VERSION
            file.attrs["corpus"] = corpus
            if description:
                file.attrs["description"] = description.as_json()
            file.attrs["parameters"] = json.dumps(parameters, sort_keys=True)
            file.attrs["extractors"] = json.dumps(extractors, sort_keys=True)
            file.attrs["storage"] = json.dumps({"include_text": storage.include_text})
            # all that says what lies where comes before the bulk, so that a file whose end is
            # lost can still be read up to there
            _write_table(table, votes, file)
            for stream in streams.values():
                _create_stream(stream, file, storage)
            hashing.prepare(file, len(ids))
            for stream in streams.values():
                if stream.is_sequence:
                    _copy_values(stream, file[f"{stream.name}/values"], ids)
            faults = check(file)
            if faults:
                raise StoreError(f"{output} is not written:\n  " + "\n  ".join(faults))
            hashing.record(file)


@contextmanager
def _opened(
    modalities: Sequence[Path], ids: list[str]
) -> Iterator[tuple[dict[str, Stream], dict[str, Any]]]:
    """The streams of all files by name, and what made each file."""
    streams: dict[str, Stream] = {}
    extractors = {}
    with ExitStack() as stack:
        for path in modalities:
            source = stack.enter_context(open_checked(path))
            _same_ids(source, ids, path)
            extractors[path.stem] = json.loads(source.attrs["extractor"])
            for name in sorted(set(source) - {"utterances"}):
                if name in streams:
                    raise StoreError(
                        f"{path}: has a stream {name}, which another file has too; rename one"
                    )
                streams[name] = Stream(name, source[name])
        yield streams, extractors


def _write_table(table: pd.DataFrame, votes: pd.DataFrame, file: h5py.File) -> None:
    for column in table.columns:
        name = "id" if column == "utterance" else column
        if column in _NUMBERS:
            file[f"utterances/{name}"] = table[column].to_numpy()
        else:
            write_strings(file, f"utterances/{name}", table[column].tolist())
    if len(votes.columns):
        file["votes/values"] = votes.to_numpy()
        write_strings(file, "votes/names", votes.columns.tolist())


def _size(
    table: pd.DataFrame, votes: pd.DataFrame, streams: dict[str, Stream], storage: Storage
) -> int:
    """Bytes that the store takes at most."""
    total = 4 * votes.size
    for column in table.columns:
        longest = max((len(str(value).encode()) for value in table[column]), default=0)
        total += max(longest, 8) * len(table)
    datasets = len(table.columns)
    for stream in streams.values():
        for name, dataset in stream.group.items():
            if _is_kept(name, dataset, storage):
                total += dataset.size * _type(stream, name, storage).itemsize
                datasets += 1
        total += 4 * len(table)  # checksums
    # HDF5's own: headers, attributes and chunk indices
    return total + 8192 * (datasets + 8) + total // 200


def _same_ids(source: h5py.File, ids: list[str], path: Path) -> None:
    found = source["utterances/id"].asstr()[:].tolist()
    if found != ids:
        differing = sorted(set(found) ^ set(ids))
        example = f", such as {differing[0]}" if differing else " in their order"
        raise StoreError(
            f"{path}: its utterances differ from the utterance table{example}; "
            "run `dvc repro store` to extract again"
        )


def _is_kept(name: str, dataset: h5py.Dataset, storage: Storage) -> bool:
    """Whether a dataset of a stream goes into the store; without text, nothing spells words."""
    if storage.include_text or name == "names":
        return True
    return name != "tokens" and h5py.check_string_dtype(dataset.dtype) is None


def _type(stream: Stream, name: str, storage: Storage) -> np.dtype:
    dtype = stream.group[name].dtype
    is_large = name == "values" and stream.is_sequence and dtype.kind == "f"
    return np.dtype(storage.of(stream)[0]) if is_large else dtype


def _create_stream(stream: Stream, file: h5py.File, storage: Storage) -> None:
    """Copy a stream but for the values of a sequence, which are only given their place."""
    for name in sorted(stream.group):
        dataset = stream.group[name]
        if name == "values" and stream.is_sequence:
            dtype = _type(stream, name, storage)
            file.create_dataset(
                f"{stream.name}/values", dataset.shape, dtype, **_layout(stream, dtype, storage)
            )
        elif _is_kept(name, dataset, storage):
            file.copy(dataset, file, name=f"{stream.name}/{name}")


def _layout(stream: Stream, dtype: np.dtype, storage: Storage) -> dict[str, Any]:
    """How HDF5 is to store values with steps."""
    dataset, (_, compression) = stream.group["values"], storage.of(stream)
    if compression == "none" or not dataset.size:
        return {}
    rows = storage.chunk // bytes_a_row(dataset, dtype)
    chunks = (min(max(1, rows), len(dataset)), *dataset.shape[1:])
    return {"chunks": chunks, "compression": compression, "shuffle": True}


def _copy_values(stream: Stream, target: h5py.Dataset, ids: list[str]) -> None:
    """Copy the values of a sequence stream block by block, in the type of `target`."""
    source = stream.group["values"]
    step = rows_a_block(target)
    if target.chunks:  # whole chunks, each compressed once
        step = max(1, step // target.chunks[0]) * target.chunks[0]
    for start in range(0, len(source), step):
        block = source[start : start + step]
        with np.errstate(over="ignore"):  # said below
            values = block.astype(target.dtype, copy=False)
        lost = np.isinf(values) & np.isfinite(block)
        if lost.any():
            index = start + int(np.argmax(lost.reshape(len(lost), -1).any(axis=1)))
            utterance = ids[np.searchsorted(stream.offsets, index, "right") - 1]
            raise StoreError(
                f"{stream.name}/values: {block[lost][0]:g} in utterance {utterance} is too large "
                "for float16; set the stream's dtype to float32"
            )
        target[start : start + step] = values
