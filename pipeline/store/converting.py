"""Conversion of a store of schema version 2, which is one file, into a folder of streams.

Nothing is extracted again: values, tokens and labels are those of the old store. Times become
relative to the start of the utterance. In utterance-level streams, rows of zeros, which marked
missing features, become rows of NaN.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from pipeline.corpus.description import Description
from pipeline.features.planning import Plan
from pipeline.features.stream import ALIGNED
from pipeline.features.streamfile import Arrays, Header, write
from pipeline.registry import CORPORA
from pipeline.store.reading import StoreError, columns
from pipeline.store.writing import write_table
from pipeline.system import hdf5
from pipeline.system.values import differences

_MODALITIES = {
    "mfcc": "audio",
    "prosody": "audio",
    "glove": "text",
    "bert": "text",
    "resnet": "visual",
}
_ROWS = 1 << 16  # steps to copy at once
_UNKNOWN = "nothing of it in the store of schema version 2"


def convert(old: Path, output: Path, plans: Mapping[str, Plan] | None = None) -> dict[str, str]:
    """Convert an old store into a folder of streams.

    Parameters
    ----------
    old
        The file.
    output
        A new folder, for :class:`pipeline.store.FeatureStore`.
    plans
        The present plan of each stream. A stream of the same identity and utterances gets the keys
        of its plan, so that extraction reuses it.

    Returns
    -------
    dict
        Why extraction will not reuse a stream, by its path in the folder; empty if it will.

    Raises
    ------
    StoreError
        If `old` is not a store of schema version 2, or `output` exists.
    """
    if output.exists():
        raise StoreError(f"{output}: exists; name a new folder")
    try:
        file = hdf5.reading(old)
    except OSError as error:
        raise StoreError(f"{old}: cannot be read: {error}") from error
    with file:
        if file.attrs.get("schema_version") != 2 or "extractors" not in file.attrs:
            raise StoreError(
                f"{old}: is not a store of schema version 2; there is nothing to convert"
            )
        table = _table(file)
        faults: dict[str, str] = {}
        streams: dict[str, list[str]] = {"audio": [], "text": [], "visual": []}
        for name in sorted(set(file) - {"utterances", "votes"}):
            modality, identity, provenance = _described(file, name)
            streams[modality].append(name)
            plan = (plans or {}).get(name)
            fault = _fault(plan, identity, table) if plan else f"there is no stream {name} now"
            header = _header(file[name], table, identity, provenance)
            ids = None
            if plan and not fault:
                ids, fault = _ids(file[name], plan)
            if plan and not fault:
                attributes = {**plan.attributes, "provenance": provenance}
                keys, state = list(plan.keys.values()), plan.state
                header = replace(header, attributes=attributes, keys=keys, state=state)
            write(output / modality / f"{name}.h5", header, _parts(file[name], table, ids))
            faults[f"{modality}/{name}.h5"] = fault
        counts = file["votes/values"][:]
        codes = file["votes/names"].asstr()[:].tolist()
        votes = pd.DataFrame(counts, columns=codes).assign(utterance=table["utterance"])
        description = CORPORA["iemocap"].load().description  # of stores that have none
        if "description" in file.attrs:
            description = Description.from_json(file.attrs["description"])
        text = json.loads(file.attrs["storage"])["include_text"]
        write_table(
            output,
            table if text else table.assign(text=""),
            votes,
            streams,
            corpus=str(file.attrs["corpus"]),
            description=description,
            include_text=text,
        )
    return faults


def _table(file: h5py.File) -> pd.DataFrame:
    new_names = {"id": "utterance", "session": "group", "side": "place"}
    table = pd.DataFrame(columns(file["utterances"])).rename(columns=new_names)
    if "order" not in table:
        table["group"] = table["group"].astype(str)
        table["order"] = table.groupby("dialog")["start"].rank(method="first").astype("int64") - 1
        table["part"] = ""
    return table


def _described(file: h5py.File, name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Modality, identity and provenance of a stream, as far as the store has them."""
    extractors = json.loads(file.attrs["extractors"])
    for modality, recorded in extractors.items():
        stream = recorded.get(name)
        if isinstance(stream, dict) and "identity" in stream:
            return modality, stream["identity"], stream["provenance"]
    modality = _MODALITIES.get(name, "")
    if modality in extractors:
        parameters = json.loads(file.attrs["parameters"])
        dtype = file[name]["values"].dtype.name if "offsets" in file[name] else "float32"
        identity = _identity(name, parameters, extractors, dtype)
        return modality, identity, {"versions": extractors[modality].get("versions", {})}
    return "audio", {"extractor": "external", "name": name}, {"versions": {}}


