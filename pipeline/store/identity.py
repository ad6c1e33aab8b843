"""The identity of a store: whether two were made of the same, wherever that was."""

from __future__ import annotations

import json
from typing import Any

from pipeline.features import hashing
from pipeline.features.stream import Stream
from pipeline.store.reading import FeatureStore


def identity(store: FeatureStore) -> str:
    """Digest of all that decides what a store holds, the same on every processor.

    That is the utterance table, the labels, and of each stream its identity, what it was made of,
    and the versions of libraries. The values that were computed do not count, since their last bits
    differ between processors; nor does the build of a version (``+cpu``). The transcripts do by
    what the streams were made of, so that a store without text has the same identity.
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
