"""Text files and CSV files of corpora, in the encodings that copies of them come in."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.corpus.table import CorpusError
from pipeline.system.filesystem import unreadable


def decode(content: bytes) -> tuple[list[str], str]:
    """Lines of a text file with line ends of any kind, and its encoding.

    The encoding is ``utf-8``, ``utf-16`` (with a byte-order mark or without) or, where the bytes
    are neither, ``windows-1252``. Bytes that the encoding leaves undefined become U+FFFD.
    """
    codec, encoding = _utf_16(content), "utf-16"
    if codec:
        text = content.decode(codec, errors="replace")
    else:
        try:
            text, encoding = content.decode("utf-8-sig"), "utf-8"
        except UnicodeDecodeError:
            text, encoding = content.decode("cp1252", errors="replace"), "windows-1252"
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), encoding


def _utf_16(content: bytes) -> str:
    """The codec of a UTF-16 text file; empty for another file.

    Without a byte-order mark it shows by zeros in every other byte, the upper halves of Latin
    letters. No other text holds a zero.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    first, second = content[0::2].count(0), content[1::2].count(0)
    if 0 in (first, second) and max(first, second) > len(content) / 4:
        return "utf-16-be" if first else "utf-16-le"
    return ""


@dataclass(frozen=True)
class Row:
    """A row of a CSV file.

    Attributes
    ----------
    line
        Where it begins, from 1.
    values
        Stripped values by column; empty for a row with a fault.
    fault
        Why it cannot be read; empty if it can.
    """

    line: int
    values: dict[str, str]
    fault: str = ""


@dataclass(frozen=True)
class CsvFile:
    """A CSV file: its columns in order, the line that names them, its rows, and its encoding."""

    columns: tuple[str, ...]
    header: int
    rows: list[Row]
    encoding: str


def read_csv(path: Path, required: Collection[str], *, comments: bool = False) -> CsvFile:
    """Read a CSV file whose first row names its columns; empty rows are passed over.

    Parameters
    ----------
    path
        Separated by commas, semicolons or tabs; the first row shows which.
    required
        Columns that it must have.
    comments
        Whether lines that begin with ``#`` are passed over.

    Raises
    ------
    CorpusError
        If it is missing, holds no row, or lacks a column or names it twice.
    """
    try:
        lines, encoding = decode(path.read_bytes())
    except FileNotFoundError as error:
        raise CorpusError(f"{path}: no such file") from error
    except OSError as error:
        raise CorpusError(unreadable(path, error)) from error
    if comments:
        lines = ["" if line.startswith("#") else line for line in lines]
    rows = _rows(path, lines)
    header = next(rows, None)
    if header is None:
        raise CorpusError(f"{path}: holds no row; its first one must name the columns")
    line, names = header
    columns = tuple(name.strip() for name in names)
    missing = [name for name in required if name not in columns]
    if missing:
        raise CorpusError(
            f"{path}:{line}: has no column {', '.join(missing)}; found {', '.join(columns)}; the "
            "first row must name the columns"
        )
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        raise CorpusError(f"{path}:{line}: names the column {twice[0]} twice; rename one")
    return CsvFile(columns, line, [_row(number, row, columns) for number, row in rows], encoding)


def _rows(path: Path, lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with the line on which each begins."""
    first = next((line for line in lines if line.strip()), "")
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=max(",;\t", key=first.count))
    while True:
        begin = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # such as a double quote that is never closed
            raise CorpusError(f"{path}:{begin}: is no row of a CSV file: {error}") from error
        if any(value.strip() for value in row):
            yield begin, row


def _row(line: int, values: list[str], columns: tuple[str, ...]) -> Row:
    extra = [value for value in values[len(columns) :] if value.strip()]
    if extra or len(values) < len(columns):
        return Row(
            line,
            {},
            f"has {len(values)} values for {len(columns)} columns; put values that hold a "
            "separator into double quotes",
        )
    return Row(line, {name: value.strip() for name, value in zip(columns, values, strict=False)})
