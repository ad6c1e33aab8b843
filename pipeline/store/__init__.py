"""The feature store: a folder of streams, independent of label schemes, splits and models.

Layout of ``data/features/<corpus>`` (schema version 3)::

    store.h5                         utterances, labels, and the hash of each stream
      /utterances/<column>           [N], in the order of the utterance table
      /labels/emotion                [N] codes of the corpus
      /labels/<dimension>            [N] means over raters: valence, activation, dominance
      /labels/votes                  [N, categories] number of raters who chose each category
      attributes                     schema_version, corpus, categories, streams (JSON)
    audio/<stream>.h5  text/<stream>.h5  visual/<stream>.h5    see pipeline.features.stream

``python -m pipeline.store pack`` writes all of it into one file: the groups of ``store.h5``, and a
group ``/<modality>/<stream>`` per stream. :class:`FeatureStore` opens both. Labels are not streams,
so that no model can use them as input.

The same inputs, parameters and versions give the same bytes: the order is fixed, strings have a
fixed length, and there are no HDF5 timestamps. ``describe`` prints the content of a store,
``verify`` checks it, ``diff`` compares two stores, and ``convert`` reads one of schema version 2.

This package imports only the code that reads a store, so that stages that only read, such as
training, do not depend on the code that writes, checks and compares stores.
"""

from pipeline.features.stream import SCHEMA_VERSION, Statistics, Stream
from pipeline.store.reading import FeatureStore, StoreError

__all__ = ["SCHEMA_VERSION", "FeatureStore", "Statistics", "StoreError", "Stream"]
