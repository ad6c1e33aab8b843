"""Options that several commands have: models, their device and weights, and the recogniser."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import InputError, params
from pipeline.params.types import own_paths
from pipeline.predict.predictor import Predictor
from pipeline.predict.transcribing import FOLDER, Transcriber


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--models",
        type=Path,
        default=Path("models"),
        help="folder of models, or a bundle (default: models)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument(
        "--params",
        type=Path,
        default=Path("params.yaml"),
        help="file with the paths of weights on this machine (default: params.yaml, if it exists)",
    )
    parser.add_argument(
        "--transcribe",
        nargs="?",
        const=FOLDER,
        metavar="MODEL",
        help="recognise the words of clips without text by a Whisper model of faster-whisper: a "
        f"folder, package:<module>/<folder>, or a name to download (default: {FOLDER})",
    )
    parser.add_argument("--language", metavar="CODE", help="as en (default: detected in each clip)")


def paths_of_weights(path: Path) -> dict[str, dict[str, Any]]:
    """By stream of a parameter file, the paths of its weights."""
    settings = params.load(path)
    streams: Mapping[str, Any] = {
        name: extractor
        for modality in params.FEATURES
        for name, extractor in getattr(settings, modality).streams.items()
    }
    return {
        name: {key: getattr(extractor, key) for key in own_paths(type(extractor))}
        for name, extractor in streams.items()
    }


def recogniser(options: argparse.Namespace, device: str) -> Transcriber | None:
    """The recogniser of the options; None if there is to be none.

    Raises
    ------
    InputError
        As :class:`Transcriber`.
    """
    if options.transcribe is not None:
        return Transcriber(options.transcribe, device, options.language)
    if options.language:
        raise InputError("--language: is of --transcribe, which is not given")
    return None


def predictor(
    options: argparse.Namespace,
    device: str,
    folds: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
) -> Predictor:
    """The predictor of the options; parameters and errors of :meth:`Predictor.load`."""
    streams = paths_of_weights(options.params) if options.params.exists() else {}
    return Predictor.load(options.models, folds=folds, seeds=seeds, device=device, streams=streams)
