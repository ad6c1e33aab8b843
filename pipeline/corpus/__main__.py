"""``python -m pipeline.corpus``: inspect a copy of a corpus before running the pipeline.

``check ROOT --format iemocap`` reports what it contains, what is missing and what is unusual;
``words ROOT OUTPUT.csv`` writes a table of its word alignments; ``template OUTPUT.csv`` writes an
example of the list that describes your own corpus.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.corpus import findings, parsing
from pipeline.corpus.findings import Item
from pipeline.corpus.listed import TEMPLATE
from pipeline.corpus.parsing import Parsed
from pipeline.corpus.reader import Reader
from pipeline.corpus.table import CorpusError
from pipeline.registry import CORPORA


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    options = _options(arguments)
    if options.command == "template":
        return _template(options.output)
    reader = CORPORA[options.format].load()()
    try:
        parsed = parsing.parse(reader, options.root)
        if options.command == "check":
            return _check(reader, options.root, parsed, options.items)
        return _words(reader, options.root, parsed, options.output, options.items)
    except (CorpusError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.corpus", description="Inspect a copy of a corpus."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check",
        help="report the content of a copy",
        description="Report the content of a copy and compare it with the known totals of the full "
        "release, if there are any. Of media files, at most the headers are read. Exit code: 0 the "
        "totals are those of the full release, 1 they differ, 2 this is not a copy of the corpus.",
    )
    words = commands.add_parser(
        "words",
        help="write the word alignments of a copy as one table",
        description="Write utterance, word, start and end (seconds in the dialog) of each aligned "
        "word. Exit code: 0 the table was written, 2 there are no alignments.",
    )
    for command in (check, words):
        command.add_argument("root", type=Path, help="the folder of the corpus, as corpus.root")
        command.add_argument("--items", action="store_true", help="also print each finding")
        command.add_argument(
            "--format", choices=list(CORPORA), default="iemocap", help="default: %(default)s"
        )
    words.add_argument("output", type=Path, help="the CSV file to write")
    template = commands.add_parser(
        "template",
        help="write a commented example of the list of your own corpus",
        description="Write a commented example of the CSV file that corpus.format listed reads. "
        "Exit code: 0 it was written, 2 the file exists already or cannot be written.",
    )
    template.add_argument("output", type=Path, help="the CSV file to write")
    return parser.parse_args(arguments)


def _template(output: Path) -> int:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("x", encoding="utf-8", newline="\n") as file:
            file.write(TEMPLATE)
    except OSError as error:
        fault = f"cannot be written: {error.strerror}; name another file"
        print(f"error: {output}: {fault}", file=sys.stderr)
        return 2
    print(f"{output}: written; docs/listed.md explains what to do with it")
    return 0


def _check(reader: Reader, root: Path, parsed: Parsed, verbose: bool) -> int:
    text, complete = reader.check(root, parsed)
    print(text)
    if verbose:
        _print_items(parsed.items)
    elif parsed.items:
        print("\n--items shows each finding with its file and line")
    return int(not complete)


def _words(reader: Reader, root: Path, parsed: Parsed, output: Path, verbose: bool) -> int:
    table, items = reader.words(root, parsed.utterances)
    table.to_csv(output, index=False, lineterminator="\n", encoding="utf-8")
    print(f"{len(table)} words of {table['utterance'].nunique()} utterances: {output}")
    print(findings.reasons(findings.count(items)))
    if verbose:
        _print_items(items)
    return 0


def _print_items(items: Sequence[Item]) -> None:
    print()
    for item in items:
        print(item)


if __name__ == "__main__":
    sys.exit(main())
