"""Split protocols: which utterances train, develop and test each fold.

``group``, or the corpus's word for one, such as ``session``
    Leave one group out. Fold k tests group k, develops on the next one (after the last comes the
    first) and trains on the rest: no speaker is on two sides, so the figures hold for unknown
    speakers.
``groups``, or the corpus's word for several, such as ``sessions``
    k parts of whole groups, of about equal size. Fold k tests part k, develops on the next and
    trains on the rest: no speaker is on two sides.
``speakers``
    The same with whole speakers in the place of groups: no speaker is on two sides, though those
    who talk to each other may be.
``speaker``
    Fold k tests speaker k of the sorted speakers, develops on the other speaker of the same group
    and trains on the other groups: no speaker is on two sides, nor are the two who talk to each
    other divided between training and testing.
``random``
    k parts of equal size and equal shares of the classes. Fold k tests part k, develops on the next
    and trains on the rest: 8:1:1 with ten folds. The protocol of the AMH paper. All speakers are on
    all sides, which flatters the figures.
``official``
    One fold of the parts that the corpus itself names.
``file``
    A fixed list: a CSV file with the columns utterance, fold and part (:func:`read`). Utterances
    that it names and that have no class are left out, so one list serves every label scheme.

With ``official`` and ``file`` each labelled utterance is tested in at most one fold, with all the
others in exactly one.
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
    """A table that the split protocol cannot divide, or folds that cannot be read."""


@dataclass(frozen=True)
class Fold:
    """Utterance ids of one fold, each part sorted.

    Attributes
    ----------
    number
        Of groups the one that is tested, where all are named by numbers above 0; else its place
        among them all, sorted, as of speakers; of random folds and of several groups or
        speakers the part. Places and parts count
        from 1. Of a list the list's number, of an official split 1.
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
    """Divide the labelled utterances of a table; the order of its rows changes nothing.

    Parameters
    ----------
    table
        One row per utterance; needs the columns ``utterance``, ``group``, ``speaker``, and for
        protocol `official` ``part``.
    classes
        [N] class index of each row; rows with -1 are in no part of any fold.
    settings
        Parameters `split`.
    lists
        The folder of fixed lists, ``<split.list>.csv``; only protocol `file` reads it.
    word
        What the corpus calls a group, and several.

    Raises
    ------
    SplitError
        If an utterance is there twice, there are too few groups, speakers or utterances, or the
        list is damaged or does not fit the table.
    """
    labelled = table[["utterance", "group", "speaker"]].assign(label=np.asarray(classes))
    labelled = labelled[labelled["label"] >= 0].sort_values("utterance", ignore_index=True)
    twice = labelled["utterance"][labelled["utterance"].duplicated()]
    if len(twice):
        raise SplitError(f"utterance {twice.iloc[0]} is in the table twice")
    if settings.protocol == "file":
        return _listed(lists / f"{settings.list}.csv", table, labelled)
    if settings.protocol == "official":
        parts = table.set_index("utterance")["part"]
        return [_official(labelled["utterance"], labelled["utterance"].map(parts))]
    if settings.protocol == "speaker":
        return _speakers(labelled, word)
    return _rotate(labelled["utterance"], _parts(labelled, settings, word))


def _parts(labelled: pd.DataFrame, settings: params.Split, word: Word) -> pd.Series:
    """Return the part of each utterance, for protocols that test one part after the other."""
    if settings.protocol == "random":
        return _stratified(labelled["label"], settings)
    if settings.protocol == "speakers":
        return _dealt(labelled["speaker"], settings, "speakers")
    if settings.protocol in ("groups", word.several):
        _one_group_each(labelled, f"dealing out {word.several}", word)
        return _dealt(labelled["group"], settings, word.several)
    return _groups(labelled, word, settings.protocol)


def _listed(path: Path, table: pd.DataFrame, labelled: pd.DataFrame) -> list[Fold]:
    """Return the folds of a list without the utterances that have no class."""
    known, with_class = set(table["utterance"]), set(labelled["utterance"])
    result = []
    for fold in read(path):
        parts = {}
        for part in PARTS:
            utterances = getattr(fold, part)
            unknown = [name for name in utterances if name not in known]
            if unknown:
                raise SplitError(
                    f"{path}: fold {fold.number} names utterance {unknown[0]}, which the corpus "
                    "does not have; correct the line or remove it"
                )
            parts[part] = tuple(name for name in utterances if name in with_class)
            if not parts[part]:
                raise SplitError(
                    f"{path}: fold {fold.number} has no labelled utterance in part {part}"
                )
        result.append(Fold(fold.number, **parts))
    return result


def _official(utterances: pd.Series, parts: pd.Series) -> Fold:
    """Return the fold that the corpus names; utterances that it names no part of are in none."""
    if not (parts != "").any():
        raise SplitError(
            "split.protocol official needs a corpus that has an official split, and this one has "
            "none; set another"
        )
    divided = {part: tuple(utterances[parts == part]) for part in PARTS}
    empty = [part for part in PARTS if not divided[part]]
    if empty:
        raise SplitError(
            f"split.protocol official: no labelled utterance is in part {empty[0]} of the corpus; "
            "complete the corpus or set another protocol"
        )
    return Fold(1, **divided)


