"""Multimodal Dual Recurrent Encoder (Yoon, Byun and Jung, SLT 2018).

Each modality is encoded by a GRU on its own; a linear layer on the concatenated last states gives
the logits. The source's audio encoder joins prosody to its last state (``model.prosody``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.models.encoders import Hopping


class MDRE(Hopping):
    """Recurrent encoders without attention, for any set of modalities.

    The source has audio and text; video, a third one or a single one are encoded alike. Parameters
    are those of :class:`~pipeline.models.encoders.Hopping` but for the hops, of which it has none.
    """

    def __init__(
        self, inputs: Mapping[str, int], hidden: Mapping[str, int], classes: int, **options: Any
    ) -> None:
        super().__init__(inputs, hidden, classes, 0, **options)

    def route(self, hops: int) -> list[tuple[str, list[str]]]:
        """No hop."""
        return []
