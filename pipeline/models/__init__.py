"""Emotion classifiers over sequences of several modalities, by name.

A new model is one file and one line of :data:`MODELS`; see docs/models.md. Nothing is imported
until a model is built, so that reading parameters needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Registered:
    """Where a model is, and what it can do.

    Attributes
    ----------
    path
        ``module:class``.
    modalities
        Numbers of modalities that it is defined for.
    hops
        Whether it takes `hops` and `share_hops`.
    """

    path: str
    modalities: tuple[int, ...] = (1, 2, 3)
    hops: bool = False

    def load(self) -> Any:
        """The class."""
        module, _, name = self.path.partition(":")
        return getattr(import_module(module), name)


MODELS = {
    "amh": Registered("pipeline.models.amh:AMH", hops=True),
    "mdre": Registered("pipeline.models.mdre:MDRE"),
    "mha": Registered("pipeline.models.mha:MHA", modalities=(2,), hops=True),
}
