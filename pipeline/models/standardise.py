"""Standardisation of features, as a layer that is saved with the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Standardise(nn.Module):
    """(x - mean) / standard deviation, for each feature."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def forward(self, values: Tensor, of_speakers: Tensor | None = None) -> Tensor:
        """Standardise a batch.

        Parameters
        ----------
        values
            [B, T, D] or [B, D].
        of_speakers
            [B, 2, D], the mean and standard deviation of each utterance's speaker; NaN where the
            layer's own are used. None: its own for all utterances.
        """
        mean, deviation = self.mean, self.deviation
        if of_speakers is not None:
            own = torch.stack([mean, deviation])
            chosen = torch.where(of_speakers.isnan(), own, of_speakers)
            steps = (1,) * (values.dim() - 2)
            mean, deviation = (part.view(len(values), *steps, -1) for part in chosen.unbind(1))
        return (values - mean).div_(deviation)  # in place: video sequences are large
