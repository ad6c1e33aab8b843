"""Command line: ``python -m pipeline.export arrays|mmsa|means STORE OUTPUT``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import InputError, params
from pipeline.export import arrays, means, mmsa
from pipeline.export.common import STEPS, ExportError, divide
from pipeline.store import FeatureStore

DEFAULTS = {"arrays": arrays.STREAMS, "mmsa": mmsa.STREAMS}
"""The streams that each format exports by default."""


def _pairs(text: Sequence[str], option: str, known: Mapping[str, Any]) -> dict[str, str]:
    """Parse kind=value pairs."""
    pairs = {}
    for pair in text:
        kind, equals, value = pair.partition("=")
        if kind not in known or not equals or not value:
            raise ExportError(f"{option} {pair}: write one of {', '.join(known)}, =, and a value")
        pairs[kind] = value
    return pairs


def _steps(text: Sequence[str]) -> dict[str, int]:
    pairs = _pairs(text, "--steps", STEPS)
    for kind, value in pairs.items():
        if not (value.isascii() and value.isdigit() and int(value)):
            raise ExportError(f"--steps {kind}={value}: must be a whole number above 0")
    return STEPS | {kind: int(value) for kind, value in pairs.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.export",
        description="Export a feature store to the formats of other code.",
    )
    commands = parser.add_subparsers(dest="format", required=True)
    for name, output, text in (
        ("arrays", "FOLDER", "padded NumPy arrays, as the code of the AMH paper loads them"),
        ("mmsa", "FILE", "the pickle that MMSA loads"),
        ("means", "FILE", "a CSV file with the mean of each stream, one row per utterance"),
    ):
        command = commands.add_parser(name, help=text, description=f"Write {text}.")
        command.add_argument("store", metavar="STORE", type=Path)
        command.add_argument("output", metavar=output, type=Path, help="must not exist")
        if name == "means":
            command.add_argument("--streams", nargs="+", metavar="STREAM", help="(default: all)")
            continue
        command.add_argument(
            "--fold", type=int, help="fold whose parts are written (default: the first)"
        )
        for option, value, defaults in (
            ("--streams", "STREAM", DEFAULTS[name]),
            ("--steps", "NUMBER", STEPS),
        ):
            pairs = " ".join(f"{kind}={default}" for kind, default in defaults.items())
            command.add_argument(
                option, nargs="+", default=[], metavar=f"KIND={value}", help=f"(default: {pairs})"
            )
        command.add_argument(
            "--standardise",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="by mean and standard deviation of the training part of the fold (default: yes)",
        )
        command.add_argument(
            "--params",
            type=Path,
            default=Path("params.yaml"),
            help="file with the parameters labels and split (default: params.yaml)",
        )
    return parser


def _run(options: argparse.Namespace) -> None:
    with FeatureStore(options.store) as store:
        if options.format == "means":
            means.write(store, options.output, options.streams)
            return
        defaults = DEFAULTS[options.format]
        streams = defaults | _pairs(options.streams, "--streams", defaults)
        chosen: Any = {
            "streams": {kind: name for kind, name in streams.items() if name != "none"},
            "steps": _steps(options.steps),
            "standardise": options.standardise,
        }
        settings = params.load(options.params)
        lists = options.params.parent / "splits"
        classes, names, parts = divide(store, settings, lists, options.fold)
        if options.format == "arrays":
            arrays.write(store, options.output, classes, parts, **chosen)
        else:
            mmsa.write(store, options.output, classes, names, parts, **chosen)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
