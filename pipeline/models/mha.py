"""Multi-Hop Attention between two modalities (Yoon, Byun, Dey and Jung, ICASSP 2019).

The last state of the audio is the context of a first hop over the words; what it found is the
context of a second hop over the audio, and so on. A linear layer on both newest summaries gives
the logits.

The source scores a step by its plain product with the context, which needs states of one size;
here a hop projects its context to the target's size first, as AMH does, so that sizes may differ.
"""

from __future__ import annotations

from itertools import cycle, islice

from pipeline.models.encoders import Hopping


class MHA(Hopping):
    """MHA-N for N hops; parameters are those of :class:`~pipeline.models.encoders.Hopping`.

    The source has audio and text. Other pairs are read alike: the first hop attends over the later
    of the two in the order audio, text, video.

    Raises
    ------
    ValueError
        For an unknown modality, other than two of them, or fewer than one hop.
    """

    def route(self, hops: int) -> list[tuple[str, list[str]]]:
        """The two in turn, each with the other's summary as its context."""
        if len(self.modalities) != 2:
            raise ValueError(f"MHA is defined for two modalities, not {len(self.modalities)}")
        if hops < 1:
            raise ValueError(f"hops must be at least 1, not {hops}")
        first, second = self.modalities
        pairs: list[tuple[str, list[str]]] = [(second, [first]), (first, [second])]
        return list(islice(cycle(pairs), hops))
