"""Parts that models share: recurrent encoders, and attention over the valid steps."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

_LEAST_VARIANCE = 1e-8
_KERNEL = 5  # steps that a convolution sees

ORDER = ("audio", "text", "video")  # in which the modalities' summaries are concatenated


def valid_steps(lengths: Tensor, steps: int) -> Tensor:
    """Turn [B] lengths into a [B, steps] mask, true on valid steps."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def reverse(sequence: Tensor, lengths: Tensor) -> Tensor:
    """Reverse the valid steps of each sequence of [B, T, D]; padding stays at the end."""
    places = torch.arange(sequence.shape[1], device=sequence.device).expand(len(lengths), -1)
    mirrored = torch.where(places < lengths[:, None], lengths[:, None] - 1 - places, places)
    return sequence.gather(1, mirrored[:, :, None].expand_as(sequence))


class Convolution(nn.Module):
    """A convolution over time, batch normalisation and ReLU, of the same length as its input.

    Padding is zero before it and after it, and no part of the batch's statistics.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(inputs, channels, _KERNEL, padding=_KERNEL // 2)
        self.norm = BatchNorm(channels)

    def forward(self, sequence: Tensor, mask: Tensor) -> Tensor:
        """Convolve [B, T, D], whose valid steps [B, T] `mask` marks, to [B, T, channels]."""
        sequence = sequence * mask[:, :, None]
        found = self.convolution(sequence.transpose(1, 2)).transpose(1, 2)
        result = torch.zeros_like(found)
        result[mask] = self.norm(found[mask]).relu()
        return result


class Encoder(nn.Module):
    """A GRU over one modality, with dropout on its inputs, and convolutions before it.

    Sequences are padded, not packed: on a CPU, the time of the backward pass through packed
    sequences grows with the square of their length. In a unidirectional GRU, padding at the end
    does not change the states before it. A bidirectional GRU reads each sequence reversed within
    its own length.

    Parameters
    ----------
    inputs, hidden
        Size of the inputs, and of the state in one direction.
    dropout
        Dropout probability of the inputs.
    layers
        Number of GRU layers.
    bidirectional
        Whether each layer also reads backwards, which doubles the size of the outputs.
    convolutions
        Number of convolutional layers before the GRU, of `hidden` channels.

    Attributes
    ----------
    gru
        The `nn.GRU` that holds the weights.
    width
        Size of the outputs: the states of all directions.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        dropout: float = 0.0,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        convolutions: int = 0,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        widths = [inputs, *[hidden] * convolutions]
        self.convolutions = nn.ModuleList(Convolution(*pair) for pair in pairwise(widths))
        self.gru = nn.GRU(
            widths[-1], hidden, num_layers=layers, bidirectional=bidirectional, batch_first=True
        )
        self.width = hidden * (2 if bidirectional else 1)

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
        steps
            [B, T, width]; those at padding are not meaningful.
        last
            [B, width], the state after the last step read: the last valid one, or in the backward
            direction the first. Zeros where the length is 0.
        """
        steps = self.dropout(sequence)
        mask = valid_steps(lengths, sequence.shape[1])
        for convolution in self.convolutions:
            steps = convolution(steps, mask)
        if self.gru.bidirectional:
            for layer in range(self.gru.num_layers):
                forwards = self._direction(steps, f"l{layer}")
                backwards = self._direction(reverse(steps, lengths), f"l{layer}_reverse")
                steps = torch.cat([forwards, reverse(backwards, lengths)], dim=2)
            last = torch.cat([_at_last(forwards, lengths), _at_last(backwards, lengths)], dim=1)
        else:
            steps, _ = self.gru(steps)
            last = _at_last(steps, lengths)
        return steps, last * (lengths > 0)[:, None]

    def _direction(self, sequence: Tensor, suffix: str) -> Tensor:
        """Run one direction of one layer of the GRU on [B, T, D]; returns states [B, T, H]."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = [getattr(self.gru, f"{name}_{suffix}") for name in names]
        start = sequence.new_zeros(1, len(sequence), self.gru.hidden_size)
        # has_biases, num_layers, dropout, train, bidirectional, batch_first
        steps, _ = torch.gru(sequence, start, weights, True, 1, 0.0, self.training, False, True)
        return steps


def _at_last(steps: Tensor, lengths: Tensor) -> Tensor:
    """Take the last valid step of [B, T, H], or step 0 if there is none: [B, H]."""
    index = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, steps.shape[2])
    return steps.gather(1, index).squeeze(1)


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
        [B, T], the softmax over the valid steps of their dot products with the query.
    """
    scores = torch.einsum("bh,bth->bt", query, steps)
    # the lowest finite number, not -inf: a row without valid steps would become NaN
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=1) * mask
    return torch.einsum("bt,bth->bh", weights, steps), weights


def uniform(mask: Tensor) -> Tensor:
    """Equal weights [B, T] of the valid steps; zeros where no step is valid."""
    return mask / mask.sum(dim=1, keepdim=True).clamp(min=1)


def mean_and_deviation(steps: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean and standard deviation over time, concatenated.

    Attentive statistics pooling (Okabe, Koshinaka and Shinoda, INTERSPEECH 2018).

    Parameters
    ----------
    steps
        [B, T, H].
    weights
        [B, T], which sum to one, or are zeros where no step is valid.

    Returns
    -------
    statistics
        [B, 2 H]; zeros where no step is valid.
    """
    mean = torch.einsum("bt,bth->bh", weights, steps)
    variance = torch.einsum("bt,bth->bh", weights, (steps - mean[:, None]).square())
    # the root has no gradient at 0
    deviation = variance.clamp(min=_LEAST_VARIANCE).sqrt() * (variance > 0)
    return torch.cat([mean, deviation], dim=1)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that, for a batch of one, uses the running statistics in training too."""

    def forward(self, values: Tensor) -> Tensor:
        """Normalise [B, D]."""
        if len(values) > 1:
            return super().forward(values)
        return nn.functional.batch_norm(
            values, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )
