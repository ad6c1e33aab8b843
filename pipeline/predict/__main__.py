"""Command line: ``python -m pipeline.predict CLIP --text "..."``."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

from tqdm import tqdm

from pipeline import InputError
from pipeline.predict import arguments, transcribing
from pipeline.predict.clips import (
    LONGEST_RECORDING,
    REGIONS,
    Clip,
    as_dialog,
    by_dialog,
    read_list,
)
from pipeline.predict.output import as_csv, as_json
from pipeline.predict.prediction import Prediction
from pipeline.predict.predictor import Predictor
from pipeline.system import compute
from pipeline.system.filesystem import write_text

FORMATS = ("json", "csv", "html", "png")
Outputs = Sequence[tuple[str, Path | None]]
"""Format and file of each output; None is the standard output."""


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
        help="clips with the columns clip, text, start, end, region, dialog, speaker",
    )
    parser.add_argument("--text", default="", help="the words of the one clip")
    parser.add_argument("--start", type=float, default=0.0, help="seconds (default: 0)")
    parser.add_argument("--end", type=float, help="seconds (default: the end of the file)")
    parser.add_argument(
        "--region", choices=REGIONS, default="whole", help="the speaker's place (default: whole)"
    )
    arguments.add(parser)
    parser.add_argument("--folds", type=int, nargs="+", metavar="K", help="(default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="S", help="(default: all)")
    parser.add_argument(
        "--long",
        action="store_true",
        help="the one clip is a long recording: predict each stretch of speech",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="(default: the ending of --output, or json); png is the timeline of --long",
    )
    parser.add_argument(
        "--output", type=Path, nargs="+", metavar="FILE", help="(default: the standard output)"
    )
    return parser


def _clips(options: argparse.Namespace) -> list[Clip]:
    """The clips to predict.

    Raises
    ------
    InputError
        If there are none, or the options for one clip are given for several.
    """
    one = {"text": "", "start": 0.0, "end": None, "long": False}
    given = [f"--{name}" for name, default in one.items() if getattr(options, name) != default]
    if given and (len(options.clips) != 1 or options.list):
        raise InputError(f"{', '.join(given)}: are of one clip; use --list for several")
    if options.long and options.text:
        raise InputError("--text: is of one utterance, and --long has several; use --transcribe")
    clips = [
        Clip(path, options.text, options.start, options.end, options.region)
        for path in options.clips
    ]
    clips += read_list(options.list) if options.list else []
    if not clips:
        raise InputError(
            "no clip: name a file, before --transcribe if that names no model, or a list with "
            "--list"
        )
    return clips


def _outputs(options: argparse.Namespace) -> Outputs:
    """What to write.

    Raises
    ------
    InputError
        If a format is unknown or impossible.
    """
    outputs = [
        (options.format or (path.suffix[1:].lower() if path else "json"), path)
        for path in options.output or [None]
    ]
    for name, path in outputs:
        if name not in FORMATS:
            raise InputError(
                f"--output {path}: ends in none of .{', .'.join(FORMATS)}; name its --format"
            )
        if name == "png" and not (path and options.long):
            raise InputError("--format png: is the timeline of --long, and needs --output")
    return outputs


def _predictor(options: argparse.Namespace, device: str) -> Predictor:
    return arguments.predictor(options, device, folds=options.folds, seeds=options.seeds)


def _write(outputs: Outputs, predictions: Sequence[Prediction], page: Callable[[], str]) -> None:
    """Write the predictions in each format but the picture; `page` makes the HTML page."""
    makers: dict[str, Callable[[], str]] = {
        "json": partial(as_json, predictions),
        "csv": partial(as_csv, predictions),
        "html": page,
    }
    for name, path in outputs:
        if name == "png":
            continue
        text = makers[name]()
        if path:
            write_text(path, text)
        elif predictions:
            print(text, end="")


def _dialog_by_dialog(options: argparse.Namespace, clips: Sequence[Clip], outputs: Outputs) -> int:
    """Predict clips; one that cannot be read is reported, and the others are predicted."""
    device = str(compute.device(options.device))
    recogniser = arguments.recogniser(options, device)
    predictor = _predictor(options, device)
    predictions, folders, faults = [], [], []
    with tqdm(total=len(clips), desc="predict", unit="clip", disable=len(clips) < 2) as bar:
        for dialog in by_dialog(clips):
            utterances, folder, unread = as_dialog(dialog)
            predictions += transcribing.predict(predictor, utterances, folder, recogniser)
            folders += [folder] * len(utterances)
            faults += unread
            bar.update(len(dialog))
            gc.enable()  # the libraries have been imported
    _write(outputs, predictions, partial(_page, predictions, folders))
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    if faults:
        print(f"{len(faults)} of {len(clips)} clips were left out", file=sys.stderr)
    return int(bool(faults))


def _page(predictions: Sequence[Prediction], folders: Sequence[Path]) -> str:
    from pipeline.predict.pages import as_html  # matplotlib loads slowly

    return as_html(predictions, folders)


def _timeline(options: argparse.Namespace, clip: Clip, outputs: Outputs) -> int:
    """Predict the stretches of speech of a long recording."""
    from pipeline.predict import timeline
    from pipeline.predict.pages import as_timeline
    from pipeline.report import figures

    recording, root = clip.utterance(LONGEST_RECORDING), clip.path.parent
    device = str(compute.device(options.device))
    recogniser = arguments.recogniser(options, device)
    utterances = timeline.stretches(recording, root)  # before the models are loaded
    predictor = _predictor(options, device)
    gc.enable()
    predictions = timeline.predict(predictor, utterances, root, recogniser)
    figures.style()
    draw = cache(partial(timeline.figure, predictions, recording, root))
    _write(outputs, predictions, lambda: as_timeline(predictions, draw()))
    for name, path in outputs:
        if name == "png" and path:
            figures.save(draw(), path)
    return 0


def main(given: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(given)
    gc.disable()  # a tenth of the time to the first prediction, which is spent in imports
    try:
        clips, outputs = _clips(options), _outputs(options)
        if options.long:
            return _timeline(options, clips[0], outputs)
        return _dialog_by_dialog(options, clips, outputs)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        gc.enable()


if __name__ == "__main__":
    sys.exit(main())
