"""The feature store: a folder of streams that serves every label scheme, split and model.

Layout of ``data/features/<corpus>`` (schema version 3)::

    store.h5                         utterances, labels, and the hash of each stream
      /utterances/<column>           [N], in the order of the utterance table
      /labels/emotion                [N] the corpus's own codes
      /labels/<dimension>            [N] means over the raters: valence, activation, dominance
      /labels/votes                  [N, categories] evaluators who chose each category
      attributes                     schema_version, corpus, categories, streams (JSON)
    audio/<stream>.h5  text/<stream>.h5  visual/<stream>.h5    see pipeline.features.stream

``python -m pipeline.store pack`` writes one file with all of it: the groups of ``store.h5``, and a
group ``/<modality>/<stream>`` per stream. :class:`FeatureStore` opens both. Labels are no streams:
no model can read them.

The same inputs, parameters and versions give the same bytes: fixed order, fixed-length strings, no
HDF5 timestamps. ``describe`` shows what a store holds, ``verify`` checks it, ``diff`` compares two,
``convert`` reads one of schema version 2.

The package itself loads only what reads a store, so that code that only reads, such as training,
does not depend on how stores are written, checked and compared.
"""

from pipeline.features.stream import SCHEMA_VERSION, Statistics, Stream
from pipeline.store.reading import FeatureStore, StoreError

__all__ = ["SCHEMA_VERSION", "FeatureStore", "Statistics", "StoreError", "Stream"]
