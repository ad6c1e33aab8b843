"""Hidden states of a pretrained vision encoder of transformers, one vector per frame and layer.

Encoders such as CLIP, SigLIP, DINOv2, ViT and ConvNeXt. Each crop of a frame goes through the
preprocessing that comes with the model, which scales and normalises it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from pipeline.corpus.utterance import Utterance
from pipeline.features import hub
from pipeline.features.extractor import Context, State
from pipeline.features.pretrained import WeightsError
from pipeline.features.transformer import Transformer, library
from pipeline.features.visual import VisualExtractor

if TYPE_CHECKING:
    import torch

# The other one, PIL, gives other values, is three times slower, and knows fewer models.
BACKEND = "torchvision"

_CLASS_TOKENS = ("cls_token", "class_embedding")
_FURTHER_TOKENS = ("register_tokens", "distillation_token")


@dataclass(frozen=True)
class Outline:
    """The form of the hidden states of a network.

    Attributes
    ----------
    widths
        Size D of each layer.
    tokens
        Number of tokens before the patches.
    has_class
        Whether the first of them is a class token.
    """

    widths: tuple[int, ...]
    tokens: int
    has_class: bool


class ImageEncoder(Transformer, VisualExtractor):
    """Pooled hidden states of frames, [T, D], or [T, L, D] of L layers.

    Attributes
    ----------
    pooling
        ``mean``: mean of the patches, or of the map of a convolutional network; ``class``: the
        class token.
    """

    version: ClassVar = 1
    also: ClassVar = hub.PREPROCESSOR
    part: ClassVar = "vision_config"
    optional: ClassVar = ("pooler.", "head.", "embeddings.mask_token")
    libraries: ClassVar = ("av", "opencv-python-headless", "torch", "torchvision", "transformers")

    pooling: Literal["class", "mean"] = "mean"

    def identity(self, context: Context) -> dict[str, Any]:
        """Also the library that scales pictures, since another one gives other values."""
        return super().identity(context) | {"preprocessing": self.preprocessor().backend}

    def preprocessor(self) -> Any:
        """The image processor of transformers that comes with the model."""
        return self.loaded("AutoImageProcessor", backend=BACKEND)

    def outline(self) -> Outline:
        """The form of the hidden states.

        Raises
        ------
        WeightsError
            If the model is not an encoder of single pictures.
        """
        if self.config().model_type == "vit_mae":
            raise WeightsError(
                f"model: {self.model} is a vit_mae, which hides patches at random; set model_type "
                "in its config.json to vit, which reads the same weights"
            )
        return _outline(self.model, self.revision, self.pickled_weights, self.crop)

    def depth(self) -> int:
        return len(self.outline().widths) - 1

    def prepare(self, utterances: Sequence[Utterance], context: Context) -> State:
        """No state; this checks layers and pooling.

        Raises
        ------
        WeightsError
            If there is no such model, it has no such layer or no class token, or the layers differ
            in width.
        """
        outline = self.outline()
        widths = [outline.widths[layer] for layer in self.layer_numbers()]
        if len(set(widths)) > 1:
            raise WeightsError(
                f"layers: {self.layers} of {self.model} have {', '.join(map(str, widths))} values; "
                "list layers of the same width, or make a stream of each"
            )
        if self.pooling == "class" and not outline.has_class:
            raise WeightsError(f"pooling: is class, but {self.model} has no class token; set mean")
        return {}

    def shape(self, device: str) -> tuple[int, ...]:
        layers = self.layer_numbers()
        width = self.outline().widths[layers[0]]
        return (width,) if len(layers) == 1 else (len(layers), width)

    def embed(self, images: np.ndarray, device: str) -> np.ndarray:
        import torch

        pixels = pixel_values(self.preprocessor(), images)
        pixels = pixels.to(device, getattr(torch, self.precision))
        hidden = self.net(device)(pixel_values=pixels, output_hidden_states=True).hidden_states
        pooled = torch.stack([self._pooled(hidden[layer]) for layer in self.layer_numbers()], 1)
        return pooled.reshape(len(images), *self.shape(device)).cpu().numpy()

    def _pooled(self, states: torch.Tensor) -> torch.Tensor:
        """Pool tokens [B, T, D] or a map [B, D, H, W] to [B, D] float32."""
        if self.pooling == "class":
            return states[:, 0].float()
        if states.ndim == 4:
            return states.float().mean((2, 3))
        return states[:, self.outline().tokens :].float().mean(1)


def pixel_values(preprocessor: Any, images: np.ndarray) -> torch.Tensor:
    """Scale and normalise pictures [B, height, width, 3] uint8 to [B, 3, height, width] float32."""
    return preprocessor(
        images=list(images), return_tensors="pt", input_data_format="channels_last"
    )["pixel_values"]


@cache
def _outline(model: str, revision: str | None, pickled_weights: bool, crop: int) -> Outline:
    """The form of the hidden states, from a network without weights; once per process."""
    import torch

    encoder = ImageEncoder(
        model=model, revision=revision, pickled_weights=pickled_weights, crop=crop
    )
    config, preprocessor = encoder.config(), encoder.preprocessor()
    try:
        pixels = pixel_values(preprocessor, np.zeros((1, crop, crop, 3), np.uint8))
        with torch.device("meta"):
            network = library().AutoModel.from_config(config).eval()
            hidden = network(pixel_values=pixels.to("meta"), output_hidden_states=True)
        shapes = [states.shape for states in hidden.hidden_states]
        # maps are [1, D, height, width] of square pictures, and not [1, height, width, D]
        if any(len(of) not in (3, 4) or (len(of) == 4 and of[2] != of[3]) for of in shapes):
            raise ValueError(f"hidden states of the form {list(shapes[-1])}")
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError) as error:
        raise WeightsError(
            f"model: {model} is not an encoder of single pictures: {error}"
        ) from error
    special: dict[str, int] = {}  # numbers of tokens
    if len(shapes[0]) == 3:
        for name, weights in network.named_parameters():
            last = name.rpartition(".")[2]
            if last in _CLASS_TOKENS + _FURTHER_TOKENS:
                special[last] = weights.numel() // weights.shape[-1]
    return Outline(
        tuple(of[1 if len(of) == 4 else 2] for of in shapes),
        sum(special.values()),
        not special.keys().isdisjoint(_CLASS_TOKENS),
    )
