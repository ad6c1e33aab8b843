"""Attentive Modality Hopping (Yoon, Dey, Lee and Jung, ICASSP 2020).

Each modality is encoded by a GRU. A hop attends over one modality, its target, with a context made
of the present summaries of the others, and replaces the target's summary by what it found; targets
alternate video, audio, text, video, ... for any number of hops. A linear layer on the newest
summaries gives the logits.
"""

from __future__ import annotations

from itertools import cycle, islice

from pipeline.models.encoders import Hopping

TARGETS = ("video", "audio", "text")  # of hops


class AMH(Hopping):
    """AMH-N for N hops; parameters are those of :class:`~pipeline.models.encoders.Hopping`.

    The paper defines it for three modalities. With two, hops alternate between those, in the same
    order, and the context is the other's summary; with one, the context is its own summary.

    Raises
    ------
    ValueError
        For an unknown modality, none at all, or fewer than one hop.
    """

    def route(self, hops: int) -> list[tuple[str, list[str]]]:
        """Targets in turn; the context is all others, audio before text before video."""
        if hops < 1:
            raise ValueError(f"hops must be at least 1, not {hops}")
        targets = cycle([name for name in TARGETS if name in self.modalities])
        return [
            (target, [name for name in self.modalities if name != target] or [target])
            for target in islice(targets, hops)
        ]
