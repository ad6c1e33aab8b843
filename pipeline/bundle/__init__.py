"""Trained models as one folder that travels, in the layout of the Hugging Face hub.

:mod:`pipeline.predict.loading` describes the layout and reads it. ``python -m pipeline.bundle
--help`` is its command.
"""

from pipeline.bundle.writing import write

__all__ = ["write"]
