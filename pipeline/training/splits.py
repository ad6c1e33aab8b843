"""Split protocols: the utterances for training, development and testing of each fold.

``group``, or the corpus's word for it, such as ``session``
    Leave one group out. Fold k tests group k, develops on the next one (the last one is followed by
    the first) and trains on the rest. No speaker is in two parts of a fold, so the figures hold for
    unknown speakers.
``groups``, or the corpus's plural, such as ``sessions``
    Cross-validation over k sets of whole groups, of about equal size. Fold k tests set k, develops
    on the next and trains on the rest. No speaker is in two parts of a fold.
``speakers``
    The same with speakers instead of groups. No speaker is in two parts of a fold, but two speakers
    of one dialog may be.
``speaker``
    Leave one speaker out. Fold k tests speaker k in sorted order, develops on the other speaker of
    the same group and trains on the other groups. Neither speaker of a dialog is in the training
    part when the other one is tested.
``random``
    Stratified cross-validation over k sets of utterances. Fold k tests set k, develops on the next
    and trains on the rest: 8:1:1 with ten folds. This is the protocol of the AMH paper. Each
    speaker is in all parts, so the figures are too good for unknown speakers.
``official``
    One fold, with the parts that the corpus defines.
``file``
    A fixed list: a CSV file with the columns utterance, fold and part (:func:`read`). Utterances
    without a class are ignored, so one list serves every label scheme.

With ``official`` and ``file``, each labelled utterance is tested in at most one fold; with the
other protocols, in exactly one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import InputError, params
from pipeline.corpus.description import GROUP, PARTS, Word
from pipeline.system.filesystem import unreadable


class SplitError(InputError):
    """The split protocol does not fit the table, or a list of folds cannot be read."""


@dataclass(frozen=True)
class Fold:
    """Utterance ids of one fold, each part sorted.

    Attributes
    ----------
    number
        The name of the test group if all groups are named by positive numbers. Otherwise the rank
        of the test group, speaker or set, from 1. In a list, the number given there.
    train, development, test
        Utterance ids.
    """

    number: int
    train: tuple[str, ...]
    development: tuple[str, ...]
    test: tuple[str, ...]


def folds(
    table: pd.DataFrame,
    classes: Sequence[int] | np.ndarray,
    settings: params.Split,
    lists: Path,
    word: Word = GROUP,
) -> list[Fold]:
    """Split the labelled utterances of a table; the result does not depend on the order of rows.

    Parameters
    ----------
    table
        One row per utterance, with the columns ``utterance``, ``group``, ``speaker``, and for
        protocol `official` also ``part``.
    classes
        [N] class index of each row; rows with -1 are in no fold.
    settings
        Parameters `split`.
    lists
        The folder of fixed lists, ``<split.list>.csv``; only protocol `file` reads it.
    word
        The corpus's word for a group.

    Raises
    ------
    SplitError
        If an utterance occurs twice, there are too few groups, speakers or utterances, or the list
        is damaged or does not fit the table.
    """
    labelled = table[["utterance", "group", "speaker"]].assign(label=np.asarray(classes))
    labelled = labelled[labelled["label"] >= 0].sort_values("utterance", ignore_index=True)
    twice = labelled["utterance"][labelled["utterance"].duplicated()]
    if len(twice):
        raise SplitError(f"utterance {twice.iloc[0]} is in the table twice")
    if settings.protocol == "file":
        return _listed(lists / f"{settings.list}.csv", table, labelled)
    if settings.protocol == "official":
        parts = labelled["utterance"].map(table.set_index("utterance")["part"])
        if not (parts != "").any():
            raise SplitError(
                "split.protocol official needs an official split, which this corpus does not have; "
                "set another protocol"
            )
        return [_fold(1, labelled, parts, "split.protocol official: the corpus")]
    if settings.protocol == "speaker":
        return _speakers(labelled, word)
    return _rotate(labelled["utterance"], _parts(labelled, settings, word))


def _parts(labelled: pd.DataFrame, settings: params.Split, word: Word) -> pd.Series:
    """Number the set of each utterance, for the protocols that test each set once."""
    if settings.protocol == "random":
        return _stratified(labelled["label"], settings)
    if settings.protocol == "speakers":
        return _balanced(labelled["speaker"], settings, "speakers")
    if settings.protocol in ("groups", word.several):
        _check_groups(labelled, f"testing whole {word.several}", word)
        return _balanced(labelled["group"], settings, word.several)
    return _groups(labelled, word, settings.protocol)


def _listed(path: Path, table: pd.DataFrame, labelled: pd.DataFrame) -> list[Fold]:
    """Return the folds of a list, without the utterances that have no class."""
    result = []
    for fold in read(path):
        part_of = {utterance: part for part in PARTS for utterance in getattr(fold, part)}
        where = f"{path}: fold {fold.number}"
        unknown = part_of.keys() - set(table["utterance"])
        if unknown:
            raise SplitError(
                f"{where} names utterance {min(unknown)}, which the corpus does not have; correct "
                "the line or remove it"
            )
        result.append(_fold(fold.number, labelled, labelled["utterance"].map(part_of), where))
    return result


def _fold(number: int, table: pd.DataFrame, parts: pd.Series, where: str) -> Fold:
    """Return the fold with the given part of each row; no part may be empty."""
    utterances = {part: tuple(table["utterance"][parts == part]) for part in PARTS}
    empty = [part for part in PARTS if not utterances[part]]
    if empty:
        raise SplitError(
            f"{where} has no labelled utterance in part {empty[0]}; add some or set another "
            "split.protocol"
        )
    return Fold(number, **utterances)


def _speakers(labelled: pd.DataFrame, word: Word) -> list[Fold]:
    """Return one fold per speaker."""
    _check_groups(labelled, "testing one speaker", word)
    groups = labelled["group"]
    if groups.nunique() < 2:
        raise SplitError(
            f"split.protocol speaker needs labelled utterances of 2 {word.several} or more, one of "
            f"them for training; there are {groups.nunique()}; complete the corpus or set "
            "split.protocol to random"
        )
    for group, rows in labelled.groupby("group"):
        speakers = sorted(rows["speaker"].unique())
        if len(speakers) != 2:
            raise SplitError(
                f"split.protocol speaker needs two speakers per {word.one}, one for testing and "
                f"one for development; speakers with labelled utterances in {word.one} {group}: "
                f"{', '.join(speakers)}; complete the corpus or set split.protocol to {word.one} "
                "or random"
            )
    result = []
    for number, speaker in enumerate(sorted(labelled["speaker"].unique()), start=1):
        tested = labelled["speaker"] == speaker
        parts = pd.Series("train", index=labelled.index)
        parts[groups == groups[tested].iloc[0]] = "development"
        parts[tested] = "test"
        result.append(_fold(number, labelled, parts, f"speaker {speaker}"))
    return result


def _groups(labelled: pd.DataFrame, word: Word, protocol: str) -> pd.Series:
    """Number the group of each utterance."""
    groups = sorted(labelled["group"].unique().tolist())
    if len(groups) < 3:
        raise SplitError(
            f"split.protocol {protocol} needs labelled utterances of 3 {word.several} or more, for "
            f"training, development and testing; there are {len(groups)}: {', '.join(groups)}; "
            "complete the corpus or set split.protocol to random"
        )
    _check_groups(labelled, f"leaving one {word.one} out", word)
    numbers = [int(group) if group.isdecimal() else 0 for group in groups]
    if min(numbers) < 1 or len(set(numbers)) < len(numbers):
        numbers = list(range(1, len(groups) + 1))
    return labelled["group"].map(dict(zip(groups, numbers, strict=True)))


def _check_groups(labelled: pd.DataFrame, purpose: str, word: Word) -> None:
    """Raise an error if a speaker is in two groups."""
    spread = labelled.groupby("speaker")["group"].nunique()
    if (spread > 1).any():
        raise SplitError(
            f"speaker {spread.idxmax()} is in more than one {word.one}, so {purpose} does not keep "
            "speakers apart; set split.protocol to speakers or random"
        )


def _stratified(labels: pd.Series, settings: params.Split) -> pd.Series:
    """Return sets 1 to k, stratified by class.

    The utterances of each class are shuffled and assigned in turn; each class starts where the last
    one ended. So the sizes of two sets differ by at most one, for each class and in total.
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


