"""Command line: ``python -m pipeline.store describe|verify|problems|diff|pack|convert``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline import InputError
from pipeline.store.checking import verify
from pipeline.store.comparing import compare
from pipeline.store.converting import convert
from pipeline.store.describing import describe, problems
from pipeline.store.writing import pack

_STORE = "a folder data/features/<corpus>, or a packed store"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.store", description="Feature stores.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, paths, text in (
        ("describe", {"store": _STORE}, "print the content of a store as a table"),
        (
            "verify",
            {"store": f"{_STORE}, or one stream file"},
            "compare a store with its hashes; exit code 1 if it is damaged",
        ),
        (
            "problems",
            {"store": f"{_STORE}, or one stream file"},
            "list the utterances with missing or truncated features, and the reasons",
        ),
        (
            "diff",
            {"a": _STORE, "b": "another store"},
            "print the differences of two stores; exit code 1 if there are any, 2 on an error",
        ),
        (
            "pack",
            {"store": "a folder data/features/<corpus>", "output": "the file to write"},
            "write a store as one self-contained file",
        ),
        (
            "convert",
            {"old": "a store of schema version 2", "output": "a new folder"},
            "convert a store of schema version 2 into a folder of streams",
        ),
    ):
        command = commands.add_parser(name, help=text, description=text)
        for path, meaning in paths.items():
            command.add_argument(path, type=Path, metavar=path.upper(), help=meaning)
        if name == "pack":
            command.add_argument("--streams", nargs="+", metavar="STREAM", help="(default: all)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code."""
    options = _parser().parse_args(arguments)
    faults: list[str] = []
    try:
        match options.command:
            case "describe":
                print(describe(options.store))
            case "problems":
                print("\n".join(problems(options.store)) or f"{options.store}: no problem")
            case "pack":
                pack(options.store, options.output, options.streams)
                print(options.output)
            case "convert":
                print("\n".join(convert(options.old, options.output)))
                print(options.output)
            case "diff":
                faults = compare(options.a, options.b)
                print("\n".join(faults) or f"{options.a} and {options.b}: the same content")
            case "verify":
                faults = verify(options.store)
                print("\n".join(faults) or f"{options.store}: sound")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if options.command == "diff" else 1
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
