"""What the models share: recurrent encoders of a modality and attention over valid steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def valid_steps(lengths: Tensor, steps: int) -> Tensor:
    """[B] lengths to a [B, steps] mask that is true on valid steps."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


class Encoder(nn.Module):
    """A one-way GRU over one modality, with dropout on its inputs.

    Sequences are padded, not packed: on a CPU the backward pass through packed sequences grows
    with the square of the length, and padding at the end changes nothing before it in a one-way
    GRU.

    Parameters
    ----------
    inputs, hidden
        Values a step, and GRU states.
    dropout
        Share of the inputs dropped in training.
    """

    def __init__(self, inputs: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(inputs, hidden, batch_first=True)

    def forward(self, sequence: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch.

        Parameters
        ----------
        sequence
            [B, T, D] float, T at least 1.
        lengths
            [B] int64, from 0 to T.

        Returns
        -------
        outputs
            [B, T, H]; steps past the length are to be masked.
        last
            [B, H], the state at the last valid step; zeros where the length is 0.
        """
        outputs, _ = self.gru(self.dropout(sequence))
        index = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, outputs.shape[2])
        last = outputs.gather(1, index).squeeze(1)
        return outputs, last * (lengths > 0)[:, None]


def attend(query: Tensor, steps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of one query over the valid steps of a sequence.

    Parameters
    ----------
    query
        [B, H].
    steps
        [B, T, H].
    mask
        [B, T], true on valid steps.

    Returns
    -------
    summary
        [B, H], the weighted sum of the steps; zeros where no step is valid.
    weights
        [B, T], a softmax over the valid steps of their products with the query.
    """
    scores = torch.einsum("bh,bth->bt", query, steps)
    # the least finite number, not -inf: a row without valid steps must not become NaN
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=1) * mask
    return torch.einsum("bt,bth->bh", weights, steps), weights
