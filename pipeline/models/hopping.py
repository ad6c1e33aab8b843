"""The base of the recurrent models: encoders, hops, the context of the dialog, a linear layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline.models.context import DIRECTIONS, DialogContext, alone
from pipeline.models.encoders import (
    ORDER,
    BatchNorm,
    Encoder,
    attend,
    mean_and_deviation,
    uniform,
    valid_steps,
)
from pipeline.store.batches import Window


class Hop(nn.Module):
    """One hop: a_i = softmax_i((C W + b) . h_i), H = sum_i a_i h_i over valid steps i."""

    def __init__(self, context: int, target: int) -> None:
        super().__init__()
        self.projection = nn.Linear(context, target)

    def forward(self, context: Tensor, steps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Attend over steps [B, T, H] with context [B, C]: summary [B, H], weights [B, T]."""
        return attend(self.projection(context), steps, mask)


class Hopping(nn.Module):
    """Base of the models: an encoder per modality, hops, and a linear layer on the summaries.

    A model defines in :meth:`route` which modality each hop attends over and whose summaries are
    its context. As in the papers, the first summary of a modality is the last state of its encoder,
    and that of a hop the attention-weighted mean of the states. With `summary` ``statistics``, the
    first is the mean and standard deviation of the states, and that of a hop the same two with the
    attention weights, so that summaries are twice as wide.

    Features of the whole utterance, such as prosody, can be concatenated to each summary of a
    modality. This equals concatenating them to every state, since a softmax does not change when
    all scores shift alike.

    Parameters
    ----------
    inputs, hidden
        Input size and GRU state size by modality; the keys of `inputs` are the modalities.
    classes
        Number of classes.
    hops
        Number of hops.
    dropout
        Dropout probability of the inputs by modality; 0 by default.
    layers, bidirectional
        See :class:`Encoder`.
    joined
        Number of concatenated utterance-level features by modality; none by default.
    share_hops
        Whether hops with the same target share their projection.
    convolutions
        Number of convolutional layers by modality; none by default.
    summary
        ``state`` or ``statistics``.
    input_statistics
        Whether the mean and standard deviation of the inputs of each modality are concatenated to
        the summaries before the classifier.
    batch_norm
        Whether the concatenated summaries are batch-normalised before the classifier.
    summary_dropout
        Dropout probability of the concatenated summaries.
    context
        ``past`` or ``both``: the summaries of the utterances before it in the dialog, or also of
        those after it, are concatenated to an utterance's own by a :class:`DialogContext`, whose
        states have the largest of the `hidden` sizes. ``none`` by default.

    Raises
    ------
    ValueError
        If a modality is unknown or there is none.
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
        convolutions: Mapping[str, int] | None = None,
        summary: str = "state",
        input_statistics: bool = False,
        batch_norm: bool = False,
        summary_dropout: float = 0.0,
        context: str = "none",
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
                convolutions=(convolutions or {}).get(name, 0),
            )
            for name in self.modalities
        }
        self.encoders = nn.ModuleDict(encoders)
        states = {name: encoder.width for name, encoder in encoders.items()}
        self.with_deviation = summary == "statistics"
        each = 2 if self.with_deviation else 1
        widths = {name: each * states[name] + joined.get(name, 0) for name in self.modalities}
        route = self.route(hops)
        self.targets = [target for target, _ in route]
        self.contexts = [context for _, context in route]
        made: dict[str, Hop] = {}
        self.hops = nn.ModuleList()
        for target, names in route:
            if target not in made or not share_hops:
                made[target] = Hop(sum(widths[name] for name in names), states[target])
            self.hops.append(made[target])
        self.input_statistics = input_statistics
        width = sum(widths.values())
        width += 2 * sum(inputs[name] for name in self.modalities) if input_statistics else 0
        self.norm = BatchNorm(width) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout(summary_dropout)
        self.context = DialogContext(
            width, max(hidden[name] for name in self.modalities), DIRECTIONS[context]
        )
        self.classifier = nn.Linear(width + self.context.width, classes)

    def route(self, hops: int) -> list[tuple[str, list[str]]]:
        """Return for each hop its target and the modalities whose summaries are its context."""
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
            [B, T, D] float by modality; token ids are already embedded.
        lengths
            [B] int64 by modality; 0 where an utterance lacks the modality.
        joined
            [B, P] utterance-level features, for the modalities of the parameter `joined`.
        attention
            Whether to also return the attention weights.

        Returns
        -------
        logits
            [B, classes].
        weights
            Only with `attention`: [B, T] for each hop, over the steps of its target; 0 on padding.
        """
        joint, weights = self.joint(sequences, lengths, joined)
        logits = self.classify(joint, alone(joint, self.context.directions))
        return (logits, weights) if attention else logits

    def joint(
        self,
        sequences: Mapping[str, Tensor],
        lengths: Mapping[str, Tensor],
        joined: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Concatenate the latest summaries [B, width]; also return the weights of the hops.

        Parameters are those of :meth:`forward`.
        """
        joined = {
            name: values * (lengths[name] > 0)[:, None] for name, values in (joined or {}).items()
        }

        def with_joined(name: str, summary: Tensor) -> Tensor:
            return torch.cat([summary, joined[name]], dim=1) if name in joined else summary

        steps: dict[str, Tensor] = {}
        masks: dict[str, Tensor] = {}
        summaries: dict[str, Tensor] = {}
        for name in self.modalities:
            steps[name], summary = self.encoders[name](sequences[name], lengths[name])
            masks[name] = valid_steps(lengths[name], sequences[name].shape[1])
            if self.with_deviation:
                summary = mean_and_deviation(steps[name], uniform(masks[name]))
            summaries[name] = with_joined(name, summary)

        weights = []
        for target, names, hop in zip(self.targets, self.contexts, self.hops, strict=True):
            context = torch.cat([summaries[name] for name in names], dim=1)
            summary, hop_weights = hop(context, steps[target], masks[target])
            if self.with_deviation:
                summary = mean_and_deviation(steps[target], hop_weights)
            summaries[target] = with_joined(target, summary)
            weights.append(hop_weights)

        joint = [summaries[name] for name in self.modalities]
        if self.input_statistics:
            joint += [
                mean_and_deviation(sequences[name], uniform(masks[name]))
                for name in self.modalities
            ]
        return torch.cat(joint, dim=1), weights

    def classify(self, joint: Tensor, windows: Sequence[Window]) -> Tensor:
        """Logits [B, classes] of the last utterance of each window; without context of all.

        Parameters
        ----------
        joint
            [U, width], of all utterances.
        windows
            One for each direction of the context, of B utterances; none without context.
        """
        joint = self.dropout(self.norm(joint))
        if not windows:
            return self.classifier(joint)
        own = joint[windows[0].last()]
        return self.classifier(torch.cat([own, self.context(joint, windows)], dim=1))
