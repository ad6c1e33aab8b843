"""Multi-Hop Attention between two modalities (Yoon, Byun, Dey and Jung, ICASSP 2019).

The last state of the audio is the context of the first hop, which attends over the words. The
result is the context of the second hop, which attends over the audio, and so on. A linear layer on
the final summaries of both modalities gives the logits.

The paper scores a step by its dot product with the context, so both must have the same size. Here,
as in AMH, a hop first projects its context to the size of the target, so the sizes may differ.
"""

from __future__ import annotations

from itertools import cycle, islice

from pipeline.models.hopping import Hopping


class MHA(Hopping):
    """MHA-N for N hops; parameters are those of :class:`~pipeline.models.hopping.Hopping`.

    The paper has audio and text. For any pair, the first hop attends over the one that comes later
    in the order audio, text, video.

    Raises
    ------
    ValueError
        If a modality is unknown, there are not two, or `hops` is less than 1.
    """

    def route(self, hops: int) -> list[tuple[str, list[str]]]:
        """Both modalities in turn, each with the other as its context."""
        if len(self.modalities) != 2:
            raise ValueError(f"MHA is defined for two modalities, not {len(self.modalities)}")
        if hops < 1:
            raise ValueError(f"hops must be at least 1, not {hops}")
        first, second = self.modalities
        pairs: list[tuple[str, list[str]]] = [(second, [first]), (first, [second])]
        return list(islice(cycle(pairs), hops))
