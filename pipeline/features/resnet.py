"""ResNets of torchvision without their last layer [1]_.

References
----------
.. [1] K. He, X. Zhang, S. Ren, J. Sun. Deep residual learning for image recognition. CVPR 2016.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.fx.experimental.optimization import fuse

from pipeline.features.pretrained import (
    RANDOM,
    STATE_DICT_ENDINGS,
    WeightsError,
    catalogue_entry,
    resnet_file,
)
from pipeline.system.filesystem import unreadable
from pipeline.system.torchvision_shim import torchvision_operators

# of the images on which torchvision's ResNets are trained; red, green, blue
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_RANDOM_SEED = 0
_STATE_KEYS = ("state_dict", "model_state_dict", "model")  # in checkpoints

StateDict = Mapping[str, torch.Tensor]


class Embedder:
    """A ResNet without its last layer, on one device.

    Parameters
    ----------
    network
        ``resnet18``, ``resnet34``, ``resnet50``, ``resnet101`` or ``resnet152``.
    weights
        A torchvision weight name, a state-dict file (``.pth``, ``.pt``, ``.safetensors``), or
        ``random`` for random weights with a fixed seed.
    device
        A torch device.
    precision
        The type in which it computes: ``float32``, ``bfloat16`` or ``float16``.

    Attributes
    ----------
    size : int
        Size D of an embedding: 512 or 2,048.
    mean, std : tuple of float
        Mean and standard deviation for the normalisation of images; red, green, blue.

    Raises
    ------
    WeightsError
        If the weights are missing or do not fit the network.
    """

    def __init__(
        self, network: str, weights: str, device: torch.device | str, precision: str = "float32"
    ) -> None:
        model, self.size = headless(network, weights)
        self.mean, self.std = IMAGENET_MEAN, IMAGENET_STD
        if weights != RANDOM and not weights.endswith(STATE_DICT_ENDINGS):
            transforms = catalogue_entry(network, weights).transforms()
            self.mean, self.std = tuple(transforms.mean), tuple(transforms.std)
        self._device, self._dtype = torch.device(device), getattr(torch, precision)
        # fold batch normalisation into the convolutions; in float64, for precision
        folded = fuse(model.double(), inplace=True).to(self._dtype)
        # channels last is the layout of the images, and faster for convolutions
        self._model = folded.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._mean, self._std = (
            255.0 * torch.tensor(values, device=self._device).view(1, 3, 1, 1)
            for values in (self.mean, self.std)
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Embed images.

        Parameters
        ----------
        images
            [B, height, width, 3] uint8; red, green, blue.

        Returns
        -------
        embeddings
            [B, D] float32.
        """
        with torch.inference_mode():
            batch = torch.from_numpy(images).to(self._device).permute(0, 3, 1, 2)
            normalised = batch.float().sub_(self._mean).div_(self._std)
            return self._model(normalised.to(self._dtype)).float().cpu().numpy()


def headless(network: str, weights: str) -> tuple[nn.Module, int]:
    """Build a ResNet without its last layer; parameters and errors as of :class:`Embedder`.

    Returns
    -------
    model
        In evaluation mode, on the CPU; maps normalised [B, 3, height, width] float32 to [B, D].
    size
        Size D of an embedding.
    """
    torchvision_operators()  # before the import of torchvision
    from torchvision import models

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_RANDOM_SEED)
        model = models.get_model(network, weights=None)
    size = model.fc.in_features
    model.fc = nn.Identity()
    if weights == RANDOM:
        _damp_residuals(model)
    else:
        _fill(model, _read_state(resnet_file(network, weights)), weights)
    return model.eval(), size


def _damp_residuals(model: nn.Module) -> None:
    """Scale the residual branches of an untrained network by one over the root of their number.

    Each block adds its branch to its input. Without the statistics of a training the variance would
    double with each block, up to 2^50 in a ResNet-152; with this scale it stays of order one [1]_.

    References
    ----------
    .. [1] S. Hayou et al. Stable ResNet. AISTATS 2021.
    """
    blocks: list[Any] = [module for module in model.modules() if hasattr(module, "bn2")]
    for block in blocks:
        last = block.bn3 if hasattr(block, "bn3") else block.bn2
        nn.init.constant_(last.weight, len(blocks) ** -0.5)


def _read_state(path: Path) -> StateDict:
    """Read a state-dict file, or the state dict in a checkpoint.

    A prefix that all names share is removed, such as that of ``module.conv1.weight`` (DataParallel)
    or ``model.conv1.weight`` (a Lightning module).
    """
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's message recommends to load the file with weights_only=False
        raise _no_state_dict(path) from error
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError) as error:
        if "TorchScript" in str(error):  # the same recommendation
            raise _no_state_dict(path) from error
        if isinstance(error, OSError) and error.errno:
            raise WeightsError(f"weights: {unreadable(path, error)}") from error
        reason = str(error) or "it is empty or truncated"
        raise WeightsError(f"weights: {path} cannot be read: {reason}") from error
    if isinstance(state, Mapping):
        inside = (state[key] for key in _STATE_KEYS if isinstance(state.get(key), Mapping))
        state = next(inside, state)
    tensors = isinstance(state, Mapping) and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    )
    if not tensors:
        raise _no_state_dict(path)
    while len({name.partition(".")[0] for name in state}) == 1 and all("." in n for n in state):
        state = {name.partition(".")[2]: value for name, value in state.items()}
    return state


def _no_state_dict(path: Path) -> WeightsError:
    return WeightsError(
        f"weights: {path} is not a state dict. If it holds a whole model or a checkpoint, "
        f"save the state dict alone where the model was made: torch.save(model.state_dict(), "
        f"{path.name!r})"
    )


def _fill(model: nn.Module, state: StateDict, source: str) -> None:
    """Load a state dict that fits `model`, except for the last layer."""
    expected, loaded = _embedding_part(model.state_dict()), _embedding_part(state)
    faults = [f"lacks {name}" for name in expected if name not in loaded]
    faults += [f"has an unknown {name}" for name in loaded if name not in expected]
    faults += [
        f"has {name} of {list(loaded[name].shape)}, not {list(expected[name].shape)}"
        for name in expected
        if name in loaded and loaded[name].shape != expected[name].shape
    ]
    faults += [
        f"has values in {name} that are not finite"
        for name, value in loaded.items()
        if not torch.isfinite(value).all()
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise WeightsError(
            f"weights: {source} does not fit the network: {'; '.join(faults[:3])}{more}"
        )
    model.load_state_dict(loaded, strict=False)


def _embedding_part(state: StateDict) -> dict[str, torch.Tensor]:
    """The entries that determine an embedding, sorted: no last layer and no counters."""
    return {
        name: state[name]
        for name in sorted(state)
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }
