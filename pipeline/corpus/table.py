"""The utterance table and its companions as CSV files: their columns, writing and reading."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pipeline import InputError
from pipeline.system.filesystem import write_csv

TABLES: dict[str, dict[str, str]] = {
    "utterances": {
        "utterance": "str",  # Ses01F_impro01_M003
        "dialog": "str",  # Ses01F_impro01
        "order": "int64",  # place in the dialog
        "speaker": "str",  # Ses01M
        "group": "str",  # what a fold leaves out together: of IEMOCAP the session
        "gender": "str",  # F or M
        "scenario": "str",  # the corpus's own division: improvised or scripted
        "part": "str",  # of an official split: train, development or test
        "start": "float64",  # seconds in the recordings below
        "end": "float64",
        "emotion": "str",  # the corpus's code
        "valence": "float64",  # means over the raters
        "activation": "float64",
        "dominance": "float64",
        "text": "str",  # as in the transcript; empty where there is none
        "audio": "str",  # relative to the corpus's root; empty where the file is missing
        "audio_place": "str",  # within: from start to end of it; empty: the utterance alone
        "video": "str",
        "place": "str",  # of the speaker in the video: left, right or whole
    },
    # what each modality reads of it, so that a change elsewhere in the table recomputes nothing;
    # with the content of the media, so that a change of them recomputes what it touches
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
    # how many raters chose each of the corpus's codes; a column each
    "votes": {"utterance": "str"},
}
"""The columns and types of each table, by the stem of its file's name."""

_FURTHER = {"votes": "float64"}
"""The type of all further columns, of tables that may have some."""


class CorpusError(InputError):
    """A corpus or a table of it that cannot be used; the message says what was looked for."""


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write the columns of the table that `path` is named for; the same table, the same bytes."""
    columns = list(table.columns if path.stem in _FURTHER else TABLES[path.stem])
    write_csv(path, table[columns])


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table that :func:`write_table` wrote; its file name says which of `TABLES` it is.

    Values come back exactly: texts such as ``None`` or ``NA`` stay texts, floats keep every bit.

    Raises
    ------
    CorpusError
        If the file is missing, no such table, lacks a column or holds a value of another type.
    """
    path = Path(path)
    if path.stem not in TABLES:
        raise CorpusError(f"{path}: is named for no table; known are {', '.join(TABLES)}.csv")
    types = dict(TABLES[path.stem])
    remedy = "`dvc repro parse` makes it"
    try:
        found = pd.read_csv(path, nrows=0).columns
        missing = [column for column in types if column not in found]
        if missing:
            raise CorpusError(
                f"{path}: has no column {', '.join(missing)}; found {', '.join(found)}; {remedy}"
            )
        if path.stem in _FURTHER:
            types |= {column: _FURTHER[path.stem] for column in found if column not in types}
        table = pd.read_csv(
            path,
            usecols=list(types),
            dtype=types,
            keep_default_na=False,
            # only numbers can be missing
            na_values={name: [""] for name, kind in types.items() if kind == "float64"},
            encoding="utf-8",
            lineterminator="\n",
        )
    except FileNotFoundError as error:
        raise CorpusError(f"{path}: no such file; {remedy}") from error
    except CorpusError:
        raise
    except ValueError as error:
        raise CorpusError(f"{path}: is no table of {path.stem}: {error}; {remedy}") from error
    return table[list(types)]
