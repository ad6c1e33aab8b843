"""A CSV file with a row an utterance: the mean of each stream over its steps."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipeline.export.common import whole
from pipeline.store import FeatureStore, Stream


def write(store: FeatureStore, output: Path, streams: Sequence[str] | None = None) -> None:
    """Write a CSV file of utterance-level means; an utterance without steps has empty cells.

    Columns ``utterance``, ``group``, ``dialog``, ``speaker``, ``emotion``, then
    ``<stream>_<number>`` for the mean over the steps, or ``<stream>_<name>`` for values of
    utterance-level streams as they are. Token ids count as their vectors. Nine digits keep every
    float32.

    Parameters
    ----------
    store
        The store.
    output
        The file, which must not exist.
    streams
        Which streams; None: all.

    Raises
    ------
    ExportError, StoreError
        If the file exists or a stream is missing.
    """
    chosen = [store.stream(name) for name in streams or store.streams]
    about = ["utterance", "group", "dialog", "speaker", "emotion"]
    header = [f"{stream.name}_{name}" for stream in chosen for name in _columns(stream)]
    table = store.utterances[about].itertuples(index=False)
    with whole(output) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*about, *header])
        for row, utterance in enumerate(tqdm(table, "means", len(store), unit="utt")):
            cells = [cell for stream in chosen for cell in _mean(stream, row)]
            writer.writerow([*utterance, *cells])


def _columns(stream: Stream) -> Sequence[str | int]:
    return range(stream.width) if stream.is_sequence else stream.names


def _mean(stream: Stream, row: int) -> list[str]:
    found = stream.numbers(row)
    if stream.is_sequence:
        if not len(found):
            return [""] * stream.width
        found = found.mean(axis=0, dtype=np.float64)
    return ["" if np.isnan(value) else f"{value:.9g}" for value in found]