def _identity(
    name: str, parameters: Mapping[str, Any], recorded: Mapping[str, Any], dtype: str
) -> dict[str, Any]:
    """The identity of one of the five streams of the first version."""
    audio, text, visual = (parameters[group] for group in ("audio", "text", "visual"))
    own: dict[str, Any]
    weights: dict[str, str] | None = {}
    match name:
        case "mfcc":
            own = {key: audio[key] for key in ("window", "step", "sampling_rate")}
            own["coefficients"] = audio["mfcc"]
        case "prosody":
            own = {"sampling_rate": audio["sampling_rate"]}
            weights = {"prosody.conf": recorded["audio"]["prosody.conf"]}
        case "glove":
            own = {"marks": text["marks"], "vectors": Path(text["glove"]).name}
            weights = {"vectors used": recorded["text"]["glove"]}
        case "bert":
            model, layer = Path(text["bert"]).name, text["bert_layer"]
            own = {"marks": text["marks"], "layers": [layer], "model": model}
            weights = recorded["text"]["bert"]
        case _:
            names = ("network", "crop", "frames_per_second", "max_frames")
            own = {key: visual[key] for key in names}
            own |= {"region": "speaker", "weights": Path(visual["weights"]).name}
            weights = None  # the first version hashed the tensors and not the file
    extractor = {"bert": "transformers", "resnet": "torchvision"}.get(name, name)
    parameters = {**own, "dtype": dtype if name not in ("glove", "prosody") else "float32"}
    return {"extractor": extractor, "version": 1, "parameters": parameters, "weights": weights}


def _fault(plan: Plan, identity: Mapping[str, Any], table: pd.DataFrame) -> str:
    """Why extraction will not reuse a stream; empty if it will."""
    for key, old, new in differences(identity, plan.attributes["identity"]):
        if identity["weights"] is not None or not key.startswith("weights"):
            return f"{key} was {old} and is {new}"
    dialogs = table.groupby("dialog", sort=False).size()
    if dialogs.index.tolist() != list(plan.keys):
        return "the dialogs are not those of the table"
    return ""


def _ids(group: h5py.Group, plan: Plan) -> tuple[np.ndarray | None, str]:
    """The present id of each token of the old vocabulary, or why there is none.

    In old stores the vocabulary of BERT has only the tokens that occur in the corpus.
    """
    if "tokens" not in group:
        return None, ""
    row_of = {token: row for row, token in enumerate(plan.state["vocabulary"].tolist())}
    tokens = group["vocabulary"].asstr()[:].tolist() if "vocabulary" in group else []
    unknown = [token for token in tokens if token not in row_of]
    if unknown or not tokens:
        return None, f"{len(unknown)} of its tokens are no longer in the vocabulary"
    return np.array([row_of[token] for token in tokens], np.int32), ""


def _header(
    group: h5py.Group, table: pd.DataFrame, identity: dict[str, Any], provenance: dict[str, Any]
) -> Header:
    sequence = "offsets" in group
    ids = table["utterance"].tolist()
    lengths = np.diff(group["offsets"][:]) if sequence else np.ones(len(ids), np.int64)
    dialogs = {str(d): int(n) for d, n in table.groupby("dialog", sort=False).size().items()}
    missing = lengths == 0 if sequence else (group["values"][:] == 0).all(axis=1)
    values = group["values"]
    return Header(
        attributes={
            "extractor": str(identity["extractor"]),
            "parameters": identity.get("parameters", {}),
            "identity": identity,
            "provenance": provenance,
            "sources": "",
        },
        utterances=ids,
        lengths=lengths,
        columns={key: (group[key].dtype, group[key].shape[1:]) for key in ALIGNED if key in group},
        dialogs=dialogs,
        keys=[""] * len(dialogs),
        problems=[(int(row), _UNKNOWN) for row in np.flatnonzero(missing)],
        state={
            key: group[key].asstr()[:]
            if h5py.check_string_dtype(group[key].dtype)
            else group[key][:]
            for key in ("names", "vectors", "vocabulary")
            if key in group
        },
        is_sequence=sequence,
        dtype=values.dtype.name if values.dtype.kind == "f" else "float32",
        compression=values.compression or "none",
        include_text="vocabulary" in group or not {"tokens", "vectors"} & set(group),
    )


def _parts(group: h5py.Group, table: pd.DataFrame, ids: np.ndarray | None) -> Iterator[Arrays]:
    """Yield the converted columns, some utterances at a time; tokens are mapped to `ids`."""
    total = len(table)
    sequence = "offsets" in group
    offsets = group["offsets"][:] if sequence else np.arange(total + 1)
    first = 0
    while first < total:
        last = int(np.searchsorted(offsets, offsets[first] + _ROWS, "right")) - 1
        last = min(max(last, first + 1), total)
        rows = slice(int(offsets[first]), int(offsets[last]))
        part = {name: group[name][rows] for name in ALIGNED if name in group}
        if "times" in part:
            starts = table["start"].to_numpy()[first:last]
            part["times"] = part["times"] - np.repeat(starts, np.diff(offsets[first : last + 1]))
        if ids is not None:
            part["tokens"] = ids[part["tokens"]]
        if not sequence:
            part["values"][(part["values"] == 0).all(axis=1)] = np.nan
        yield part
        first = last
