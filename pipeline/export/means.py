"""A CSV file with one row per utterance: the mean of each stream over its steps."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipeline.export.common import new_output, of_one_layer
from pipeline.store import FeatureStore, Stream


def write(store: FeatureStore, output: Path, streams: Sequence[str] | None = None) -> None:
    """Write a CSV file of utterance-level means; missing features are empty cells.

    The columns are ``utterance``, ``group``, ``dialog``, ``speaker``, ``emotion``, then
    ``<stream>_<number>`` for the mean over the steps, or ``<stream>_<name>`` for utterance-level
    features. Token ids are replaced by their vectors. Values have nine digits, enough for float32.

    Parameters
    ----------
    store
        The store.
    output
        The file, which must not exist.
    streams
        Names of the streams; None for all.

    Raises
    ------
    ExportError, StoreError
        If the file exists or a stream is missing.
    """
    chosen = [of_one_layer(store.stream(name)) for name in streams or store.streams]
    columns = ["utterance", "group", "dialog", "speaker", "emotion"]
    features = [
        f"{stream.name}_{name}"
        for stream in chosen
        for name in (range(stream.width) if stream.is_sequence else stream.names)
    ]
    table = store.utterances[columns].itertuples(index=False)
    with new_output(output) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*columns, *features])
        for row, utterance in enumerate(tqdm(table, "means", len(store), unit="utt")):
            cells = [cell for stream in chosen for cell in _mean(stream, row)]
            writer.writerow([*utterance, *cells])


def _mean(stream: Stream, row: int) -> list[str]:
    values = stream.numbers(row)
    if stream.is_sequence:
        if not len(values):
            return [""] * stream.width
        values = values.mean(axis=0, dtype=np.float64)
    return ["" if np.isnan(value) else f"{value:.9g}" for value in values]
