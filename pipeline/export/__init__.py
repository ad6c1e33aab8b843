"""A feature store in the formats that other code reads.

- :mod:`pipeline.export.arrays`: padded NumPy arrays, as the code of the AMH paper loads them.
- :mod:`pipeline.export.mmsa`: the pickle that MMSA loads.
- :mod:`pipeline.export.means`: a CSV file with a row an utterance.

Each has a function ``write``; ``python -m pipeline.export`` runs them. Classes and parts are those
of the parameters `labels` and `split`. One utterance is in memory at a time. An output appears only
once it is whole, and none is overwritten.
"""
