"""Corpus readers and extractors, built from the parameters that name them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from pipeline.params.file import describe, unknown_key
from pipeline.registry import CORPORA, EXTRACTORS


def with_reader(corpus: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Replace the groups of all formats by the corpus reader; also return error messages."""
    allowed = ["name", "root", "format", *CORPORA]
    faults = [unknown_key(f"corpus.{key}", allowed) for key in corpus if key not in allowed]
    if "embedded" in corpus:
        faults = [
            "corpus.embedded: is now the group embedded; `python -m pipeline.params migrate` moves "
            "it there"
        ]
    name, reader = corpus.get("format", "iemocap"), None
    if name in CORPORA:
        kind = CORPORA[name].load()
        try:
            reader = kind.model_validate(corpus.get(name, {}))
        except ValidationError as error:
            faults += [describe(dict(fault), kind, ["corpus", name]) for fault in error.errors()]
    else:
        faults.append(f"corpus.format: no format {name!r}; there are {', '.join(CORPORA)}")
    own = {key: corpus[key] for key in ("name", "root") if key in corpus}
    return own | {"format": str(name), "reader": reader}, faults


def with_extractors(group: str, values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Replace the streams of a group by their extractors; also return error messages."""
    streams, faults = dict(values["streams"]), []
    for name, specification in streams.items():
        try:
            streams[name] = _extractor(group, specification)
        except ValidationError as error:
            kind = EXTRACTORS[group][specification["extractor"]].load()
            where = [group, "streams", name]
            faults += [describe(dict(fault), kind, where) for fault in error.errors()]
        except ValueError as error:
            faults.append(f"{group}.streams.{name}: {error}")
    return values | {"streams": streams}, faults


def _extractor(group: str, specification: Any) -> Any:
    """Build the extractor of a stream, unless it is built already.

    Raises
    ------
    ValueError
        If the parameters name no extractor of this group, or are invalid.
    """
    if isinstance(specification, BaseModel):
        return specification
    names = list(EXTRACTORS[group])
    name = specification.get("extractor") if isinstance(specification, dict) else None
    if name not in names:
        raise ValueError(
            f"must name an extractor of {group}, one of {', '.join(names)}, such as "
            f"{{extractor: {names[0]}}}, got {specification!r}"
        )
    return EXTRACTORS[group][name].load().model_validate(specification)
