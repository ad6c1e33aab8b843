"""The dialog as context: a recurrent layer over the summaries of an utterance's neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.models.encoders import Encoder
from pipeline.store.batches import Window

DIRECTIONS = {"none": 0, "past": 1, "both": 2}
"""Windows that each ``model.context`` reads: of the past, and of the future."""


class DialogContext(nn.Module):
    """The context of an utterance, from its summary and those of other utterances of the dialog.

    A GRU reads the utterances of the past in their order, and at last the utterance itself; another
    one reads those of the future backwards. Their inputs are summaries, and whether the speaker is
    that of the utterance. The context is the last state of each::

        x_j = [s_j ; 1 if the speakers of j and i are the same, else 0]
        c_i = [GRU(x_(i-W), ..., x_i) ; GRU'(x_(i+W), ..., x_i)]

    Parameters
    ----------
    summary
        Size of a summary.
    hidden
        Size of the state of each GRU.
    directions
        0 for no context, 1 for the past, 2 for the past and the future.

    Attributes
    ----------
    width
        Size of the context.
    """

    def __init__(self, summary: int, hidden: int, directions: int) -> None:
        super().__init__()
        self.directions = directions
        self.encoders = nn.ModuleList(Encoder(summary + 1, hidden) for _ in range(directions))
        self.width = directions * hidden

    def forward(self, summaries: Tensor, windows: Sequence[Window]) -> Tensor:
        """The contexts [B, width], from the summaries [U, D] of all utterances of the windows."""
        found = []
        for encoder, window in zip(self.encoders, windows, strict=True):
            steps = torch.cat([summaries[window.rows], window.same_speaker[:, :, None]], dim=2)
            found.append(encoder(steps, window.lengths)[1])
        return torch.cat(found, dim=1)


def alone(summaries: Tensor, directions: int) -> list[Window]:
    """The windows of utterances without neighbours, from their summaries [B, D]."""
    rows = torch.arange(len(summaries), device=summaries.device)
    ones = torch.ones_like(rows)
    return [Window(rows[:, None], ones, summaries.new_ones(len(rows), 1))] * directions
