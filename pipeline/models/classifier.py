"""A whole classifier: what a store holds goes in, logits come out.

A model proper, such as :class:`~pipeline.models.amh.AMH`, takes float sequences by modality. Before
it stands an input layer a stream: values are standardised with statistics of the training part,
token ids are looked up. Both are part of the model, so that a saved one needs nothing beside it.

Several streams of one modality, such as GloVe and BERT, each pass a linear layer to one width and
follow each other in time: the model reads one, then the other, and its attention can look at steps
of both. So words and word pieces need no alignment.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline import InputError, params
from pipeline.models.encoders import Hopping
from pipeline.registry import MODELS
from pipeline.store import FeatureStore, StoreError
from pipeline.store.batches import Batch, StoreDataset, of_model
from pipeline.system.filesystem import replacing, unreadable
from pipeline.system.values import differences


class Standardise(nn.Module):
    """(x - mean) / deviation, each value on its own."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def forward(self, values: Tensor) -> Tensor:
        """[..., D] to the same."""
        return (values - self.mean).div_(self.deviation)  # the widest sequences are large


class Classifier(nn.Module):
    """Input layers and the model that `settings` name.

    Parameters
    ----------
    settings
        The parameters `model`.
    widths
        Values per step of each stream, and values per utterance of a joined one.
    vocabularies
        Size of the vocabulary of those streams that hold token ids.
    classes
        The classes' names, in the order of the logits.
    max_steps
        Where its sequences are cut; kept so that a saved model is fed as it was trained.

    Attributes
    ----------
    identities
        Of each stream that it was trained on, :attr:`pipeline.store.Stream.identity`.

    Raises
    ------
    InputError
        If ``model.options`` has a keyword that the model does not take, or a value that it refuses.
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
        self.identities: dict[str, dict[str, Any]] = {}
        self.inputs = nn.ModuleDict()
        self.mixing = nn.ModuleDict()
        inputs: dict[str, int] = {}
        for modality in settings.modalities:
            names = settings.streams.names(modality)
            for name in names:
                if name in vocabularies:
                    table = nn.Embedding(vocabularies[name], widths[name])
                    table.weight.requires_grad_(settings.tune_embeddings)
                    self.inputs[name] = table
                else:
                    self.inputs[name] = Standardise(widths[name])
                if len(names) > 1:
                    self.mixing[name] = nn.Linear(widths[name], settings.hidden[modality])
            inputs[modality] = settings.hidden[modality] if len(names) > 1 else widths[names[0]]
        joined = {}
        if settings.prosody is not None:
            self.inputs[settings.prosody] = Standardise(widths[settings.prosody])
            joined["audio"] = widths[settings.prosody]
        self.model = _model(settings, inputs, joined, len(classes))

    @property
    def parameter_counts(self) -> dict[str, int]:
        """How many parameters it has: those that are ``trained``, and ``all``."""
        sizes = [(value.numel(), value.requires_grad) for value in self.parameters()]
        return {
            "trained": sum(size for size, trained in sizes if trained),
            "all": sum(size for size, _ in sizes),
        }

    def forward(self, batch: Batch, attention: bool = False) -> Any:
        """Logits [B, classes] of a batch; with `attention` also each hop's weights [B, T]."""
        sequences, lengths = {}, {}
        for modality in self.settings.modalities:
            names = self.settings.streams.names(modality)
            steps = [self.inputs[name](batch.sequences[name]) for name in names]
            counts = [batch.lengths[name] for name in names]
            if len(names) == 1:
                sequences[modality], lengths[modality] = steps[0], counts[0]
            else:
                mixed = [self.mixing[name](x) for name, x in zip(names, steps, strict=True)]
                sequences[modality], lengths[modality] = one_after_another(mixed, counts)
        joined = {}
        if self.settings.prosody is not None:
            values = self.inputs[self.settings.prosody](batch.joined[self.settings.prosody])
            # an utterance without them gets the mean of the training part
            joined["audio"] = values.nan_to_num(0.0)
        return self.model(sequences, lengths, joined, attention=attention)

    def dataset(self, store: FeatureStore) -> StoreDataset:
        """What this model reads of a store.

        Raises
        ------
        StoreError
            If a stream there is not the one that the model was trained on; says how they differ.
        """
        found = of_model(store, self.settings, self.max_steps)
        for name, identity in found.identities.items():
            differing = differences(self.identities.get(name, {}), identity)
            if differing:
                lines = [f"{key}: {own} / {its}" for key, own, its in differing]
                raise StoreError(
                    f"{store.path}: its stream {name} is not the one that the model was trained "
                    f"on: {'; '.join(lines)}; train on this store, or use the model's own"
                )
        return found

    def save(self, path: Path) -> None:
        """Write weights and all that is needed to build the model again; same model, same bytes."""
        # one metadata entry: safetensors keeps several in no fixed order
        config = {
            "model": self.settings.model_dump(),
            "classes": self.classes,
            "max_steps": self.max_steps.model_dump(),
            "streams": self.identities,
            **self.sizes,
        }
        tensors = {name: value.detach().cpu().clone() for name, value in self.state_dict().items()}
        with replacing(path) as partial:
            save_file(tensors, partial, metadata={"config": json.dumps(config, sort_keys=True)})

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """A model that :meth:`save` wrote, on the CPU, ready to classify.

        Raises
        ------
        InputError
            If the file cannot be read, is no such model, or is one of another version.
        """
        try:
            path.open(
                "rb"
            ).close()  # safetensors calls a file that is there but closed to us missing
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
            classifier.identities = dict(config["streams"])
        except OSError as error:
            raise InputError(unreadable(path, error)) from error
        except (SafetensorError, TypeError, KeyError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{path}: is no model that this version can read ({error}); train it again with "
                "`dvc repro --force --single-item train`"
            ) from error
        return classifier.eval()