def _balanced(units: pd.Series, settings: params.Split, plural: str) -> pd.Series:
    """Return sets 1 to k of whole units, which are groups or speakers.

    Units are assigned in order of decreasing size, each to the set that is smallest so far. Units
    of equal size are in random order.
    """
    names = sorted(units.unique().tolist())
    if len(names) < settings.folds:
        raise SplitError(
            f"split.folds is {settings.folds}, but there are labelled utterances of only "
            f"{len(names)} {plural}; set 3 or more folds, but not more than that, or "
            "split.protocol to random"
        )
    sizes = units.value_counts()
    shuffled = np.random.default_rng(settings.seed).permutation(names).tolist()
    filled = np.zeros(settings.folds, dtype=np.int64)
    parts = {}
    for name in sorted(shuffled, key=lambda name: -sizes[name]):
        smallest = int(filled.argmin())
        parts[name] = 1 + smallest
        filled[smallest] += sizes[name]
    return units.map(parts)


def _rotate(utterances: pd.Series, parts: pd.Series) -> list[Fold]:
    """Return one fold per set: it is tested, the next one is for development, the rest trains."""
    numbers = sorted(parts.unique().tolist())
    return [
        Fold(
            number=number,
            train=tuple(utterances[~parts.isin([number, following])]),
            development=tuple(utterances[parts == following]),
            test=tuple(utterances[parts == number]),
        )
        for number, following in zip(numbers, numbers[1:] + numbers[:1], strict=True)
    ]


