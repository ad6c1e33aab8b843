"""The identity of a store, which is the same for the same inputs on every machine."""

from __future__ import annotations

import json
from typing import Any

from pipeline.features import hashing
from pipeline.features.stream import Stream
from pipeline.store.reading import FeatureStore


def identity(store: FeatureStore) -> str:
    """Digest of all that determines the content of a store.

    This is the utterance table, the labels, and the identity, sources and library versions of each
    stream. The computed values are not included, since their last bits differ between processors;
    nor is the build of a version (``+cpu``). Transcripts are included through the sources of the
    streams only, so that a store without text has the same identity.
    """
    table = store.table
    return hashing.digest(
        {
            "streams": {name: _of_stream(store.stream(name)) for name in store.streams},
            "columns": {
                f"{group}/{name}": hashing.recorded(dataset)
                for group in ("utterances", "labels")
                for name, dataset in table[group].items()
                if name not in ("text", hashing.CHECKSUMS)
            },
        }
    )


def _of_stream(stream: Stream) -> list[Any]:
    attributes = stream.group.attrs
    versions = json.loads(attributes["provenance"]).get("versions", {})
    return [
        stream.identity,
        str(attributes["sources"]),
        {library: version.partition("+")[0] for library, version in versions.items()},
    ]
