"""Command line: ``python -m pipeline.params migrate OLD.yaml``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.params.file import ParamsError
from pipeline.params.migration import migrate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.params", description="Parameters.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "migrate",
        help="migrate a parameter file of an earlier version to the present one",
        description="Print a parameter file of an earlier version in the present form.",
    )
    command.add_argument("file", type=Path, metavar="OLD.yaml")
    command.add_argument(
        "--output", type=Path, help="write to this file, which may be OLD.yaml itself"
    )
    options = parser.parse_args(arguments)
    try:
        text = migrate(options.file)
    except ParamsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.output:
        options.output.write_text(text, encoding="utf-8", newline="\n")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
