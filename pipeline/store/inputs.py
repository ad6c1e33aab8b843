"""The input of a model: the streams that it reads, and with which other utterances."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline import params
from pipeline.registry import MODELS
from pipeline.store.dataset import StoreDataset
from pipeline.store.dialogs import DialogDataset
from pipeline.store.reading import FeatureStore, StoreError

_POOLED = " or ".join(name for name, model in MODELS.items() if model.pooled)


def of_model(
    store: FeatureStore, settings: params.Model, max_steps: params.MaxSteps
) -> StoreDataset:
    """The input of a model: all utterances of a store, with the model's streams, truncated.

    Raises
    ------
    StoreError
        If a stream is missing or of the wrong kind; the message names the stream and parameter.
    """
    limits, utterance_level = {}, []
    for modality in settings.modalities:
        for name in settings.streams.names(modality):
            if store.stream(name).is_sequence:
                limits[name] = max_steps[modality]
            elif settings.is_pooled:
                utterance_level.append(name)
            else:
                raise StoreError(
                    f"{store.path}: model.streams.{modality} is {name}, which has one row per "
                    f"utterance; set it to a stream with steps, or model.name to {_POOLED}"
                )
    if settings.prosody is not None:
        utterance_level.append(settings.prosody)
        if store.stream(settings.prosody).is_sequence:
            raise StoreError(
                f"{store.path}: model.prosody is {settings.prosody}, which has steps; set it to a "
                "stream with one row per utterance, or to null"
            )
    by_speaker = settings.normalise == "speaker"
    streams = [*limits, *utterance_level]
    if settings.context == "none":
        return StoreDataset(store, streams, max_steps=limits, by_speaker=by_speaker)
    return DialogDataset(
        store,
        streams,
        max_steps=limits,
        by_speaker=by_speaker,
        window=settings.context_window,
        future=settings.context == "both",
    )


def rows_read(
    settings: params.Model, table: pd.DataFrame, rows: np.ndarray
) -> tuple[np.ndarray, list[list[object]]]:
    """All rows of a store whose features a model reads to train on those at `rows`.

    Also returns what else of these rows decides its input: the speaker whose statistics standardise
    them, or their place in the dialog.
    """
    read, decisive = [rows], []
    if settings.normalise == "speaker":
        read.append(np.flatnonzero(table["speaker"].isin(table["speaker"].iloc[rows])))
        decisive += ["speaker"]
    if settings.context != "none":
        read.append(np.flatnonzero(table["dialog"].isin(table["dialog"].iloc[rows])))
        decisive += ["dialog", "order", "speaker"]
    every = np.unique(np.concatenate(read))
    return every, table[decisive].iloc[every].to_numpy().tolist()
