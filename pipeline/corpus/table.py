"""The utterance table and its companions as CSV files: their columns, writing and reading."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pipeline import InputError
from pipeline.filesystem import replacing

TABLES: dict[str, dict[str, str]] = {
    "utterances": {
        "utterance": "str",  # Ses01F_impro01_M003
        "session": "int64",  # 1 to 5
        "dialog": "str",  # Ses01F_impro01
        "scenario": "str",  # improvised or scripted
        "speaker": "str",  # Ses01M
        "gender": "str",  # F or M
        "start": "float64",  # seconds in the dialog
        "end": "float64",
        "emotion": "str",  # the release's code
        "valence": "float64",  # means over the raters, 1 to 5
        "activation": "float64",
        "dominance": "float64",
        "text": "str",  # as in the transcript; empty when there is none
        "audio": "str",  # relative to the corpus's root; empty when the file is missing
        "video": "str",
        "side": "str",  # the speaker's half of the video: left or right
    },
    # one row a dialog with at least one utterance
    "dialogs": {
        "dialog": "str",  # Ses01F_script01_1b
        "session": "int64",
        "marked": "str",  # who wore the markers: F or M
        "scenario": "str",
        "script": "str",  # number of the script or the improvisation: 01
        "part": "str",  # of a script: 1; else empty
        "take": "str",  # b; empty for most
        "utterances": "int64",  # how many
        "video": "str",
    },
    # what each modality reads of it, so that a change elsewhere in the table recomputes nothing
    "audio": {
        "utterance": "str",
        "dialog": "str",
        "start": "float64",
        "end": "float64",
        "audio": "str",
    },
    "text": {"utterance": "str", "dialog": "str", "text": "str"},
    "visual": {
        "utterance": "str",
        "dialog": "str",
        "start": "float64",
        "end": "float64",
        "video": "str",
        "side": "str",
    },
    # one row a rater's line; scores are empty in categorical rows, votes in attribute rows
    "votes": {
        "utterance": "str",
        "rater": "str",  # E1 to E6, or the actors themselves: F1, M1
        "kind": "str",  # categorical or attribute
        "votes": "str",  # the rater's words: Neutral, or several as Sadness;Frustration
        "valence": "float64",  # 1 to 5
        "activation": "float64",
        "dominance": "float64",
        "comment": "str",
    },
}
"""The columns and types of each table, by the stem of its file's name."""


class CorpusError(InputError):
    """A corpus or a table of it that cannot be used; the message says what was looked for."""


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write the columns of the table that `path` is named for; the same table, the same bytes."""
    columns = list(TABLES[path.stem])
    with replacing(path) as partial:
        table[columns].to_csv(partial, index=False, lineterminator="\n", encoding="utf-8")


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
    types = TABLES[path.stem]
    remedy = "`dvc repro parse` makes it"
    try:
        found = pd.read_csv(path, nrows=0).columns
        missing = [column for column in types if column not in found]
        if missing:
            raise CorpusError(
                f"{path}: has no column {', '.join(missing)}; found {', '.join(found)}; {remedy}"
            )
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
