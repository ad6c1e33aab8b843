"""Shared by the export formats: the parts of a fold, padded arrays on disk, complete outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipeline import InputError, params
from pipeline.corpus import labels
from pipeline.store import FeatureStore, Statistics, Stream
from pipeline.system.filesystem import replacing
from pipeline.training import splits

STEPS = {"audio": 750, "text": 128, "video": 32}
"""The default length of each modality, to which it is padded or truncated: that of the AMH code."""


class ExportError(InputError):
    """An export is not possible; the message names the option or file and the remedy."""


def divide(
    store: FeatureStore, settings: params.Params, lists: Path, fold: int | None
) -> tuple[np.ndarray, tuple[str, ...], dict[str, np.ndarray]]:
    """Return the classes of all utterances, and the rows of the parts of one fold.

    Parameters
    ----------
    store
        The store.
    settings
        The groups `labels` and `split` are used.
    lists
        The folder of fixed lists of protocol `file`.
    fold
        The number of the fold; None for the first.

    Returns
    -------
    tuple
        [N] class indices (-1: none), the names of the classes, and the rows of ``train``,
        ``development`` and ``test`` in the store.

    Raises
    ------
    ExportError
        If there is no fold with this number.
    """
    table = store.utterances
    scheme = labels.scheme(settings.labels.scheme, store.description, settings.labels.scenarios)
    classes = scheme.of(table)
    divided = splits.folds(table, classes, settings.split, lists, store.description.group)
    folds = {each.number: each for each in divided}
    number = min(folds) if fold is None else fold
    if number not in folds:
        numbers = ", ".join(map(str, sorted(folds)))
        raise ExportError(f"--fold {number}: there is no such fold; there are {numbers}")
    parts = {
        part: np.flatnonzero(table["utterance"].isin(getattr(folds[number], part)))
        for part in splits.PARTS
    }
    return classes, scheme.classes, parts


def of_kind(store: FeatureStore, kind: str, name: str) -> Stream:
    """Open a stream, which must be a sequence, or for prosody have one row per utterance."""
    stream = store.stream(name)
    if stream.is_sequence == (kind == "prosody"):
        shape = "steps" if stream.is_sequence else "one row per utterance"
        raise ExportError(
            f"--streams {kind}={name}: {name} has {shape}; name another stream, or {kind}=none"
        )
    return of_one_layer(stream)


def of_one_layer(stream: Stream) -> Stream:
    """Return the stream, unless it has several layers.

    Raises
    ------
    ExportError
        If it has: other code reads one vector per step.
    """
    if stream.layers:
        raise ExportError(
            f"--streams: {stream.name} has the layers {stream.layers}; extract one of them as a "
            "stream of its own, or name another stream"
        )
    return stream


def measured(
    streams: Mapping[str, Stream], train: np.ndarray, steps: Mapping[str, int]
) -> dict[str, Statistics]:
    """Return the statistics of each stream over the exported steps of the rows `train`, by kind."""
    return {
        kind: stream.statistics(
            train, np.minimum(stream.lengths, steps[kind]) if kind in steps else None
        )
        for kind, stream in streams.items()
    }


def write_array(
    stream: Stream,
    rows: np.ndarray,
    path: Path,
    progress: str,
    *,
    steps: int | None,
    vectors: bool = False,
    statistics: Statistics | None = None,
) -> None:
    """Write a .npy file with the features of the utterances at `rows`.

    The shape is [N, steps, D], for token ids [N, steps], or, without `steps`, [N, P] for
    utterance-level features. Sequences are padded with zeros, and missing utterance-level features
    are zeros. With `vectors`, token ids are replaced by their vectors; with `statistics`, features
    are standardised.
    """
    is_ids = stream.has_tokens and not vectors
    shape = (steps,) if steps else ()
    shape = shape if is_ids else (*shape, stream.width)
    dtype = np.dtype(np.int32 if is_ids else np.float32)
    # Rows are appended, so that a full disk is an error. With a memory map, it would be a signal
    # that ends the process.
    with path.open("wb") as file:
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (len(rows), *shape),
        }
        np.lib.format.write_array_header_1_0(file, header)
        for row in tqdm(rows, progress, unit="utt"):
            values = (stream[row] if is_ids else stream.numbers(row))[:steps]
            if statistics is not None:
                values = statistics.standardise(values)
            padded = np.zeros(shape, dtype)
            padded[: len(values)] = values
            file.write((padded if steps else np.nan_to_num(padded)).data)


@contextmanager
def new_output(output: Path) -> Iterator[Path]:
    """Give a path to write a file or folder to; it becomes `output` when it is complete.

    Raises
    ------
    ExportError
        If `output` exists or cannot be written.
    """
    try:
        if output.exists():
            raise ExportError(f"{output}: exists; remove it or name another output")
        with replacing(output) as partial:
            yield partial
    except OSError as error:
        raise ExportError(f"{output}: cannot be written: {error.strerror or error}") from error
