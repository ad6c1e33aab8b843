"""What the models share: recurrent encoders of the modalities and attention over valid steps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

ORDER = ("audio", "text", "video")  # of summaries, in a context and before the classifier


def valid_steps(lengths: Tensor, steps: int) -> Tensor:
    """[B] lengths to a [B, steps] mask that is true on valid steps."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def reverse(sequence: Tensor, lengths: Tensor) -> Tensor:
    """[B, T, D] with the valid steps of each sequence in reverse order; padding stays in place."""
    places = torch.arange(sequence.shape[1], device=sequence.device).expand(len(lengths), -1)
    mirrored = torch.where(places < lengths[:, None], lengths[:, None] - 1 - places, places)
    return sequence.gather(1, mirrored[:, :, None].expand_as(sequence))


class Encoder(nn.Module):
    """GRU layers over one modality, with dropout on their inputs.

    Sequences are padded, not packed: on a CPU the backward pass through packed sequences grows
    with the square of the length, and padding at the end changes nothing before it in a one-way
    GRU. A two-way one reads each sequence reversed within its own length.

    Parameters
    ----------
    inputs, hidden
        Values per step, and GRU states of one direction.
    dropout
        Share of the inputs dropped in training.
    layers
        GRU layers.
    bidirectional
        Whether a second GRU in each layer reads backwards; doubles the states.

    Attributes
    ----------
    gru
        An `nn.GRU` with all weights.
    width
        Values of a step of the outputs: the states of all directions.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        dropout: float = 0.0,
        *,
        layers: int = 1,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(
            inputs, hidden, num_layers=layers, bidirectional=bidirectional, batch_first=True
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
            [B, T, width]; those past the length are to be masked.
        last
            [B, width], the state at the last valid step, of a backward GRU at the first; zeros
            where the length is 0.
        """
        steps, last = self._read(self.dropout(sequence), lengths)
        return steps, last * (lengths > 0)[:, None]

    def _read(self, sequence: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The states [B, T, H] of the top layer, and the last ones [B, H]."""
        if not self.gru.bidirectional:
            steps, _ = self.gru(sequence)
            return steps, _at_last(steps, lengths)
        for layer in range(self.gru.num_layers):
            forwards = self._one_way(sequence, f"l{layer}")
            backwards = self._one_way(reverse(sequence, lengths), f"l{layer}_reverse")
            sequence = torch.cat([forwards, reverse(backwards, lengths)], dim=2)
        # read backwards, the last step is the first one: either GRU has then seen all of it
        return sequence, torch.cat([_at_last(forwards, lengths), _at_last(backwards, lengths)], 1)

    def _one_way(self, sequence: Tensor, suffix: str) -> Tensor:
        """[B, T, D] to the states [B, T, H] of one direction of one layer of the GRU."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = [getattr(self.gru, f"{name}_{suffix}") for name in names]
        start = sequence.new_zeros(1, len(sequence), self.gru.hidden_size)
        # input, state, weights, with biases, layers, dropout, training, two-way, batch first
        steps, _ = torch.gru(sequence, start, weights, True, 1, 0.0, self.training, False, True)
        return steps


def _at_last(steps: Tensor, lengths: Tensor) -> Tensor:
    """[B, H], the values at the last valid step, at step 0 where there is none."""
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
        [B, T], a softmax over the valid steps of their products with the query.
    """
    scores = torch.einsum("bh,bth->bt", query, steps)
    # the least finite number, not -inf: a row without valid steps must not become NaN
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=1) * mask
    return torch.einsum("bt,bth->bh", weights, steps), weights


class Hop(nn.Module):
    """One hop: a_i = softmax_i((C W + b) . h_i), H = sum_i a_i h_i over valid steps i."""

    def __init__(self, context: int, target: int) -> None:
        super().__init__()
        self.projection = nn.Linear(context, target)

    def forward(self, context: Tensor, steps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C] context, [B, T, H] steps, [B, T] mask to [B, H] summary, [B, T] weights."""
        return attend(self.projection(context), steps, mask)


class Hopping(nn.Module):
    """One encoder per modality, hops between them, and a linear layer on their newest summaries.

    What the models have in common; each says in :meth:`route` which modality a hop attends over
    and whose summaries are its context. A modality's first summary is its last state. Values of
    the whole utterance, such as prosody, can be joined to a modality: they follow each of its
    summaries, which equals joining them to each state, since a softmax ignores what all share.

    Parameters
    ----------
    inputs, hidden
        Values per step and GRU states, by modality; the modalities are the keys of `inputs`.
    classes
        Emotion classes.
    hops
        Number of hops.
    dropout
        Share of the inputs dropped in training, by modality; none by default.
    layers, bidirectional
        Of the GRUs, see :class:`Encoder`.
    joined
        Values of the utterance joined to the summaries, by modality; none by default.
    share_hops
        Whether hops on the same target share their projection.

    Raises
    ------
    ValueError
        For an unknown modality, or none at all.
    """

    def __init__(
        self,
        inputs: Mapping[str, int],
        hidden: Mapping[str, int],
        classes: int,
        hops: int,
        *,
        dropout: Mapping[str, float] | None = None,
        layers: int = 1,
        bidirectional: bool = False,
        joined: Mapping[str, int] | None = None,
        share_hops: bool = False,
    ) -> None:
        super().__init__()
        unknown = set(inputs) - set(ORDER)
        if unknown or not inputs:
            raise ValueError(f"modalities must be some of {', '.join(ORDER)}, not {sorted(inputs)}")
        dropout, joined = dropout or {}, joined or {}
        self.modalities = [name for name in ORDER if name in inputs]
        encoders = {
            name: Encoder(
                inputs[name],
                hidden[name],
                dropout.get(name, 0.0),
                layers=layers,
                bidirectional=bidirectional,
            )
            for name in self.modalities
        }
        self.encoders = nn.ModuleDict(encoders)
        states = {name: encoder.width for name, encoder in encoders.items()}
        widths = {name: states[name] + joined.get(name, 0) for name in self.modalities}
        route = self.route(hops)
        self.targets = [target for target, _ in route]
        self.contexts = [context for _, context in route]
        made: dict[str, Hop] = {}
        self.hops = nn.ModuleList()
        for target, context in route:
            if target not in made or not share_hops:
                made[target] = Hop(sum(widths[name] for name in context), states[target])
            self.hops.append(made[target])
        self.classifier = nn.Linear(sum(widths.values()), classes)

    def route(self, hops: int) -> list[tuple[str, list[str]]]:
        """The target of each hop, and the modalities whose summaries are its context."""
        raise NotImplementedError

    def forward(
        self,
        sequences: Mapping[str, Tensor],
        lengths: Mapping[str, Tensor],
        joined: Mapping[str, Tensor] | None = None,
        attention: bool = False,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Classify a batch of utterances.

        Parameters
        ----------
        sequences
            [B, T, D] float by modality; token ids already looked up.
        lengths
            [B] int64 by modality; 0 where an utterance lacks the modality.
        joined
            [B, P] by modality, of a model that was made for them.
        attention
            Whether to return each hop's weights too.

        Returns
        -------
        logits
            [B, classes].
        weights
            Only with `attention`: for each hop [B, T] of its target, zero on padding.
        """
        joined = {
            name: values * (lengths[name] > 0)[:, None] for name, values in (joined or {}).items()
        }

        def summary(name: str, found: Tensor) -> Tensor:
            return torch.cat([found, joined[name]], dim=1) if name in joined else found

        steps: dict[str, Tensor] = {}
        masks: dict[str, Tensor] = {}
        summaries: dict[str, Tensor] = {}
        for name in self.modalities:
            steps[name], last = self.encoders[name](sequences[name], lengths[name])
            summaries[name] = summary(name, last)
            masks[name] = valid_steps(lengths[name], sequences[name].shape[1])

        weights = []
        for target, names, hop in zip(self.targets, self.contexts, self.hops, strict=True):
            context = torch.cat([summaries[name] for name in names], dim=1)
            found, hop_weights = hop(context, steps[target], masks[target])
            summaries[target] = summary(target, found)
            weights.append(hop_weights)

        logits = self.classifier(torch.cat([summaries[name] for name in self.modalities], dim=1))
        return (logits, weights) if attention else logits
