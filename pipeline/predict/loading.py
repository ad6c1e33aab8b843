"""Trained models in a folder: as the stage ``train`` wrote it, or bundled.

A bundle has the layout of the Hugging Face hub; ``python -m pipeline.bundle`` writes it::

    config.json         what its models share, and the fold and seed of each
    model.safetensors   the weights of all; the names of tensors begin with the model's prefix
    vocabulary.json     the words of token ids, by stream, if a stream has token ids
    README.md           the model card
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from pipeline import InputError
from pipeline.evaluation.trained import models
from pipeline.models.classifier import Classifier
from pipeline.registry import EXTRACTORS
from pipeline.system.filesystem import unreadable

CONFIG, TENSORS, VOCABULARY = "config.json", "model.safetensors", "vocabulary.json"

VERSION = 1
"""Of the layout; to be raised when older code could not read it."""

Key = tuple[int, int]
"""Fold and seed of a model."""


def loaders(folder: Path) -> dict[Key, Callable[[], Classifier]]:
    """What loads each model of a folder, by fold and seed.

    Raises
    ------
    InputError
        If there is no model, or the list of models cannot be read.
    """
    if (folder / CONFIG).exists():
        return _bundled(folder)
    try:
        trained = models(folder)
    except OSError as error:
        raise InputError(unreadable(Path(error.filename or folder), error)) from error
    return {(fold, seed): partial(Classifier.load, path) for fold, seed, path in trained}


def check_extractable(classifier: Classifier) -> None:
    """Check that a model contains all that is needed to extract its streams from a clip.

    Raises
    ------
    InputError
        If another program made a stream, or the words of token ids are missing.
    """
    for name, specified in classifier.extractors.items():
        modality, kind = specified["modality"], specified["extractor"]
        if kind == "external" or kind not in EXTRACTORS[modality]:
            raise InputError(
                f"the stream {name} was made by another program, so it cannot be extracted from a "
                "clip; use a model of other streams"
            )
        if "vectors" in classifier.identities[name] and "vocabulary" not in specified:
            raise InputError(
                f"the model does not contain the vocabulary of {name}, since its store was "
                "written without text; train it on a store with text (text.include_text: true)"
            )


def _bundled(folder: Path) -> dict[Key, Callable[[], Classifier]]:
    config = _read(folder / CONFIG)
    try:
        if config["bundle"] != VERSION:
            raise ValueError(f"it is of version {config['bundle']}, this code reads {VERSION}")
        streams = config["streams"].items()
        with_words = {name: stream for name, stream in streams if "vocabulary" in stream}
        words = _read(folder / VOCABULARY) if with_words else {}
        for name, stream in with_words.items():
            stream["vocabulary"] = words[name]
        return {
            (model["fold"], model["seed"]): partial(_load, folder, config, model["prefix"])
            for model in config["models"]
        }
    except InputError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise _damaged(folder / CONFIG, error) from error


def _load(folder: Path, config: dict[str, Any], prefix: str) -> Classifier:
    """Build one model of a bundle, in evaluation mode."""
    path = folder / TENSORS
    try:
        # safetensors reports a file without read permission as missing; open() does not
        path.open("rb").close()
        with safe_open(path, "pt") as file:
            tensors = {
                name.removeprefix(prefix): file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118
                if name.startswith(prefix)
            }
        extractors = {name: dict(stream) for name, stream in config["streams"].items()}
        identities = {name: own.pop("identity") for name, own in extractors.items()}
        own = config | {"streams": identities, "extractors": extractors}
        return Classifier.rebuilt(own, tensors)
    except OSError as error:
        raise InputError(unreadable(path, error)) from error
    except (SafetensorError, TypeError, LookupError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(unreadable(path, error)) from error
    except ValueError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    reason = error if isinstance(error, ValueError | RuntimeError) else repr(error)
    return InputError(
        f"{path}: is no part of a bundle that this version can read ({reason}); fetch the bundle "
        "again, or write it with `python -m pipeline.bundle`"
    )
