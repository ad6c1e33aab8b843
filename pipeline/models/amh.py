"""Attentive Modality Hopping (Yoon, Dey, Lee and Jung, ICASSP 2020).

Each modality is encoded by a GRU. A hop attends over one modality, its target, with a context made
of the present summaries of the others, and replaces the target's summary by what it found; targets
alternate video, audio, text, video, ... for any number of hops. A linear layer on the newest
summaries gives the logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle, islice

import torch
from torch import Tensor, nn

from pipeline.models.encoders import Encoder, attend, valid_steps

ORDER = ("audio", "text", "video")  # of summaries, in a context and before the classifier
TARGETS = ("video", "audio", "text")  # of hops


class Hop(nn.Module):
    """One hop: a_i = softmax_i((C W + b) . h_i), H = sum_i a_i h_i over valid steps i."""

    def __init__(self, context: int, target: int) -> None:
        super().__init__()
        self.projection = nn.Linear(context, target)

    def forward(self, context: Tensor, steps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C] context, [B, T, H] steps, [B, T] mask to [B, H] summary, [B, T] weights."""
        return attend(self.projection(context), steps, mask)


class AMH(nn.Module):
    """AMH-N for N hops.

    The paper defines it for three modalities. With two, hops alternate between those, in the same
    order, and the context is the other's summary; with one, the context is its own summary.

    Parameters
    ----------
    inputs, hidden
        Values a step and GRU states, by modality; the modalities are the keys of `inputs`.
    classes
        Emotion classes.
    hops
        N, at least 1.
    dropout
        Share of the inputs dropped in training, by modality; none by default.
    share_hops
        Whether hops on the same target share their projection.

    Raises
    ------
    ValueError
        For an unknown modality, none at all, or fewer than one hop.
    """

    def __init__(
        self,
        inputs: Mapping[str, int],
        hidden: Mapping[str, int],
        classes: int,
        hops: int,
        *,
        dropout: Mapping[str, float] | None = None,
        share_hops: bool = False,
    ) -> None:
        super().__init__()
        unknown = set(inputs) - set(ORDER)
        if unknown or not inputs:
            raise ValueError(f"modalities must be some of {', '.join(ORDER)}, not {sorted(inputs)}")
        if hops < 1:
            raise ValueError(f"hops must be at least 1, not {hops}")
        dropout = dropout or {}
        self.modalities = [name for name in ORDER if name in inputs]
        self.encoders = nn.ModuleDict(
            {
                name: Encoder(inputs[name], hidden[name], dropout.get(name, 0.0))
                for name in self.modalities
            }
        )
        self.targets = list(islice(cycle([name for name in TARGETS if name in inputs]), hops))
        made: dict[str, Hop] = {}
        self.hops = nn.ModuleList()
        for target in self.targets:
            if target not in made or not share_hops:
                context = sum(hidden[name] for name in self._context_of(target))
                made[target] = Hop(context, hidden[target])
            self.hops.append(made[target])
        self.classifier = nn.Linear(sum(hidden[name] for name in self.modalities), classes)

    def _context_of(self, target: str) -> list[str]:
        """The modalities whose summaries make the context of a hop on `target`."""
        return [name for name in self.modalities if name != target] or [target]

    def forward(
        self,
        sequences: Mapping[str, Tensor],
        lengths: Mapping[str, Tensor],
        attention: bool = False,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Classify a batch of utterances.

        Parameters
        ----------
        sequences
            [B, T, D] float by modality; token ids already looked up.
        lengths
            [B] int64 by modality; 0 where an utterance lacks the modality.
        attention
            Whether to return each hop's weights too.

        Returns
        -------
        logits
            [B, classes].
        weights
            Only with `attention`: for each hop [B, T] of its target, zero on padding.
        """
        steps: dict[str, Tensor] = {}
        masks: dict[str, Tensor] = {}
        summaries: dict[str, Tensor] = {}
        for name in self.modalities:
            steps[name], summaries[name] = self.encoders[name](sequences[name], lengths[name])
            masks[name] = valid_steps(lengths[name], sequences[name].shape[1])

        weights = []
        for target, hop in zip(self.targets, self.hops, strict=True):
            context = torch.cat([summaries[name] for name in self._context_of(target)], dim=1)
            summaries[target], hop_weights = hop(context, steps[target], masks[target])
            weights.append(hop_weights)

        logits = self.classifier(torch.cat([summaries[name] for name in self.modalities], dim=1))
        return (logits, weights) if attention else logits
