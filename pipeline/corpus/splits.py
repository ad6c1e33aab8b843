"""Split protocols: which utterances train, develop and test each fold.

``session``
    Leave one session out. Fold k tests session k, develops on the next session (after the last
    comes the first) and trains on the rest: no speaker is on two sides, so the figures hold for
    unknown speakers.
``random``
    k parts of equal size and equal shares of the classes. Fold k tests part k, develops on the next
    and trains on the rest: 8:1:1 with ten folds. The protocol of the AMH paper. All speakers are on
    all sides, which flatters the figures.

With either, each labelled utterance is tested in exactly one fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import params

PARTS = ("train", "development", "test")


class SplitError(ValueError):
    """A table that the split protocol cannot divide, or folds that cannot be read."""


@dataclass(frozen=True)
class Fold:
    """Utterance ids of one fold, each part sorted.

    Attributes
    ----------
    number
        The session that is tested; of random folds the part that is tested, from 1.
    train, development, test
        Utterance ids.
    """

    number: int
    train: tuple[str, ...]
    development: tuple[str, ...]
    test: tuple[str, ...]


def folds(
    table: pd.DataFrame, classes: Sequence[int] | np.ndarray, settings: params.Split
) -> list[Fold]:
    """Divide the labelled utterances of a table; the order of its rows changes nothing.

    Parameters
    ----------
    table
        One row an utterance; needs the columns ``utterance``, ``session`` and ``speaker``.
    classes
        [N] class index of each row; rows with -1 are in no part of any fold.
    settings
        Parameters `split`.

    Raises
    ------
    SplitError
        If an utterance is there twice, or there are too few sessions or utterances.
    """
    labelled = table[["utterance", "session", "speaker"]].assign(label=np.asarray(classes))
    labelled = labelled[labelled["label"] >= 0].sort_values("utterance", ignore_index=True)
    twice = labelled["utterance"][labelled["utterance"].duplicated()]
    if len(twice):
        raise SplitError(f"utterance {twice.iloc[0]} is in the table twice")
    if settings.protocol == "session":
        return _rotate(labelled["utterance"], _sessions(labelled))
    return _rotate(labelled["utterance"], _stratified(labelled["label"], settings))


def _sessions(labelled: pd.DataFrame) -> pd.Series:
    """Return the part of each utterance: its session."""
    sessions = sorted(labelled["session"].unique().tolist())
    if len(sessions) < 3:
        raise SplitError(
            "split.protocol session needs labelled utterances of 3 sessions or more, to train, "
            f"develop and test on; found {len(sessions)}: {sessions}; complete the corpus or set "
            "split.protocol to random"
        )
    spread = labelled.groupby("speaker")["session"].nunique()
    if (spread > 1).any():
        raise SplitError(
            f"speaker {spread.idxmax()} is in more than one session, so leaving a session out "
            "does not keep speakers apart"
        )
    return labelled["session"]


def _stratified(labels: pd.Series, settings: params.Split) -> pd.Series:
    """Return parts 1 to k: each class is shuffled and dealt out, one class after the other.

    Going on dealing where the last class ended keeps sizes within one of each other, for each class
    and in all. A class with fewer utterances than there are parts is missing in some of them.
    """
    if len(labels) < settings.folds:
        raise SplitError(
            f"split.folds is {settings.folds}, but there are only {len(labels)} labelled "
            "utterances; set fewer folds"
        )
    rng = np.random.default_rng(settings.seed)
    order = np.concatenate(
        [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    )
    parts = np.empty(len(labels), dtype=np.int64)
    parts[order] = 1 + np.arange(len(order)) % settings.folds
    return pd.Series(parts)


def _rotate(utterances: pd.Series, parts: pd.Series) -> list[Fold]:
    """Return one fold a part: it is tested, the next one develops, the rest trains."""
    numbers = sorted(parts.unique().tolist())
    result = []
    for number, following in zip(numbers, numbers[1:] + numbers[:1], strict=True):
        result.append(
            Fold(
                number=int(number),
                train=tuple(utterances[~parts.isin([number, following])]),
                development=tuple(utterances[parts == following]),
                test=tuple(utterances[parts == number]),
            )
        )
    return result


def assignments(folds: Sequence[Fold]) -> pd.DataFrame:
    """Return folds as a table: utterance, fold, part; by fold, then part, then utterance."""
    rows = [
        (utterance, fold.number, part)
        for fold in folds
        for part in PARTS
        for utterance in getattr(fold, part)
    ]
    return pd.DataFrame(rows, columns=["utterance", "fold", "part"])


def read(path: Path) -> list[Fold]:
    """Read folds from a CSV file with the columns of :func:`assignments`; others are ignored.

    Raises
    ------
    SplitError
        If the file or a column is missing, or a part has another name.
    """
    try:
        table = pd.read_csv(
            path,
            usecols=["utterance", "fold", "part"],
            dtype={"utterance": "str", "fold": "int64", "part": "str"},
            keep_default_na=False,
        )
    except FileNotFoundError as error:
        raise SplitError(f"{path}: no such file; `dvc repro train` makes it") from error
    except ValueError as error:
        raise SplitError(f"{path}: is no table of folds: {error}") from error
    other = set(table["part"]) - set(PARTS)
    if other:
        raise SplitError(f"{path}: part {min(other)!r} is none of {', '.join(PARTS)}")
    result = []
    for number, rows in table.groupby("fold"):
        parts = {p: tuple(sorted(rows["utterance"][rows["part"] == p])) for p in PARTS}
        result.append(Fold(number=int(str(number)), **parts))
    return result
