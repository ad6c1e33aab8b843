"""Export of a feature store to the formats of other code.

- :mod:`pipeline.export.arrays`: padded NumPy arrays, as the code of the AMH paper loads them.
- :mod:`pipeline.export.mmsa`: the pickle that MMSA loads.
- :mod:`pipeline.export.means`: a CSV file with one row per utterance.

Each module has a function ``write``; ``python -m pipeline.export`` calls it. Classes and parts are
those of the parameters `labels` and `split`. Only one utterance is in memory at a time. An output
appears only when it is complete, and existing files are never overwritten.
"""
