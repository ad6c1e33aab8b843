"""Multimodal Dual Recurrent Encoder (Yoon, Byun and Jung, SLT 2018).

A GRU encodes each modality; a linear layer on the concatenated last states gives the logits. The
paper also concatenates prosodic features to the last state of the audio (``model.prosody``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.models.hopping import Hopping


class MDRE(Hopping):
    """Recurrent encoders without attention, for one to three modalities.

    The paper has audio and text. Parameters are those of
    :class:`~pipeline.models.hopping.Hopping` except `hops`.
    """

    def __init__(
        self, inputs: Mapping[str, int], hidden: Mapping[str, int], classes: int, **options: Any
    ) -> None:
        super().__init__(inputs, hidden, classes, 0, **options)

    def route(self, hops: int) -> list[tuple[str, list[str]]]:
        """No hops."""
        return []
