"""The pickle that MMSA (github.com/thuiar/MMSA) loads as its ``featurePath``."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.export.common import STEPS, ExportError, measured, new_output, of_kind, write_array
from pipeline.store import FeatureStore

STREAMS = {"audio": "mfcc", "text": "bert", "video": "resnet"}
"""The streams that are exported by default."""

_NAMES = {"audio": "audio", "text": "text", "video": "vision"}  # in MMSA

NEUTRAL = 3.0  # the middle of IEMOCAP's rating scale, 1 to 5


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

    It is a dict of ``train``, ``valid`` and ``test``, each a dict of ``id`` and ``raw_text`` (lists
    of strings; empty if the store does not contain the text), ``text``, ``audio`` and ``vision``
    [N, T, D] float32, ``audio_lengths`` and ``vision_lengths`` (lists of int), ``annotations``
    (names of the classes), ``classification_labels`` [N] int64, and ``regression_labels`` [N]
    float32: the mean valence minus 3, so that 0 is neutral as in MMSA's own data sets. Token ids
    are replaced by their vectors.

    Features are standardised as in :func:`pipeline.export.arrays.write`, here also those of text. A
    fourth key, ``statistics``, which MMSA ignores, then contains the former ``mean`` and
    ``deviation`` [D] float64 of ``text``, ``audio`` and ``vision``.

    The arrays load with any version of NumPy, including those before 2.

    Parameters
    ----------
    store, classes, parts, streams, steps, standardise
        As in :func:`pipeline.export.arrays.write`, without prosody.
    output
        The file, which must not exist.
    names
        Names of the classes.

    Raises
    ------
    ExportError, StoreError
        If the file exists, a stream is missing or of the wrong kind, or an utterance has no
        valence.
    """
    chosen = {kind: of_kind(store, kind, name) for kind, name in streams.items()}
    missing = sorted({"audio", "text", "video"} - set(chosen))
    if missing:
        raise ExportError(f"--streams: MMSA needs all modalities; name a stream of {missing[0]}")
    table = store.utterances
    valence = table["valence"].to_numpy(np.float64)
    for rows in parts.values():
        unrated = rows[np.isnan(valence[rows])]
        if len(unrated):
            raise ExportError(
                f"{table['utterance'].iloc[unrated[0]]} has no valence, which MMSA needs as target "
                f"({len(unrated)} such utterances); exclude them with a list, see split.list"
            )
    texts = table["text"].tolist() if "text" in table else [""] * len(table)
    with (
        new_output(output) as partial,
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
                "regression_labels": (valence[rows] - NEUTRAL).astype(np.float32),
            }
            for kind, stream in chosen.items():
                name = _NAMES[kind]
                path = Path(arrays, f"{short}-{name}.npy")
                write_array(
                    stream,
                    rows,
                    path,
                    f"{short} {name}",
                    steps=steps[kind],
                    vectors=True,
                    statistics=statistics.get(kind),
                )
                content[short][name] = np.load(path, mmap_mode="c")
                if kind != "text":
                    lengths = np.minimum(stream.lengths[rows], steps[kind])
                    content[short][f"{name}_lengths"] = lengths.tolist()
        if statistics:
            content["statistics"] = {
                _NAMES[kind]: values._asdict() for kind, values in statistics.items()
            }
        with partial.open("wb") as file:
            _Pickler(file, protocol=5).dump(content)


class _Pickler(pickle.Pickler):
    """Pickles arrays on disk without loading them, and in a form that any NumPy can load.

    NumPy 2 pickles arrays with references to the private module numpy._core, which older versions
    do not have.
    """

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return NotImplemented
        content = pickle.PickleBuffer(value.view(np.ndarray).reshape(-1).view(np.uint8).data)
        return np.ndarray, (value.shape, value.dtype.str, content)