def _speakers(labelled: pd.DataFrame, word: Word) -> list[Fold]:
    """Return one fold per speaker."""
    _one_group_each(labelled, "testing one speaker", word)
    utterances, groups = labelled["utterance"], labelled["group"]
    if groups.nunique() < 2:
        raise SplitError(
            f"split.protocol speaker needs labelled utterances of 2 {word.several} or more, to "
            f"train on the others; found {groups.nunique()}; complete the corpus or set "
            "split.protocol to random"
        )
    for group, rows in labelled.groupby("group"):
        speakers = sorted(rows["speaker"].unique())
        if len(speakers) != 2:
            raise SplitError(
                f"split.protocol speaker needs two speakers a {word.one}, one to test and one to "
                f"develop on; those with labelled utterances in {word.one} {group}: "
                f"{', '.join(speakers)}; complete the corpus or set split.protocol to {word.one} "
                "or random"
            )
    result = []
    for number, speaker in enumerate(sorted(labelled["speaker"].unique()), start=1):
        tested = labelled["speaker"] == speaker
        together = groups == groups[tested].iloc[0]
        result.append(
            Fold(
                number=number,
                train=tuple(utterances[~together]),
                development=tuple(utterances[together & ~tested]),
                test=tuple(utterances[tested]),
            )
        )
    return result


def _groups(labelled: pd.DataFrame, word: Word, protocol: str) -> pd.Series:
    """Return the part of each utterance: the number of its group."""
    groups = sorted(labelled["group"].unique().tolist())
    if len(groups) < 3:
        raise SplitError(
            f"split.protocol {protocol} needs labelled utterances of 3 {word.several} or more, to "
            f"train, develop and test on; found {len(groups)}: {', '.join(groups)}; complete the "
            "corpus or set split.protocol to random"
        )
    _one_group_each(labelled, f"leaving a {word.one} out", word)
    numbers = [int(group) if group.isdecimal() else 0 for group in groups]
    if min(numbers) < 1 or len(set(numbers)) < len(numbers):
        numbers = list(range(1, len(groups) + 1))
    return labelled["group"].map(dict(zip(groups, numbers, strict=True)))


def _one_group_each(labelled: pd.DataFrame, doing: str, word: Word) -> None:
    """Raise where a speaker is in two groups; `doing` is what would go wrong."""
    spread = labelled.groupby("speaker")["group"].nunique()
    if (spread > 1).any():
        raise SplitError(
            f"speaker {spread.idxmax()} is in more than one {word.one}, so {doing} does not keep "
            "speakers apart"
        )


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


def _dealt(units: pd.Series, settings: params.Split, what: str) -> pd.Series:
    """Return parts 1 to k of the utterances of each unit, which are groups or speakers.

    The largest unit comes first, each goes to the part that is smallest so far; chance decides
    between units of one size.
    """
    names = sorted(units.unique().tolist())
    if len(names) < settings.folds:
        raise SplitError(
            f"split.folds is {settings.folds}, but labelled utterances are of only {len(names)} "
            f"{what}; set fewer folds, 3 or more, or split.protocol to random"
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
        If the file or a column is missing, a part has another name or is empty, an utterance is in
        a fold twice or is tested in two; the message names the file and the utterance.
    """
    try:
        table = pd.read_csv(
            path,
            usecols=["utterance", "fold", "part"],
            dtype={"utterance": "str", "fold": "int64", "part": "str"},
            keep_default_na=False,
            encoding="utf-8-sig",  # as spreadsheets write it, or plain
        )
    except FileNotFoundError as error:
        raise SplitError(
            f"{path}: no such file; split.list names a file of this folder without its .csv. A "
            "queued or temporary experiment sees only the files that git knows: `git add` the list"
        ) from error
    except OSError as error:
        raise SplitError(unreadable(path, error)) from error
    except ValueError as error:
        raise SplitError(f"{path}: is no table of folds: {error}") from error
    if table.empty:
        raise SplitError(f"{path}: holds no utterance")
    other = set(table["part"]) - set(PARTS)
    if other:
        raise SplitError(f"{path}: part {min(other)!r} is none of {', '.join(PARTS)}")
    if (table["fold"] < 1).any():
        raise SplitError(f"{path}: fold {table['fold'].min()} is not 1 or more")
    _check_repeats(path, table)
    result = []
    for number, rows in table.groupby("fold"):
        parts = {p: tuple(sorted(rows["utterance"][rows["part"] == p])) for p in PARTS}
        empty = [part for part in PARTS if not parts[part]]
        if empty:
            raise SplitError(f"{path}: fold {number} has no utterance in part {empty[0]}")
        result.append(Fold(number=int(str(number)), **parts))
    return result


def _check_repeats(path: Path, table: pd.DataFrame) -> None:
    """Raise where a fold has an utterance twice, or two folds test the same one."""
    again = table[table.duplicated(["utterance", "fold"])]
    if len(again):
        name, number = again[["utterance", "fold"]].iloc[0]
        of_it = table[(table["utterance"] == name) & (table["fold"] == number)]
        parts = " and ".join(of_it["part"])
        raise SplitError(f"{path}: utterance {name} is in fold {number} twice, in {parts}")
    tested = table[table["part"] == "test"]
    again = tested[tested.duplicated("utterance")]
    if len(again):
        name = again["utterance"].iloc[0]
        numbers = " and ".join(map(str, tested["fold"][tested["utterance"] == name]))
        raise SplitError(
            f"{path}: utterance {name} is tested in folds {numbers}; figures are over all test "
            "parts, so each utterance may be in one"
        )
