"""Padded NumPy arrays with the names, shapes and types that the code of the AMH paper loads.

See ``project_config.py`` and ``process_data_AMH.py`` in
github.com/david-yoon/attentive-modality-hopping-for-SER.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.export.common import STEPS, measured, new_output, of_kind, write_array
from pipeline.store import FeatureStore

STREAMS = {"audio": "mfcc", "text": "glove", "video": "resnet", "prosody": "prosody"}
"""The streams that are exported by default."""

# in file names
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
    """Write a folder of padded arrays, as the released code of the AMH paper loads them.

    For each of ``train``, ``dev`` and ``test`` with N utterances: ``_audio_mfcc`` [N, 750, 120]
    float32, ``_nlp_trans`` [N, 128] int32 token ids, ``_video`` [N, 32, 2048] float32,
    ``_audio_prosody`` [N, P] float32, ``_audio_seqN`` and ``_video_seqN`` [N] int32 (the lengths
    without padding; token ids are padded with 0), ``_label`` [N] int64, and ``_id.csv``, which the
    released code does not have. Also ``W_embedding.npy`` [V, D] float32, the word vectors, and
    ``dic.pkl``, the id of each word (or of ``#<id>``, if the store does not contain the words).

    Standardised features have mean 0 and standard deviation 1 over the exported steps of the
    training part; ``audio_mfcc_mean``, ``audio_mfcc_deviation`` and so on, [D] float64, are the
    former ones. A constant feature is only centred. Padding stays 0; token ids and word vectors are
    not changed.

    Parameters
    ----------
    store
        The store.
    output
        The folder, which must not exist.
    classes, parts
        See :func:`pipeline.export.common.divide`.
    streams
        The streams of ``audio``, ``text``, ``video`` and ``prosody``; any may be left out.
    steps
        Length to which ``audio``, ``text`` and ``video`` are padded or truncated.
    standardise
        Whether features are standardised.

    Raises
    ------
    ExportError, StoreError
        If the folder exists, or a stream is missing or of the wrong kind.
    """
    chosen = {kind: of_kind(store, kind, name) for kind, name in streams.items()}
    numbers = {kind: stream for kind, stream in chosen.items() if not stream.has_tokens}
    table = store.utterances
    with new_output(output) as folder:
        folder.mkdir()
        statistics = measured(numbers, parts["train"], steps) if standardise else {}
        for kind, (mean, deviation) in statistics.items():
            np.save(folder / f"{_NAMES[kind]}_mean.npy", mean)
            np.save(folder / f"{_NAMES[kind]}_deviation.npy", deviation)
        for part, rows in parts.items():
            prefix = {"development": "dev"}.get(part, part)
            for kind, stream in chosen.items():
                write_array(
                    stream,
                    rows,
                    folder / f"{prefix}_{_NAMES[kind]}.npy",
                    f"{prefix} {kind}",
                    steps=steps.get(kind),
                    statistics=statistics.get(kind),
                )
                if kind in ("audio", "video"):
                    lengths = np.minimum(stream.lengths[rows], steps[kind]).astype(np.int32)
                    np.save(folder / f"{prefix}_{kind}_seqN.npy", lengths)
            np.save(folder / f"{prefix}_label.npy", classes[rows])
            table["utterance"].iloc[rows].to_csv(
                folder / f"{prefix}_id.csv", index=False, lineterminator="\n"
            )
        text = chosen.get("text")
        if text is not None and text.has_tokens:
            np.save(folder / "W_embedding.npy", text.vectors)
            words = [f"#{number}" for number in range(len(text.vectors))]
            if "vocabulary" in text.group:
                words = text.vocabulary
            with (folder / "dic.pkl").open("wb") as file:
                pickle.dump({word: number for number, word in enumerate(words)}, file, protocol=4)
