"""The feature store: one ragged HDF5 file that serves every label scheme, split and model.

Layout (schema version 2)::

    /utterances/<column>      N rows, in the order of the utterance table (sorted by id)
    /<stream>/values          [sum of T, D] float32 or float16, or [sum of T] int32 token ids
    /<stream>/offsets         [N + 1] int64; utterance i is values[offsets[i]:offsets[i + 1]]
    /<stream>/times, tokens   [sum of T], aligned with the steps (seconds; ids into vocabulary)
    /<stream>/vocabulary      [V] strings        /<stream>/vectors  [V, D] float32
    /<stream>/values, names   [N, P] float32 and [P] strings: an utterance-level stream
    /votes/values, names      [N, codes], the evaluators' votes for each code: labels, no stream
    /<group>/crc32            [N] uint32, checksum of each utterance's rows in that group
    attributes                schema_version, corpus, parameters, extractors, storage (JSON)
    attribute sha256          of each dataset's content, of each group's, and of the whole store's

With ``text.include_text: false`` it has no ``/utterances/text``, no ``tokens``, and of strings in
streams only ``names``. Only values with steps are ever float16 or compressed.

The same inputs, parameters and versions give the same bytes: fixed order, fixed-length strings,
no HDF5 timestamps. ``python -m pipeline.store describe FILE`` shows what a file holds, ``verify``
checks it, ``diff`` compares two.

The package itself loads only what reads a store, so that code that only reads, such as training,
does not depend on how stores are written, checked and compared.
"""

from pipeline.store.reading import (
    SCHEMA_VERSION,
    FeatureStore,
    Statistics,
    StoreError,
    Stream,
    open_checked,
)

__all__ = [
    "SCHEMA_VERSION",
    "FeatureStore",
    "Statistics",
    "StoreError",
    "Stream",
    "open_checked",
]
