"""Facts of the report: corpus, split protocol, features and the comparison of models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from pipeline.corpus.description import Word
from pipeline.registry import MODELS
from pipeline.store import FeatureStore
from pipeline.store.identity import identity


def protocol(split: dict[str, Any], assigned: pd.DataFrame, table: pd.DataFrame, word: Word) -> str:
    """Describe the split, and whether any speaker is in two parts of a fold.

    Parameters
    ----------
    split
        The parameter group ``split``.
    assigned
        ``folds.csv``: utterance, fold, part.
    table
        The utterance table.
    word
        The corpus's word for a group.
    """
    name = {
        "speaker": f"one speaker tests, the other of the {word.one} is for development",
        "speakers": "folds of whole speakers",
        "official": "the corpus's official split",
        "random": "random, stratified",
        "file": f"the list splits/{split['list']}.csv",
        **dict.fromkeys(("groups", word.several), f"folds of whole {word.several}"),
    }.get(split["protocol"], f"leave one {word.one} out")
    folds = assigned.merge(table[["utterance", "speaker"]], on="utterance")
    shared = (folds.groupby(["fold", "speaker"])["part"].nunique() > 1).any()
    speakers = (
        "speakers are shared between parts, which flatters the figures"
        if shared
        else "no speaker is in two parts of a fold"
    )
    number = folds["fold"].nunique()
    return f"{name}; {number} fold{'' if number == 1 else 's'}: {speakers}"


def selection(parameters: dict[str, Any]) -> str:
    """How the weights of a model are chosen; `parameters` are those beside the models."""
    if MODELS[parameters["model"]["name"]].pooled:
        return (
            "The strength C with the highest unweighted accuracy on the development part is fitted "
            "again to the training and development part."
        )
    if parameters["train"]["patience"] is None:
        both = parameters["train"]["with_development"]
        return "All epochs are trained, and the last weights are kept." + (
            " The development part is trained on too, so its curves are not of unseen utterances."
            if both
            else ""
        )
    return (
        "Training stops when the development score no longer improves; the best weights are kept."
    )


def context(model: dict[str, Any]) -> str:
    """With which other utterances of the dialog an utterance is classified."""
    if model["context"] == "none":
        return "each utterance alone"
    sides = {"past": "before it", "both": "before it and after it"}[model["context"]]
    return f"each utterance with up to {model['context_window']} {sides} in the dialog"


def majority(predictions: pd.DataFrame) -> dict[str, Any]:
    """The most frequent class of the test parts, and its share."""
    shares = predictions["true"].value_counts(normalize=True).sort_index(kind="stable")
    return {"name": shares.idxmax(), "share": shares.max()}


def counts(table: pd.DataFrame, emotions: pd.Series) -> dict[str, Any]:
    """The size of the corpus; `emotions` are the classes of the labelled utterances."""
    return {
        "utterances": len(table),
        "labelled": len(emotions),
        "dialogs": table["dialog"].nunique(),
        "groups": table["group"].nunique(),
        "speakers": table["speaker"].nunique(),
        "minutes": float((table["end"] - table["start"]).sum() / 60),
    }


def left_out(
    table: pd.DataFrame, emotions: pd.Series, scenarios: Literal["all"] | Sequence[str]
) -> dict[str, int]:
    """Count the utterances without a class, by scenario if that excludes them, else by code."""
    others = table[~table["utterance"].isin(emotions.index)]
    reasons = others["emotion"].where(others["emotion"] != "", "no label")
    if scenarios != "all":
        chosen = others["scenario"].isin(list(scenarios))
        reasons = reasons.where(chosen, others["scenario"].replace("", "no scenario"))
    return {str(reason): int(count) for reason, count in reasons.value_counts().items()}


def corpus_rows(
    emotions: pd.Series, table: pd.DataFrame, classes: list[str]
) -> list[dict[str, Any]]:
    """Count the utterances by group and class, with a last row for all groups."""
    groups = table.set_index("utterance")["group"].loc[emotions.index]
    table = pd.crosstab(groups, emotions).reindex(columns=classes, fill_value=0)
    table.loc["all"] = table.sum()
    return [{"name": str(name), "counts": row.tolist()} for name, row in table.iterrows()]


def comparison(path: Path, store: FeatureStore) -> dict[str, Any]:
    """Read the table of the comparison, if it is of the store's corpus.

    Parameters
    ----------
    path
        ``comparison.csv`` of :mod:`pipeline.comparison`; it may be missing or have no rows.
    store
        The feature store.

    Returns
    -------
    comparison
        ``corpus``: the table's corpus, empty without a table. ``table``: without rows if it is of
        another corpus. ``reference``: the model that the others are compared with. ``outdated``:
        whether a row was trained on a store of another
        :func:`pipeline.store.identity.identity`.
    """
    table = pd.read_csv(path, keep_default_na=False) if path.is_file() else pd.DataFrame()
    corpus = str(table["corpus"].iloc[0]) if len(table) else ""
    if corpus != store.corpus:
        table = table.iloc[:0]
    references = [row["model"] for row in table.to_dict("records") if row["difference"] == ""]
    return {
        "corpus": corpus,
        "table": table,
        "reference": references[0] if references else "the reference",
        "outdated": bool(len(table)) and set(table["store"]) != {identity(store)},
    }


def streams(store: FeatureStore, model: dict[str, Any]) -> list[dict[str, Any]]:
    """Describe each stream of the store, and which modality of the model reads it."""
    read_by: dict[str, str] = {}
    for modality in model["modalities"]:
        names = model["streams"][modality]
        read_by |= dict.fromkeys([names] if isinstance(names, str) else names, modality)
    if model["prosody"] is not None:
        read_by[model["prosody"]] = "audio, joined"
    rows = []
    for name in store.streams:
        stream = store.stream(name)
        lengths = stream.lengths if stream.is_sequence else None
        rows.append(
            {
                "name": name,
                "width": stream.width,
                "steps": "one per utterance" if lengths is None else int(lengths.sum()),
                "mean": "" if lengths is None else f"{lengths.mean():.1f}",
                "empty": int(stream.missing.sum()),
                "modality": read_by.get(name, ""),
            }
        )
    return rows


def provenance(store: FeatureStore) -> dict[str, Any]:
    """Parameters, hashes of weights, library versions and processor of each stream."""
    streams = {}
    for name in store.streams:
        attributes = store.stream(name).group.attrs
        streams[name] = {
            **json.loads(attributes["identity"]),
            "parameters": json.loads(attributes["parameters"]),
            **json.loads(attributes["provenance"]),
        }
    return streams
