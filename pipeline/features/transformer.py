"""The base class of extractors that run a pretrained network of transformers.

There is one class per modality: speech, text and pictures. Each reads hidden states of some layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pipeline.corpus.utterance import Utterance
from pipeline.features import hub
from pipeline.features.extractor import Context, NetworkExtractor, State
from pipeline.features.pretrained import REVISION, WeightsError
from pipeline.params.types import OwnPath
from pipeline.system.filesystem import unreadable

if TYPE_CHECKING:
    import torch


class Transformer(NetworkExtractor):
    """Base class; networks are loaded once per process.

    Attributes
    ----------
    also
        Patterns of files that the modality needs; see :class:`pipeline.features.hub.Model`.
    network
        The class of transformers that loads the network.
    part
        In the configuration of a model of several modalities, the name of its part for this one;
        only this part is loaded.
    optional
        Beginnings of the names of weights that may be missing, since hidden states do not depend on
        them.
    model
        A folder, ``package:<module>/<folder>``, or a model name of the Hugging Face hub.
    revision
        Branch, tag or commit on the hub; null for the main branch.
    pickled_weights
        Whether weights in pickle format are read if there is no safetensors file. They are loaded
        with ``weights_only=True``, which runs no code.
    layers
        The hidden layers: 0 for the input of the first layer, -1 for the last layer. They are those
        of ``hidden_states`` of transformers; the last one is after a final normalisation in some
        models. Of several layers, the values are [T, L, D], and models learn a weight for each.
    """

    also: ClassVar[tuple[str, ...]]
    network: ClassVar[str] = "AutoModel"
    part: ClassVar[str] = ""
    optional: ClassVar[tuple[str, ...]] = ("pooler.",)
    neutral: ClassVar = (*NetworkExtractor.neutral, "revision", "pickled_weights")
    libraries: ClassVar[tuple[str, ...]] = ("tokenizers", "torch", "transformers")

    extractor: Literal["transformers"] = "transformers"
    model: OwnPath
    revision: str | None = None
    pickled_weights: bool = False
    layers: list[int] = Field(default_factory=lambda: [-1], min_length=1)

    @property
    def pretrained(self) -> hub.Model:
        return hub.Model(self.model, self.also, self.revision, self.pickled_weights)

    def files(self) -> dict[str, str]:
        return super().files() | self.pretrained.files()

    def origin(self) -> dict[str, str]:
        """The commit of a model of the hub."""
        commit = self.pretrained.commit()
        return {REVISION: commit} if commit else {}

    def config(self) -> Any:
        """The configuration of the network.

        Raises
        ------
        WeightsError
            If the folder is missing, or has no configuration that transformers knows.
        """
        return part_of(_loaded(self.pretrained, "AutoConfig"), self.part)

    def depth(self) -> int:
        """The number of layers of the network."""
        return int(self.config().num_hidden_layers)

    def layer_numbers(self) -> list[int]:
        """The layers, counted from 0.

        Raises
        ------
        WeightsError
            If the network has no such layer, or a layer is listed twice.
        """
        depth = self.depth()
        for layer in self.layers:
            if not -depth - 1 <= layer <= depth:
                raise WeightsError(
                    f"layers: is {layer}, but {self.model} has the layers 0 (its embeddings) to "
                    f"{depth}, or {-depth - 1} to -1"
                )
        numbers = [layer % (depth + 1) for layer in self.layers]
        if len(set(numbers)) < len(numbers):
            raise WeightsError(f"layers: {self.layers} lists a layer twice")
        return numbers

    def prepare(self, utterances: Sequence[Utterance], context: Context) -> State:
        """No state; this checks `model` and `layers` before any work.

        Raises
        ------
        WeightsError
            If there is no such model, or the model has no such layer.
        """
        self.layer_numbers()
        return {}

    def loaded(self, kind: str, **options: Any) -> Any:
        """A tokenizer or preprocessor, such as of ``AutoTokenizer``, loaded once per process."""
        return _loaded(self.pretrained, kind, **options)

    def net(self, device: str) -> torch.nn.Module:
        """The network in evaluation mode, loaded once per process.

        On a CPU it runs on one thread: last bits depend on the number of threads, and several
        processes use the cores better.

        Raises
        ------
        WeightsError
            If its weights cannot be read, or do not fit its configuration.
        """
        import torch

        if torch.device(device).type == "cpu":
            torch.set_num_threads(1)
        return _network(
            self.pretrained,
            self.network,
            self.part,
            optional=self.optional,
            precision=self.precision,
            device=device,
        )


def library() -> Any:
    """The module transformers, silenced."""
    from pipeline.system.torchvision_shim import torchvision_operators

    torchvision_operators()  # transformers imports torchvision if it is installed
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def part_of(config: Any, part: str) -> Any:
    """A part of a model's configuration; all of it if it has no such part."""
    return getattr(config, part, config) if part else config


@cache
def _loaded(model: hub.Model, kind: str, **options: Any) -> Any:
    folder = model.folder()
    try:
        # never code from the folder
        return getattr(library(), kind).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **options
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        if isinstance(error, OSError) and error.errno:
            raise WeightsError(f"model: {unreadable(folder, error)}") from error
        reason = str(error)
        if "trust_remote_code" in reason:
            reason = (
                "it needs code of its own, which is never run; transformers must have its class"
            )
        raise WeightsError(f"model: {folder} is not a model of transformers: {reason}") from error


@cache
def _network(
    model: hub.Model,
    kind: str,
    part: str,
    *,
    optional: tuple[str, ...],
    precision: str,
    device: str,
) -> torch.nn.Module:
    config = part_of(_loaded(model, "AutoConfig"), part)
    import torch
    from safetensors import SafetensorError

    folder = model.folder()
    remedy = "fetch its files again"
    try:
        network, report = getattr(library(), kind).from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=model.weights(folder)[0] in hub.SAFETENSORS,
            output_loading_info=True,
            dtype=getattr(torch, precision),
        )
    except UnpicklingError as error:  # whose message advises to run its code
        raise WeightsError(
            f"model: the weights in {folder} cannot be loaded: their pickle is damaged or has more "
            f"than tensors in it, which is not loaded; {remedy}, or take another model"
        ) from error
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno:
            raise WeightsError(f"model: {unreadable(folder, error)}") from error
        raise WeightsError(
            f"model: the weights in {folder} cannot be loaded: {error}; {remedy}"
        ) from error
    # transformers initialises missing weights at random
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(optional))
    if missing:
        raise WeightsError(
            f"model: the weights in {folder} lack {missing[0]} and {len(missing) - 1} more "
            f"parameters that its config.json requires; {remedy}"
        )
    return network.to(device).eval()
