"""Migration of parameter files of earlier versions to the present one.

The first version has fixed features instead of named streams; the second has the parameters of the
embedded corpus in the group ``corpus``.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from pipeline import params
from pipeline.params.file import ParamsError, read_yaml

_OLD = {
    "audio": ("mfcc", "window", "step"),
    "text": ("glove", "bert", "bert_layer", "batch_size"),
    "visual": ("network", "weights", "crop", "marked_actor", "batch_size"),
    "store": ("include_text", "dtype", "compression", "chunk"),
}


def migrate(path: Path) -> str:
    """The content of a parameter file, migrated; other keys keep values, order and comments.

    ``store.chunk`` is dropped, since the size of chunks is fixed now. External streams become audio
    streams, since the old file does not state their modality.

    Raises
    ------
    ParamsError
        If the file cannot be read, is of the present version, or lacks a key of its version.
    """
    read_yaml(path)  # for its errors
    yaml = YAML()
    yaml.width = 4096  # no stream is wrapped
    yaml.preserve_quotes = True
    yaml.representer.add_representer(
        type(None), lambda writer, _: writer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    raw = yaml.load(path.read_text(encoding="utf-8"))
    if not (isinstance(raw, dict) and "streams" in (raw.get("audio") or {})):
        _name_streams(path, raw)
    elif "embedded" not in (raw.get("corpus") or {}):
        raise ParamsError(f"{path}: is in the present form; there is nothing to migrate")
    _name_format(raw)
    text = io.StringIO()
    yaml.dump(raw, text)
    # blank lines were removed together with the keys before them
    spaced = re.sub(r"\n+(embedded|text|visual|labels):(?=[ \n])", r"\n\n\1:", text.getvalue())
    params.parse(YAML(typ="safe", pure=True).load(spaced), f"{path}, migrated")
    return spaced


def _name_streams(path: Path, raw: Any) -> None:
    """Change the first version into the second."""
    old = {(group, name): _pop(path, raw, group, name) for group in _OLD for name in _OLD[group]}
    stored = {
        name: old["store", name]
        for name, default in (("dtype", "float32"), ("compression", "none"))
        if old["store", name] != default
    }
    raw["corpus"].insert(
        list(raw["corpus"]).index("root") + 1,
        "iemocap",
        CommentedMap(marked_actor=old["visual", "marked_actor"]),
    )
    raw["text"]["include_text"] = old["store", "include_text"]
    raw["audio"]["streams"] = {
        "mfcc": _flow(
            extractor="mfcc",
            coefficients=old["audio", "mfcc"],
            window=old["audio", "window"],
            step=old["audio", "step"],
            **stored,
        ),
        "prosody": _flow(extractor="prosody"),
    }
    raw["text"]["streams"] = {
        "glove": _flow(extractor="glove", vectors=old["text", "glove"]),
        "bert": _flow(
            extractor="transformers",
            model=old["text", "bert"],
            layers=[old["text", "bert_layer"]],
            batch_size=old["text", "batch_size"],
            **stored,
        ),
    }
    resnet = {name: old["visual", name] for name in ("network", "weights", "crop", "batch_size")}
    raw["visual"]["streams"] = {
        "resnet": _flow(extractor="torchvision", region="speaker", **resnet, **stored)
    }


def _name_format(raw: Any) -> None:
    """Change the second version into the present one."""
    for name in (raw.pop("store", None) or {}).get("external") or []:
        path = Path("data/external", name)
        path = path if path.exists() else path.with_suffix(".h5")
        raw["audio"]["streams"][name] = _flow(extractor="external", path=str(path))
    corpus, groups = raw["corpus"], list(raw)
    corpus.insert(list(corpus).index("root") + 1, "format", "iemocap")
    embedded = corpus.pop("embedded", None)
    if embedded is not None:
        raw.insert(groups.index("corpus") + 1, "embedded", embedded)
    labels = raw.get("labels")
    if labels and "scenarios" not in labels:
        labels.insert(list(labels).index("scheme") + 1, "scenarios", "all")


def _pop(path: Path, raw: Any, group: str, name: str) -> Any:
    """Remove a key from its group and return its value."""
    if not isinstance(raw, dict) or name not in (raw.get(group) or {}):
        raise ParamsError(
            f"{path}: is not a parameter file of the first version: it has no {group}.{name}"
        )
    return raw[group].pop(name)


def _flow(**values: Any) -> CommentedMap:
    """A mapping that YAML writes on one line."""
    mapping = CommentedMap(values)
    mapping.fa.set_flow_style()
    return mapping
