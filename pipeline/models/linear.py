"""A linear classifier of pooled statistics: the baseline beside every recurrent model.

Each sequence is pooled to the mean and standard deviation over its steps; utterance-level streams,
such as openSMILE's functionals, are used as they are. The values are concatenated, standardised and
classified by multinomial logistic regression, which :mod:`pipeline.training.linear` fits.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.models.encoders import mean_and_deviation, uniform, valid_steps
from pipeline.models.standardise import Standardise


class Linear(nn.Module):
    """Logits of pooled statistics.

    Parameters
    ----------
    sequences, joined
        Number of features of each stream with steps, and of each utterance-level stream.
    classes
        Number of classes.
    """

    def __init__(
        self, sequences: Mapping[str, int], joined: Mapping[str, int], classes: int
    ) -> None:
        super().__init__()
        self.sequences = list(sequences)
        self.joined = list(joined)
        self.targets: list[str] = []  # it has no hop
        width = 2 * sum(sequences.values()) + sum(joined.values())
        self.standardise = Standardise(width)
        self.classifier = nn.Linear(width, classes)

    def pooled(
        self,
        sequences: Mapping[str, Tensor],
        lengths: Mapping[str, Tensor],
        joined: Mapping[str, Tensor],
    ) -> Tensor:
        """Pool a batch.

        Parameters
        ----------
        sequences, lengths
            [B, T, D] float and [B] int64 by stream.
        joined
            [B, P] float by stream.

        Returns
        -------
        pooled
            [B, W]; NaN for streams that an utterance lacks.
        """
        values = []
        for name in self.sequences:
            weights = uniform(valid_steps(lengths[name], sequences[name].shape[1]))
            statistics = mean_and_deviation(sequences[name], weights)
            values.append(statistics.masked_fill((lengths[name] == 0)[:, None], torch.nan))
        return torch.cat([*values, *(joined[name] for name in self.joined)], dim=1)

    def forward(
        self,
        sequences: Mapping[str, Tensor],
        lengths: Mapping[str, Tensor],
        joined: Mapping[str, Tensor],
        attention: bool = False,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Classify a batch, as :meth:`pooled` takes it: logits [B, classes].

        Missing values are replaced by the training part's mean. With `attention`, also the weights
        of its hops, of which it has none.
        """
        logits = self.logits(self.pooled(sequences, lengths, joined))
        return (logits, []) if attention else logits

    def logits(self, pooled: Tensor) -> Tensor:
        """Classify pooled values [B, W]: logits [B, classes]."""
        return self.classifier(self.standardise(pooled).nan_to_num(0.0))
