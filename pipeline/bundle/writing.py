"""Write a bundle: configuration, weights, vocabulary and card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pipeline import InputError, params
from pipeline.bundle import card
from pipeline.bundle.evaluated import Evaluated
from pipeline.evaluation.trained import Trained, check_parameters, models
from pipeline.models.classifier import Classifier
from pipeline.predict.loading import CONFIG, TENSORS, VERSION, VOCABULARY, check_extractable
from pipeline.store import FeatureStore
from pipeline.system.filesystem import replacing, write_text
from pipeline.system.values import differences

CARD = "README.md"


def write(
    folder: Path,
    output: Path,
    store: FeatureStore,
    results: Path,
    settings: params.Params,
    *,
    fold: int | None = None,
    name: str | None = None,
) -> None:
    """Write the bundle of a folder of models; the same input gives the same bytes.

    Parameters
    ----------
    folder
        The output of the stage ``train``.
    output
        The new folder.
    store
        The feature store that the models were trained on.
    results
        The output of the stage ``evaluate``.
    settings
        All parameters.
    fold
        The fold whose models are bundled; None for those of all folds.
    name
        The name on the hub, for the card; None if there is none yet.

    Raises
    ------
    InputError
        If `output` exists, there is no model, a model or result cannot be read or is of other
        parameters than the rest, or a stream cannot be extracted from a clip.
    """
    if output.exists():
        raise InputError(f"{output}: exists already; delete it, or name another folder")
    check_parameters(folder, settings)
    evaluated = Evaluated.read(folder, results, store)
    trained = models(folder)
    chosen = [model for model in trained if fold in (None, model.fold)]
    if not chosen:
        there = ", ".join(str(number) for number in sorted({model.fold for model in trained}))
        raise InputError(f"{folder}: has no model of fold {fold}; it has the folds {there}")
    config, words = _configuration(chosen)
    config |= {"label": evaluated.parameters["label"], "corpus": card.title(store, settings)}
    text = card.render(config, words, evaluated, store, settings=settings, name=name)
    with replacing(output) as partial:
        partial.mkdir()
        write_text(partial / CONFIG, _as_json(config))
        if words:
            write_text(partial / VOCABULARY, _as_json(words))
        # as transformers marks its files
        save_file(_tensors(chosen), partial / TENSORS, metadata={"format": "pt"})
        write_text(partial / CARD, text)


def _prefix(model: Trained) -> str:
    return f"fold-{model.fold}-seed-{model.seed}."


def _configuration(trained: Sequence[Trained]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """What the models share, and the words of their token ids by stream.

    Raises
    ------
    InputError
        If a model cannot be read, differs from the first in more than its weights, or reads a
        stream that cannot be extracted from a clip.
    """
    recorded = []
    for model in trained:
        check_extractable(Classifier.load(model.path))
        with safe_open(model.path, "pt") as file:
            recorded.append(json.loads(file.metadata()["config"]))
        if differing := differences(recorded[0], recorded[-1]):
            key, first, here = differing[0]
            raise InputError(
                f"{model.path}: is of other parameters or features than {trained[0].path.name}: "
                f"{key} is {here[:80]}, there {first[:80]}; train both again with `dvc repro "
                "--force --single-item train`"
            )
    shared = recorded[0]
    streams, words = {}, {}
    for name, extractor in shared.pop("extractors").items():
        if "vocabulary" in extractor:
            words[name] = extractor["vocabulary"]
            extractor |= {"vocabulary": len(words[name])}
        streams[name] = extractor | {"identity": shared["streams"][name]}
    config = {
        "bundle": VERSION,
        **shared,
        "streams": streams,
        "models": [
            {"fold": model.fold, "seed": model.seed, "prefix": _prefix(model)} for model in trained
        ],
    }
    return config, words


def _tensors(trained: Sequence[Trained]) -> dict[str, torch.Tensor]:
    tensors = {}
    for model in trained:
        with safe_open(model.path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                tensors[_prefix(model) + name] = file.get_tensor(name)
    return tensors


def _as_json(values: Any) -> str:
    return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
