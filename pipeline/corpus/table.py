"""The CSV files of a corpus: the utterance table, the tables of the modalities, and the votes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pipeline import InputError
from pipeline.system.filesystem import write_csv

TABLES: dict[str, dict[str, str]] = {
    "utterances": {
        "utterance": "str",  # Ses01F_impro01_M003
        "dialog": "str",  # Ses01F_impro01
        "order": "int64",  # position in the dialog
        "speaker": "str",  # Ses01M
        "group": "str",  # what a fold leaves out together: in IEMOCAP the session
        "gender": "str",  # F or M
        "scenario": "str",  # improvised or scripted
        "part": "str",  # of an official split: train, development or test
        "start": "float64",  # seconds in the recordings below
        "end": "float64",
        "emotion": "str",  # code of the corpus
        "valence": "float64",  # means over the raters
        "activation": "float64",
        "dominance": "float64",
        "text": "str",  # as in the transcript; empty if there is none
        "audio": "str",  # relative to the root of the corpus; empty if the file is missing
        "audio_place": "str",  # within: from start to end of the file; empty: the whole file
        "video": "str",
        "place": "str",  # of the speaker in the video: left, right or whole
    },
    # The columns that each modality depends on, so that a change in another one recomputes nothing;
    # with hashes of the media, so that a changed file is extracted again.
    "audio": {
        "utterance": "str",
        "dialog": "str",
        "start": "float64",
        "end": "float64",
        "audio": "str",
        "audio_place": "str",
        "audio_sha256": "str",
    },
    "text": {"utterance": "str", "dialog": "str", "text": "str"},
    "visual": {
        "utterance": "str",
        "dialog": "str",
        "start": "float64",
        "end": "float64",
        "video": "str",
        "place": "str",
        "video_sha256": "str",
    },
    # and one column per code: the number of raters who chose it
    "votes": {"utterance": "str"},
}
"""The columns and types of each table, by file name without suffix."""

_FURTHER = {"votes": "float64"}
"""The type of further columns, for the tables that may have them."""


class CorpusError(InputError):
    """A corpus or one of its tables cannot be used."""


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write the columns of the table that `path` names; the same table gives the same bytes."""
    columns = list(table.columns if path.stem in _FURTHER else TABLES[path.stem])
    write_csv(path, table[columns])


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table that :func:`write_table` wrote; its file name must be one of :data:`TABLES`.

    Values are restored exactly: strings such as ``None`` or ``NA`` stay strings, floats keep all
    bits.

    Raises
    ------
    CorpusError
        If the file is missing, lacks a column or has a value of another type.
    """
    path = Path(path)
    if path.stem not in TABLES:
        raise CorpusError(f"{path}: not the name of a table; known are {', '.join(TABLES)}.csv")
    types = dict(TABLES[path.stem])
    remedy = "`dvc repro parse` makes it"
    try:
        columns = pd.read_csv(path, nrows=0).columns
        missing = [column for column in types if column not in columns]
        if missing:
            raise CorpusError(
                f"{path}: has no column {', '.join(missing)}; found {', '.join(columns)}; {remedy}"
            )
        if path.stem in _FURTHER:
            types |= {column: _FURTHER[path.stem] for column in columns if column not in types}
        table = pd.read_csv(
            path,
            usecols=list(types),
            dtype=types,
            keep_default_na=False,
            # an empty string is a missing value only in columns of numbers
            na_values={name: [""] for name, kind in types.items() if kind == "float64"},
            encoding="utf-8",
            lineterminator="\n",
        )
    except FileNotFoundError as error:
        raise CorpusError(f"{path}: no such file; {remedy}") from error
    except CorpusError:
        raise
    except ValueError as error:
        raise CorpusError(f"{path}: not a table of {path.stem}: {error}; {remedy}") from error
    return table[list(types)]
