"""Attentive Modality Hopping (Yoon, Dey, Lee and Jung, ICASSP 2020).

A GRU encodes each modality. A hop attends over one modality, its target. Its query is made from the
current summaries of the other modalities, the context, and its result replaces the summary of the
target. Targets alternate: video, audio, text, video, ..., for any number of hops. A linear layer on
the final summaries gives the logits.
"""

from __future__ import annotations

from itertools import cycle, islice

from pipeline.models.hopping import Hopping

TARGETS = ("video", "audio", "text")  # of the hops, in turn


class AMH(Hopping):
    """AMH-N for N hops; parameters are those of :class:`~pipeline.models.hopping.Hopping`.

    The paper defines it for three modalities. With two, the hops alternate between them in the same
    order, and the context is the summary of the other. With one, the context is its own summary.

    Raises
    ------
    ValueError
        If a modality is unknown, there is none, or `hops` is less than 1.
    """

    def route(self, hops: int) -> list[tuple[str, list[str]]]:
        """Targets in turn; the context is all other modalities: audio, text, video."""
        if hops < 1:
            raise ValueError(f"hops must be at least 1, not {hops}")
        targets = cycle([name for name in TARGETS if name in self.modalities])
        return [
            (target, [name for name in self.modalities if name != target] or [target])
            for target in islice(targets, hops)
        ]