def _model(
    settings: params.Model, inputs: dict[str, int], joined: dict[str, int], classes: int
) -> Hopping:
    """The model proper, with the settings that it takes."""
    registered = MODELS[settings.name]
    model = registered.load()
    hops = {"hops": settings.hops, "share_hops": settings.share_hops} if registered.hops else {}
    common = {
        "dropout": settings.dropout.model_dump(),
        "layers": settings.layers,
        "bidirectional": settings.bidirectional,
        "joined": joined,
        **hops,
    }
    shared = {"inputs", "hidden", "classes", "hops", "share_hops", *common}
    own = [
        name
        for name, parameter in inspect.signature(model).parameters.items()
        if name not in shared and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    for name in settings.options:
        if name not in own:
            known = f"it takes {', '.join(own)}" if own else "it takes none"
            raise InputError(f"model.options.{name}: no option of {settings.name}; {known}")
    hidden = settings.hidden.model_dump()
    try:
        return model(inputs, hidden, classes, **common, **settings.options)
    except ValueError as error:
        raise InputError(f"model: {settings.name} cannot be built: {error}") from error


def one_after_another(sequences: list[Tensor], lengths: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Join sequences in time, the valid steps of each right after those of the one before.

    Parameters
    ----------
    sequences
        Each [B, T, D], with T of its own.
    lengths
        Each [B] int64.

    Returns
    -------
    joined
        [B, sum of T, D], padded with zeros at the end.
    lengths
        [B] int64, their sum.
    """
    total = sum(sequence.shape[1] for sequence in sequences)
    first = sequences[0]
    # one place more, where padding goes and is then cut off
    joined = first.new_zeros(len(first), total + 1, first.shape[2])
    before = torch.zeros_like(lengths[0])
    for sequence, n in zip(sequences, lengths, strict=True):
        steps = torch.arange(sequence.shape[1], device=sequence.device)
        places = torch.where(steps < n[:, None], before[:, None] + steps, total)
        joined = joined.scatter(1, places[:, :, None].expand_as(sequence), sequence)
        before = before + n
    return joined[:, :total], before
