"""Text and CSV files of corpora, in the encodings that occur in copies."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.corpus.table import CorpusError
from pipeline.system.filesystem import unreadable

_CONTROLS = {code: bytes([code]).decode("cp1252", errors="replace") for code in range(0x80, 0xA0)}
"""Characters of Windows-1252 by the control characters that they become if read as Latin-1."""


def _windows_1252(error: UnicodeError) -> tuple[str, int]:
    """Decode the bytes that are not UTF-8; an error handler of codecs."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", errors="replace"), error.end


codecs.register_error("windows-1252", _windows_1252)


def decode(content: bytes) -> tuple[list[str], str]:
    """Decode a text file with any kind of line ends; returns its lines and its encoding.

    The encoding is ``utf-8``, ``utf-16`` (with or without a byte-order mark) or ``windows-1252``.
    The last is a file with bytes that are not UTF-8, or with control characters that were once
    characters of Windows-1252. Only these are replaced, so lines in UTF-8 may be beside them.
    Undefined bytes become U+FFFD.
    """
    codec, encoding = _utf_16(content), "utf-16"
    if codec:
        text = content.decode(codec, errors="replace")
    else:
        text = content.decode("utf-8-sig", errors="windows-1252").translate(_CONTROLS)
        plain = text.encode("utf-8") == content.removeprefix(codecs.BOM_UTF8)
        encoding = "utf-8" if plain else "windows-1252"
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), encoding


def _utf_16(content: bytes) -> str:
    """The codec of a UTF-16 text file; empty for any other file.

    Without a byte-order mark, UTF-16 is recognised by zeros in every second byte: the upper halves
    of Latin letters. Other encodings have no zero bytes in text.
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
        Number of its first line, from 1.
    values
        Stripped values by column; empty if the row is malformed.
    fault
        Why the row is malformed; empty if it is not.
    """

    line: int
    values: dict[str, str]
    fault: str = ""


@dataclass(frozen=True)
class CsvFile:
    """A CSV file: its columns in order, the line of its header, its rows, and its encoding."""

    columns: tuple[str, ...]
    header: int
    rows: list[Row]
    encoding: str


def read_csv(path: Path, required: Collection[str], *, comments: bool = False) -> CsvFile:
    """Read a CSV file with a header; empty rows are ignored.

    Parameters
    ----------
    path
        The file. The separator is a comma, semicolon or tab, whichever is most frequent in the
        header.
    required
        Required columns.
    comments
        Whether lines that begin with ``#`` are ignored.

    Raises
    ------
    CorpusError
        If the file cannot be read, is empty, lacks a column or has it twice.
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
        raise CorpusError(f"{path}: is empty; the first row must name the columns")
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
        raise CorpusError(f"{path}:{line}: has the column {twice[0]} twice; rename one")
    return CsvFile(columns, line, [_row(number, row, columns) for number, row in rows], encoding)


def _rows(path: Path, lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the number of its first line."""
    first = next((line for line in lines if line.strip()), "")
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=max(",;\t", key=first.count))
    while True:
        begin = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # such as a quote that is never closed
            raise CorpusError(f"{path}:{begin}: not a row of a CSV file: {error}") from error
        if any(value.strip() for value in row):
            yield begin, row


def _row(line: int, values: list[str], columns: tuple[str, ...]) -> Row:
    extra = [value for value in values[len(columns) :] if value.strip()]
    if extra or len(values) < len(columns):
        return Row(
            line,
            {},
            f"has {len(values)} values for {len(columns)} columns; put values that contain a "
            "separator into double quotes, and close them",
        )
    return Row(line, {name: value.strip() for name, value in zip(columns, values, strict=False)})
