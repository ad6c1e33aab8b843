"""Input layers: standardisation of features, and a mix of layers; they are saved with the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Standardise(nn.Module):
    """(x - mean) / standard deviation, for each feature.

    Parameters
    ----------
    row
        The shape of a step: D, or (L, D) of several layers.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, *row: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(row))
        self.register_buffer("deviation", torch.ones(row))

    def forward(self, values: Tensor, of_speakers: Tensor | None = None) -> Tensor:
        """Standardise a batch.

        Parameters
        ----------
        values
            [B, T, *row] or [B, *row].
        of_speakers
            [B, 2, *row], the mean and standard deviation of each utterance's speaker; NaN where the
            layer's own are used. None: its own for all utterances.
        """
        mean, deviation = self.mean, self.deviation
        if of_speakers is not None:
            own = torch.stack([mean, deviation])
            chosen = torch.where(of_speakers.isnan(), own, of_speakers)
            steps = (1,) * (values.dim() - 1 - mean.dim())
            mean, deviation = (
                part.view(len(values), *steps, *mean.shape) for part in chosen.unbind(1)
            )
        return (values - mean).div_(deviation)  # in place: video sequences are large


class LayerMix(nn.Module):
    """The weighted mean of the layers of an encoder, with one learned weight per layer.

    The weights are the softmax of parameters that start at 0, so that all layers weigh the same at
    first. After S. Yang et al., "SUPERB: Speech processing universal performance benchmark",
    Interspeech 2021.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(layers))

    @property
    def weights(self) -> Tensor:
        """[L], positive, with sum 1."""
        return self.logits.softmax(dim=0)

    def forward(self, values: Tensor) -> Tensor:
        """Mix [B, T, L, D] to [B, T, D]."""
        return torch.einsum("btld,l->btd", values, self.weights)
