"""A whole classifier: what a store holds goes in, logits come out.

A model proper, such as :class:`~pipeline.models.amh.AMH`, takes float sequences. Before it stands
an input layer a modality: values are standardised with statistics of the training part, token ids
are looked up. Both are part of the model, so that a saved one needs nothing beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline import params
from pipeline.models.amh import AMH


class Standardise(nn.Module):
    """(x - mean) / deviation, each value on its own."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def forward(self, values: Tensor) -> Tensor:
        """[B, T, D] to the same."""
        return (values - self.mean) / self.deviation


class Classifier(nn.Module):
    """Input layers and the model that `settings` name.

    Parameters
    ----------
    settings
        The parameters `model`.
    widths
        Values a step of each modality's stream.
    vocabularies
        Size of the vocabulary of those modalities whose stream holds token ids.
    classes
        The classes' names, in the order of the logits.
    max_steps
        Where its sequences are cut; kept so that a saved model is fed as it was trained.
    """

    def __init__(
        self,
        settings: params.Model,
        widths: Mapping[str, int],
        vocabularies: Mapping[str, int],
        classes: list[str],
        max_steps: params.MaxSteps,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.classes = classes
        self.max_steps = max_steps
        self.sizes = {"widths": dict(widths), "vocabularies": dict(vocabularies)}
        self.inputs = nn.ModuleDict()
        for name in settings.modalities:
            if name in vocabularies:
                table = nn.Embedding(vocabularies[name], widths[name])
                table.weight.requires_grad_(settings.tune_embeddings)
                self.inputs[name] = table
            else:
                self.inputs[name] = Standardise(widths[name])
        self.model = AMH(
            {name: widths[name] for name in settings.modalities},
            settings.hidden.model_dump(),
            len(classes),
            settings.hops,
            dropout=settings.dropout.model_dump(),
            share_hops=settings.share_hops,
        )

    def forward(
        self,
        sequences: Mapping[str, Tensor],
        lengths: Mapping[str, Tensor],
        attention: bool = False,
    ) -> Any:
        """As the model's forward, from a store's values: [B, T, D] float or [B, T] token ids."""
        looked_up = {name: layer(sequences[name]) for name, layer in self.inputs.items()}
        return self.model(looked_up, lengths, attention=attention)

    def save(self, path: Path) -> None:
        """Write weights and all that is needed to build the model again; same model, same bytes."""
        # one metadata entry: safetensors keeps several in no fixed order
        config = {
            "model": self.settings.model_dump(),
            "classes": self.classes,
            "max_steps": self.max_steps.model_dump(),
            **self.sizes,
        }
        tensors = {name: value.detach().cpu().clone() for name, value in self.state_dict().items()}
        save_file(tensors, path, metadata={"config": json.dumps(config, sort_keys=True)})

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """A model that :meth:`save` wrote, on the CPU, ready to classify."""
        with safe_open(path, "pt") as file:
            config = json.loads(file.metadata()["config"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        classifier = cls(
            params.Model.model_validate(config["model"]),
            config["widths"],
            config["vocabularies"],
            config["classes"],
            params.MaxSteps.model_validate(config["max_steps"]),
        )
        classifier.load_state_dict(tensors)
        return classifier.eval()
