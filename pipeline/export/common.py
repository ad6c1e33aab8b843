"""What the export formats share: the parts of a fold, padded arrays on disk, whole outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline import InputError, params
from pipeline.corpus import labels
from pipeline.store import FeatureStore, Statistics, Stream
from pipeline.system.filesystem import replacing
from pipeline.training import splits

STEPS = {"audio": 750, "text": 128, "video": 32}
"""The steps that each modality is padded or cut to by default: those of the AMH paper's code."""


class ExportError(InputError):
    """What cannot be exported as asked; the message names the option or file and the remedy."""


def divide(
    store: FeatureStore, settings: params.Params, lists: Path, fold: int | None
) -> tuple[np.ndarray, tuple[str, ...], dict[str, np.ndarray]]:
    """Classes of all utterances and rows of the parts of one fold.

    Parameters
    ----------
    store
        The store.
    settings
        Its groups `labels` and `split` are used.
    lists
        The folder of fixed lists of protocol `file`.
    fold
        A fold's number; None: the first.

    Returns
    -------
    tuple
        [N] class indices (-1: none), the classes' names, and the rows of ``train``,
        ``development`` and ``test`` in the store.

    Raises
    ------
    ExportError
        If there is no fold of that number.
    """
    table = store.utterances
    scheme = labels.scheme(settings.labels.scheme, store.description, settings.labels.scenarios)
    classes = scheme.of(table)
    word = store.description.group
    divided = splits.folds(table, classes, settings.split, lists, word)
    folds = {found.number: found for found in divided}
    number = min(folds) if fold is None else fold
    if number not in folds:
        known = ", ".join(map(str, sorted(folds)))
        raise ExportError(f"--fold {number}: there is no such fold; there are {known}")
    parts = {
        part: np.flatnonzero(table["utterance"].isin(getattr(folds[number], part)))
        for part in splits.PARTS
    }
    return classes, scheme.classes, parts


def of_kind(store: FeatureStore, kind: str, name: str) -> Stream:
    """The stream, which must have steps, or one row per utterance for prosody."""
    stream = store.stream(name)
    if stream.is_sequence == (kind == "prosody"):
        has = "steps" if stream.is_sequence else "one row per utterance"
        raise ExportError(
            f"--streams {kind}={name}: {name} has {has}; name another stream, or {kind}=none"
        )
    return stream


def measured(
    streams: Mapping[str, Stream], train: np.ndarray, steps: Mapping[str, int]
) -> dict[str, Statistics]:
    """By kind the statistics of each stream over the exported steps of the rows `train`."""
    return {
        kind: stream.statistics(
            train, np.minimum(stream.lengths, steps[kind]) if kind in steps else None
        )
        for kind, stream in streams.items()
    }


def write_padded(
    stream: Stream,
    rows: np.ndarray,
    steps: int,
    path: Path,
    progress: str,
    *,
    vectors: bool = False,
    statistics: Statistics | None = None,
) -> np.ndarray:
    """Write [N, steps, D] or [N, steps] and return the [N] lengths after the cut.

    With `vectors` token ids become theirs; with `statistics` values are standardised. Padding is
    zero in any case.
    """
    is_ids = stream.has_tokens and not vectors
    shape = (steps,) if is_ids else (steps, stream.width)
    dtype = np.dtype(np.int32 if is_ids else np.float32)
    with path.open("wb") as file:
        write_header(file, (len(rows), *shape), dtype)
        for row in tqdm(rows, progress, unit="utt"):
            found = (stream[row] if is_ids else stream.numbers(row))[:steps]
            if statistics is not None:
                found = statistics.standardise(found)
            padded = np.zeros(shape, dtype)
            padded[: len(found)] = found
            file.write(padded.data)
    return np.minimum(stream.lengths[rows], steps)


def write_rows(
    stream: Stream, rows: np.ndarray, path: Path, progress: str, statistics: Statistics | None
) -> None:
    """Write [N, P] of an utterance-level stream; with `statistics` values are standardised.

    An utterance without values gets zeros.
    """
    with path.open("wb") as file:
        write_header(file, (len(rows), stream.width), np.dtype(np.float32))
        for row in tqdm(rows, progress, unit="utt"):
            found = stream[row]
            if statistics is not None:
                found = statistics.standardise(found)
            file.write(np.nan_to_num(found.astype(np.float32)).data)


def write_header(file: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Begin a .npy file; rows that follow are appended, so that a full disk is an error.

    A memory map of a file that does not fit on the disk would end the process by a signal.
    """
    descr = np.lib.format.dtype_to_descr(dtype)
    content = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, content)


@contextmanager
def whole(output: Path) -> Iterator[Path]:
    """A path to write a file or folder to, which is `output` once it is whole.

    Raises
    ------
    ExportError
        If there is something already, or the system does not let write it.
    """
    try:
        if output.exists():
            raise ExportError(f"{output}: exists; remove it or name another output")
        with replacing(output) as partial:
            yield partial
    except OSError as error:
        raise ExportError(f"{output}: is not written: {error.strerror or error}") from error
