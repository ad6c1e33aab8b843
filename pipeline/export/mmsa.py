"""The pickle that MMSA (github.com/thuiar/MMSA) loads as its ``featurePath``."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.export.common import STEPS, ExportError, measured, of_kind, whole, write_padded
from pipeline.store import FeatureStore

STREAMS = {"audio": "mfcc", "text": "bert", "video": "resnet"}
"""The streams that are written by default."""

_NAMES = {"audio": "audio", "text": "text", "video": "vision"}  # MMSA's

NEUTRAL = 3.0  # the middle of the release's attribute scales, 1 to 5


def write(
    store: FeatureStore,
    output: Path,
    classes: np.ndarray,
    names: Sequence[str],
    parts: Mapping[str, np.ndarray],
    *,
    streams: Mapping[str, str] = STREAMS,
    steps: Mapping[str, int] = STEPS,
    standardise: bool = True,
) -> None:
    """Write the pickle that MMSA loads.

    A dict of ``train``, ``valid`` and ``test``, each a dict of ``id`` and ``raw_text`` (lists of
    strings; empty texts where the store holds none), ``text``, ``audio`` and ``vision`` [N, T, D]
    float32, ``audio_lengths`` and ``vision_lengths`` (lists of int), ``annotations`` (the classes'
    names), ``classification_labels`` [N] int64, and ``regression_labels`` [N] float32: the mean
    valence less 3, so that 0 is neutral as in MMSA's own data sets. Token ids become their vectors.

    Values are standardised as in :func:`pipeline.export.arrays.write`, those of text too. A fourth
    key ``statistics``, which MMSA does not look at, then holds the ``mean`` and the ``deviation``
    [D] float64 that ``text``, ``audio`` and ``vision`` had.

    The arrays load with every version of NumPy, also those before 2.

    Parameters
    ----------
    store, classes, parts, streams, steps, standardise
        As in :func:`pipeline.export.arrays.write`, without prosody.
    output
        The file, which must not exist.
    names
        The classes' names.

    Raises
    ------
    ExportError, StoreError
        If the file exists, a stream is missing or of another kind, or an utterance has no valence.
    """
    chosen = {kind: of_kind(store, kind, name) for kind, name in streams.items()}
    missing = sorted({"audio", "text", "video"} - set(chosen))
    if missing:
        raise ExportError(f"--streams: MMSA needs all modalities; name a stream of {missing[0]}")
    table = store.utterances
    rated = table["valence"].to_numpy(np.float64)
    for rows in parts.values():
        unrated = rows[np.isnan(rated[rows])]
        if len(unrated):
            raise ExportError(
                f"{table['utterance'].iloc[unrated[0]]} has no valence, which MMSA takes as its "
                f"target ({len(unrated)} such utterances); leave them out by a list of split.list"
            )
    texts = table["text"].tolist() if "text" in table else [""] * len(table)
    with (
        whole(output) as partial,
        TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as arrays,
    ):
        statistics = measured(chosen, parts["train"], steps) if standardise else {}
        content: dict[str, dict[str, Any]] = {}
        for part, rows in parts.items():
            short = {"development": "valid"}.get(part, part)
            content[short] = {
                "id": table["utterance"].iloc[rows].tolist(),
                "raw_text": [texts[row] for row in rows],
                "annotations": [names[label] for label in classes[rows]],
                "classification_labels": classes[rows],
                "regression_labels": (rated[rows] - NEUTRAL).astype(np.float32),
            }
            for kind, stream in chosen.items():
                name = _NAMES[kind]
                path = Path(arrays, f"{short}-{name}.npy")
                progress, scale = f"{short} {name}", statistics.get(kind)
                n = write_padded(
                    stream, rows, steps[kind], path, progress, vectors=True, statistics=scale
                )
                content[short][name] = np.load(path, mmap_mode="c")
                if kind != "text":
                    content[short][f"{name}_lengths"] = n.tolist()
        if statistics:
            content["statistics"] = {
                _NAMES[kind]: found._asdict() for kind, found in statistics.items()
            }
        with partial.open("wb") as file:
            _Pickler(file, protocol=5).dump(content)


class _Pickler(pickle.Pickler):
    """Writes arrays from disk without reading them whole, and by names that every NumPy has.

    NumPy 2 pickles arrays by the private module numpy._core, which older versions lack.
    """

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return NotImplemented
        content = pickle.PickleBuffer(value.view(np.ndarray).reshape(-1).view(np.uint8).data)
        return np.ndarray, (value.shape, value.dtype.str, content)
