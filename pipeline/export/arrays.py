"""Padded NumPy arrays with the names, shapes and types that the AMH paper's code loads.

They are those of ``project_config.py`` and ``process_data_AMH.py`` in
github.com/david-yoon/attentive-modality-hopping-for-SER.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.export.common import STEPS, measured, of_kind, whole, write_padded, write_rows
from pipeline.store import FeatureStore, Stream

STREAMS = {"audio": "mfcc", "text": "glove", "video": "resnet", "prosody": "prosody"}
"""The streams that are written by default."""

# of files
_NAMES = {"audio": "audio_mfcc", "text": "nlp_trans", "video": "video", "prosody": "audio_prosody"}


def write(
    store: FeatureStore,
    output: Path,
    classes: np.ndarray,
    parts: Mapping[str, np.ndarray],
    *,
    streams: Mapping[str, str] = STREAMS,
    steps: Mapping[str, int] = STEPS,
    standardise: bool = True,
) -> None:
    """Write a folder of padded arrays as the released code of the AMH paper loads them.

    For each of ``train``, ``dev`` and ``test`` of N utterances: ``_audio_mfcc`` [N, 750, 120]
    float32, ``_nlp_trans`` [N, 128] int32 token ids, ``_video`` [N, 32, 2048] float32,
    ``_audio_prosody`` [N, P] float32, ``_audio_seqN`` and ``_video_seqN`` [N] int32 (how many steps
    are no padding; of token ids padding is 0), ``_label`` [N] int64, and ``_id.csv``, which is
    ours. Beside them ``W_embedding.npy`` [V, D] float32, the vectors of the ids, and ``dic.pkl``,
    the id of each word (of its number, where the store holds no words).

    Standardised values have mean 0 and deviation 1 over the exported steps of the training part;
    ``audio_mfcc_mean``, ``audio_mfcc_deviation`` and so on [D] float64 are what they had before. A
    value that never varies there keeps its scale. Padding stays 0; token ids and their vectors are
    left as they are.

    Parameters
    ----------
    store
        The store.
    output
        The folder, which must not exist.
    classes, parts
        See :func:`pipeline.export.common.divide`.
    streams
        The stream of ``audio``, ``text``, ``video`` and ``prosody``; what is not named is left out.
    steps
        Steps that ``audio``, ``text`` and ``video`` are padded or cut to.
    standardise
        Whether values are standardised; else they are those of the store.

    Raises
    ------
    ExportError, StoreError
        If the folder exists, or a stream is missing or of another kind.
    """
    chosen = {kind: of_kind(store, kind, name) for kind, name in streams.items()}
    numbers = {kind: stream for kind, stream in chosen.items() if not stream.has_tokens}
    table = store.utterances
    with whole(output) as folder:
        folder.mkdir()
        statistics = measured(numbers, parts["train"], steps) if standardise else {}
        for kind, found in statistics.items():
            np.save(folder / f"{_NAMES[kind]}_mean.npy", found.mean)
            np.save(folder / f"{_NAMES[kind]}_deviation.npy", found.deviation)
        for part, rows in parts.items():
            prefix = {"development": "dev"}.get(part, part)
            for kind, stream in chosen.items():
                path, progress = folder / f"{prefix}_{_NAMES[kind]}.npy", f"{prefix} {kind}"
                scale = statistics.get(kind)
                if kind == "prosody":
                    write_rows(stream, rows, path, progress, scale)
                    continue
                n = write_padded(stream, rows, steps[kind], path, progress, statistics=scale)
                if kind != "text":
                    np.save(folder / f"{prefix}_{kind}_seqN.npy", n.astype(np.int32))
            np.save(folder / f"{prefix}_label.npy", classes[rows])
            table["utterance"].iloc[rows].to_csv(
                folder / f"{prefix}_id.csv", index=False, lineterminator="\n"
            )
        text = chosen.get("text")
        if text is not None and text.has_tokens:
            np.save(folder / "W_embedding.npy", text.vectors)
            words = _vocabulary(text)
            with (folder / "dic.pkl").open("wb") as file:
                pickle.dump({word: number for number, word in enumerate(words)}, file, protocol=4)


def _vocabulary(stream: Stream) -> list[str]:
    """The words of the token ids, or numbers where the store holds no words."""
    if "vocabulary" in stream.group:
        return stream.vocabulary
    return [f"#{number}" for number in range(len(stream.vectors))]
