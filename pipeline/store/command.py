"""Command line: ``python -m pipeline.store describe|verify|diff``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.store.checking import verify
from pipeline.store.comparing import compare
from pipeline.store.describing import describe
from pipeline.store.reading import StoreError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.store", description="Feature stores.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, files, text in (
        ("describe", ("file",), "print a table of what a store holds"),
        ("verify", ("file",), "check a store's layout, values and hashes; exit code 1 if damaged"),
        ("diff", ("a", "b"), "print how two stores differ; exit code 1 if they do, 2 on an error"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        for file in files:
            command.add_argument(file, type=Path, metavar=file.upper())
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "describe":
            print(describe(options.file))
            return 0
        if options.command == "diff":
            found = compare(options.a, options.b)
            sound = f"{options.a} and {options.b}: the same content"
        else:
            found = verify(options.file)
            sound = f"{options.file}: sound"
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if options.command == "diff" else 1
    print("\n".join(found) if found else sound)
    return 1 if found else 0