def check_dialogs(folds: Sequence[Fold], table: pd.DataFrame) -> None:
    """Check that a model with context sees no utterance of another part.

    Raises
    ------
    SplitError
        If a dialog has utterances in two parts of a fold.
    """
    dialogs = table.set_index("utterance")["dialog"]
    for fold in folds:
        found = pd.concat(
            [pd.Series(part, index=dialogs[list(getattr(fold, part))].unique()) for part in PARTS]
        )
        twice = found.index[found.index.duplicated()]
        if len(twice):
            parts = " and ".join(found[twice[0]])
            raise SplitError(
                f"fold {fold.number}: dialog {twice[0]} is in parts {parts}, so a model with "
                "model.context would see utterances of another part; set split.protocol to one "
                "that keeps dialogs whole, such as group, groups or official, or model.context to "
                "none"
            )


def assignments(folds: Sequence[Fold]) -> pd.DataFrame:
    """Return folds as a table: utterance, fold, part; sorted by fold, part and utterance."""
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
        If the file or a column is missing, a part has another name or is empty, or an utterance is
        twice in a fold or tested in two; the message names the file and the utterance.
    """
    try:
        table = pd.read_csv(
            path,
            usecols=["utterance", "fold", "part"],
            dtype={"utterance": "str", "fold": "int64", "part": "str"},
            keep_default_na=False,
            encoding="utf-8-sig",  # with or without the byte-order mark of spreadsheets
        )
    except FileNotFoundError as error:
        raise SplitError(
            f"{path}: no such file; split.list is the name of a file in this folder, without .csv. "
            "A queued or temporary experiment sees only files that git knows: `git add` the list"
        ) from error
    except OSError as error:
        raise SplitError(unreadable(path, error)) from error
    except ValueError as error:
        raise SplitError(f"{path}: not a table of folds: {error}") from error
    if table.empty:
        raise SplitError(f"{path}: contains no utterance")
    other = set(table["part"]) - set(PARTS)
    if other:
        raise SplitError(f"{path}: part {min(other)!r} must be one of {', '.join(PARTS)}")
    if (table["fold"] < 1).any():
        raise SplitError(f"{path}: fold {table['fold'].min()} must be at least 1")
    _check_repeats(path, table)
    return [
        _fold(int(str(number)), rows, rows["part"], f"{path}: fold {number}")
        for number, rows in table.sort_values("utterance").groupby("fold")
    ]


def _check_repeats(path: Path, table: pd.DataFrame) -> None:
    """Raise an error if an utterance is twice in a fold, or tested in two folds."""
    repeated = table[table.duplicated(["utterance", "fold"], keep=False)]
    if len(repeated):
        name, number = repeated[["utterance", "fold"]].iloc[0]
        rows = repeated[(repeated["utterance"] == name) & (repeated["fold"] == number)]
        parts = " and ".join(rows["part"])
        raise SplitError(f"{path}: utterance {name} is in fold {number} twice, in {parts}")
    tested = table[table["part"] == "test"]
    repeated = tested[tested.duplicated("utterance", keep=False)]
    if len(repeated):
        name = repeated["utterance"].iloc[0]
        numbers = " and ".join(map(str, repeated["fold"][repeated["utterance"] == name]))
        raise SplitError(
            f"{path}: utterance {name} is tested in folds {numbers}; figures are computed over all "
            "test parts, so each utterance may be in only one of them"
        )
