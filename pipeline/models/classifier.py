"""The complete classifier: from the features of a store to logits.

A model such as :class:`~pipeline.models.amh.AMH` takes float sequences by modality. The classifier
puts one input layer per stream in front of it: values are standardised with the mean and standard
deviation of the training part, token ids are embedded, and of a stream of several layers their
weighted mean is taken, with learned weights. A saved classifier contains all of these.

If a modality has several streams, such as GloVe and BERT, a linear layer maps each to a common size
and the sequences are concatenated in time. The model's attention covers the steps of all of them,
so words and word pieces need no alignment.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline import InputError, params
from pipeline.models.hopping import Hopping
from pipeline.models.standardise import LayerMix, Standardise
from pipeline.registry import MODELS
from pipeline.store import FeatureStore, StoreError
from pipeline.store.batches import Batch, DialogBatch, Sizes
from pipeline.store.dataset import StoreDataset
from pipeline.store.inputs import of_model
from pipeline.system.filesystem import replacing, unreadable
from pipeline.system.values import differences

# parameters that a user's own model may lack
_OPTIONAL = (
    *("convolutions", "summary", "input_statistics", "batch_norm", "summary_dropout"),
    "context",
)


class Standardised(NamedTuple):
    """The streams of a batch after the input layers.

    Attributes
    ----------
    sequences, lengths
        [B, T, D] float and [B] int64, by stream.
    joined
        By utterance-level stream [B, P] float; NaN for an utterance without features.
    """

    sequences: dict[str, Tensor]
    lengths: dict[str, Tensor]
    joined: dict[str, Tensor]


class Classifier(nn.Module):
    """The input layers and the model that `settings` name.

    Parameters
    ----------
    settings
        The parameters `model`.
    sizes
        The sizes of the streams that it reads.
    classes
        The names of the classes, in the order of the logits.
    max_steps
        Length at which sequences are truncated; saved with the model.

    Attributes
    ----------
    identities
        :attr:`pipeline.store.Stream.identity` of each stream that it was trained on.
    extractors
        :attr:`pipeline.store.dataset.StoreDataset.extractors` of these streams.

    Raises
    ------
    InputError
        If ``model.options`` has an unknown key or a value that the model refuses.
    """

    def __init__(
        self,
        settings: params.Model,
        sizes: Sizes,
        classes: list[str],
        max_steps: params.MaxSteps,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.classes = classes
        self.max_steps = max_steps
        self.sizes = sizes
        widths, vocabularies = sizes.widths, sizes.vocabularies
        self.identities: dict[str, dict[str, Any]] = {}
        self.extractors: dict[str, dict[str, Any]] = {}
        self.inputs = nn.ModuleDict()
        self.layers = nn.ModuleDict()
        self.mixing = nn.ModuleDict()
        inputs: dict[str, int] = {}
        for modality in settings.modalities:
            names = settings.streams.names(modality)
            for name in settings.read_of(modality):
                if name in vocabularies:
                    table = nn.Embedding(vocabularies[name], widths[name])
                    table.weight.requires_grad_(settings.tune_embeddings)
                    self.inputs[name] = table
                else:
                    self.inputs[name] = Standardise(*sizes.row(name))
                if name in sizes.layers:
                    self.layers[name] = LayerMix(len(sizes.layers[name]))
            if settings.is_pooled:
                continue
            if len(names) > 1:
                for name in names:
                    self.mixing[name] = nn.Linear(widths[name], settings.hidden[modality])
            inputs[modality] = settings.hidden[modality] if len(names) > 1 else widths[names[0]]
        if settings.is_pooled:
            joined = {name: widths[name] for name in sizes.joined}
            sequences = {name: widths[name] for name in self.inputs if name not in joined}
            model = MODELS[settings.name].load()
            self.layers.requires_grad_(False)  # all layers weigh the same
            self.model: Any = model(sequences, joined, len(classes))
        else:
            joined = {} if settings.prosody is None else {"audio": widths[settings.prosody]}
            self.model = _model(settings, inputs, joined, len(classes))

    def layer_weights(self) -> dict[str, dict[int, float]]:
        """The weight of each layer, by stream of several layers."""
        return {
            name: dict(zip(self.sizes.layers[name], mix.weights.tolist(), strict=True))
            for name, mix in self.layers.items()
            if isinstance(mix, LayerMix)
        }

    @property
    def parameter_counts(self) -> dict[str, int]:
        """Number of ``trained`` parameters, and of ``all``."""
        sizes = [(value.numel(), value.requires_grad) for value in self.parameters()]
        return {
            "trained": sum(size for size, trained in sizes if trained),
            "all": sum(size for size, _ in sizes),
        }

    def forward(self, batch: Batch | DialogBatch, attention: bool = False) -> Any:
        """Return logits [B, classes]; with `attention` also each hop's weights [B, T].

        Utterances of a :class:`Batch` are classified without context, each as a dialog of its own.
        """
        if isinstance(batch, DialogBatch):
            joint = [self.joint(part)[0] for part in batch.targets]
            with torch.no_grad():
                joint += [self.joint(part)[0] for part in batch.others]
            return self.model.classify(torch.cat(joint), batch.windows)
        if self.settings.is_pooled:
            return self.model(*self.standardised(batch), attention=attention)
        return self.model(*self._sequences(batch), attention=attention)

    def joint(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """As :meth:`pipeline.models.hopping.Hopping.joint`."""
        return self.model.joint(*self._sequences(batch))

    def _sequences(
        self, batch: Batch
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Sequences, lengths and joined features of each modality, as the model takes them."""
        standardised = self.standardised(batch)
        sequences: dict[str, Tensor] = {}
        lengths: dict[str, Tensor] = {}
        for modality in self.settings.modalities:
            names = self.settings.streams.names(modality)
            steps = [standardised.sequences[name] for name in names]
            counts = [batch.lengths[name] for name in names]
            if len(names) == 1:
                sequences[modality], lengths[modality] = steps[0], counts[0]
            else:
                mixed = [self.mixing[name](x) for name, x in zip(names, steps, strict=True)]
                sequences[modality], lengths[modality] = concatenate_steps(mixed, counts)
        joined = {}
        if self.settings.prosody is not None:
            # 0 where they are missing: the mean of the training part
            joined["audio"] = standardised.joined[self.settings.prosody].nan_to_num(0.0)
        return sequences, lengths, joined

    def standardised(self, batch: Batch) -> Standardised:
        """Apply the input layers."""
        sequences = {}
        for name, values in batch.sequences.items():
            layer = self.inputs[name]
            of_speakers = batch.of_speakers.get(name)
            is_looked_up = isinstance(layer, nn.Embedding)
            standardised = layer(values) if is_looked_up else layer(values, of_speakers)
            if name in self.layers:
                standardised = self.layers[name](standardised)
            sequences[name] = standardised
        joined = {
            name: self.inputs[name](values, batch.of_speakers.get(name))
            for name, values in batch.joined.items()
        }
        return Standardised(sequences, batch.lengths, joined)

    def dataset(self, store: FeatureStore) -> StoreDataset:
        """Open the streams of a store that this model reads.

        Raises
        ------
        StoreError
            If a stream has another identity than the one that the model was trained on.
        """
        dataset = of_model(store, self.settings, self.max_steps)
        for name, identity in dataset.identities.items():
            differing = differences(self.identities.get(name, {}), identity)
            if differing:
                lines = [f"{key}: {trained} / {here}" for key, trained, here in differing]
                raise StoreError(
                    f"{store.path}: its stream {name} is not the one that the model was trained "
                    f"on: {'; '.join(lines)}; train on this store, or use the store of the model"
                )
        return dataset

    def save(self, path: Path) -> None:
        """Write weights and configuration to one file; the same model gives the same bytes."""
        # a single metadata entry, since safetensors writes several in no fixed order
        config = {
            "model": self.settings.model_dump(),
            "classes": self.classes,
            "max_steps": self.max_steps.model_dump(),
            "streams": self.identities,
            "extractors": self.extractors,
            "sizes": asdict(self.sizes),
        }
        tensors = {name: value.detach().cpu().clone() for name, value in self.state_dict().items()}
        with replacing(path) as partial:
            save_file(tensors, partial, metadata={"config": json.dumps(config, sort_keys=True)})

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """Load a model that :meth:`save` wrote, on the CPU and in evaluation mode.

        Raises
        ------
        InputError
            If the file cannot be read, or is not a model of this version.
        """
        try:
            # safetensors reports a file without read permission as missing; open() does not
            path.open("rb").close()
            with safe_open(path, "pt") as file:
                config = json.loads(file.metadata()["config"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return cls.rebuilt(config, tensors)
        except OSError as error:
            raise InputError(unreadable(path, error)) from error
        except (SafetensorError, TypeError, KeyError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{path}: not a model that this version can read ({error}); train it again with "
                "`dvc repro --force --single-item train`"
            ) from error

    @classmethod
    def rebuilt(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Classifier:
        """A model from the configuration and weights of a file, in evaluation mode.

        Raises
        ------
        TypeError, KeyError, ValueError, RuntimeError
            If they are not of a model of this version.
        """
        classifier = cls(
            params.Model.model_validate(config["model"]),
            Sizes(**config["sizes"]),
            config["classes"],
            params.MaxSteps.model_validate(config["max_steps"]),
        )
        classifier.load_state_dict(tensors)
        classifier.identities = dict(config["streams"])
        classifier.extractors = dict(config["extractors"])
        return classifier.eval()


def _model(
    settings: params.Model, inputs: dict[str, int], joined: dict[str, int], classes: int
) -> Hopping:
    """Build the registered model with the settings that it takes."""
    registered = MODELS[settings.name]
    model = registered.load()
    if settings.context != "none" and not issubclass(model, Hopping):
        raise InputError(
            f"model.context: {settings.name} does not take it, as it does not derive from Hopping "
            "(pipeline/models/hopping.py); set it to none"
        )
    hops = {"hops": settings.hops, "share_hops": settings.share_hops} if registered.hops else {}
    common: dict[str, Any] = {
        "dropout": settings.dropout.model_dump(),
        "layers": settings.layers,
        "bidirectional": settings.bidirectional,
        "joined": joined,
        **hops,
    }
    parameters = inspect.signature(model).parameters
    takes_any = any(value.kind is inspect.Parameter.VAR_KEYWORD for value in parameters.values())
    values = settings.model_dump()
    for name in _OPTIONAL:
        if takes_any or name in parameters:
            common[name] = values[name]
        elif getattr(settings, name) != params.Model.model_fields[name].default:
            raise InputError(f"model.{name}: {settings.name} does not take it; remove it")
    shared = {"inputs", "hidden", "classes", "hops", "share_hops", *common}
    own = [
        name
        for name, parameter in parameters.items()
        if name not in shared and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    for name in settings.options:
        if name not in own:
            allowed = ", ".join(own) or "none"
            raise InputError(
                f"model.options.{name}: unknown option; options of {settings.name}: {allowed}"
            )
    hidden = settings.hidden.model_dump()
    try:
        return model(inputs, hidden, classes, **common, **settings.options)
    except ValueError as error:
        raise InputError(f"model: {settings.name} cannot be built: {error}") from error


def concatenate_steps(sequences: list[Tensor], lengths: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Concatenate sequences in time, without padding between them.

    Parameters
    ----------
    sequences
        Each [B, T, D]; T may differ.
    lengths
        Each [B] int64.

    Returns
    -------
    joined
        [B, sum of T, D], padded with zeros at the end.
    lengths
        [B] int64, the sum of the lengths.
    """
    total = sum(sequence.shape[1] for sequence in sequences)
    first = sequences[0]
    # one extra step takes the padding and is cut off at the end
    joined = first.new_zeros(len(first), total + 1, first.shape[2])
    before = torch.zeros_like(lengths[0])
    for sequence, n in zip(sequences, lengths, strict=True):
        steps = torch.arange(sequence.shape[1], device=sequence.device)
        places = torch.where(steps < n[:, None], before[:, None] + steps, total)
        joined = joined.scatter(1, places[:, :, None].expand_as(sequence), sequence)
        before = before + n
    return joined[:, :total], before
