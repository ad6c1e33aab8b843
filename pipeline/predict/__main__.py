"""Command line: ``python -m pipeline.predict CLIP --text "..."``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline import InputError, params
from pipeline.params.types import own_paths
from pipeline.predict.clips import REGIONS, Clip, read_list
from pipeline.predict.output import as_csv, as_html, as_json
from pipeline.predict.predictor import Predictor
from pipeline.system.filesystem import write_text

FORMATS = ("json", "csv", "html")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.predict",
        description="Predict the emotion of clips by the trained models of this repository.",
    )
    parser.add_argument(
        "clips", nargs="*", type=Path, metavar="CLIP", help="file with sound, pictures or both"
    )
    parser.add_argument(
        "--list",
        type=Path,
        metavar="CSV",
        help="clips with the columns clip, text, start, end, region",
    )
    parser.add_argument("--text", default="", help="the words of the one clip")
    parser.add_argument("--start", type=float, default=0.0, help="seconds (default: 0)")
    parser.add_argument("--end", type=float, help="seconds (default: the end of the file)")
    parser.add_argument(
        "--region", choices=REGIONS, default="whole", help="the speaker's place (default: whole)"
    )
    parser.add_argument(
        "--models",
        type=Path,
        default=Path("models"),
        help="folder of models, or a bundle (default: models)",
    )
    parser.add_argument("--folds", type=int, nargs="+", metavar="K", help="(default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="S", help="(default: all)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument(
        "--params",
        type=Path,
        default=Path("params.yaml"),
        help="file with the paths of weights on this machine (default: params.yaml, if it exists)",
    )
    parser.add_argument("--format", choices=FORMATS, default="json", help="(default: json)")
    parser.add_argument("--output", type=Path, help="file (default: the standard output)")
    return parser


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


def _clips(options: argparse.Namespace) -> list[Clip]:
    """The clips to predict.

    Raises
    ------
    InputError
        If there are none, or the options for one clip are given for several.
    """
    one = {"text": "", "start": 0.0, "end": None}
    given = [f"--{name}" for name, default in one.items() if getattr(options, name) != default]
    if given and (len(options.clips) != 1 or options.list):
        raise InputError(f"{', '.join(given)}: are of one clip; use --list for several")
    clips = [
        Clip(path, options.text, options.start, options.end, options.region)
        for path in options.clips
    ]
    clips += read_list(options.list) if options.list else []
    if not clips:
        raise InputError("no clip: name a file, or a list with --list")
    return clips


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict all clips; a clip that cannot be read is reported, and the others are predicted."""
    options = _parser().parse_args(arguments)
    predictions, folders, faults = [], [], []
    try:
        clips = _clips(options)
        streams = paths_of_weights(options.params) if options.params.exists() else {}
        predictor = Predictor.load(
            options.models,
            folds=options.folds,
            seeds=options.seeds,
            device=options.device,
            streams=streams,
        )
        for clip in tqdm(clips, "predict", unit="clip", disable=len(clips) < 2):
            try:
                utterance = clip.utterance()
            except InputError as error:
                faults.append(str(error))
                continue
            predictions += predictor.predict([utterance], clip.path.parent)
            folders.append(clip.path.parent)
        match options.format:
            case "json":
                text = as_json(predictions)
            case "csv":
                text = as_csv(predictions)
            case _:
                text = as_html(predictions, folders)
        if options.output:
            write_text(options.output, text)
        elif predictions:
            print(text, end="")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    if faults:
        print(f"{len(faults)} of {len(clips)} clips were left out", file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
