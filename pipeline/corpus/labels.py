"""Label schemes: the classes that are made of a corpus's emotion codes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from pipeline import InputError
from pipeline.corpus.description import Description


class LabelError(InputError):
    """A label scheme or a code that cannot be used; the message names what is known."""


@dataclass(frozen=True)
class Scheme:
    """A mapping from a corpus's codes to classes, for all of its utterances or some scenarios.

    Attributes
    ----------
    name
        That of the corpus's own, such as ``seven``, or ``custom`` for the user's.
    mapping
        Class name by code; codes that are not in it are left out.
    codes
        All codes of the corpus, in the order of reports.
    scenarios
        Those whose utterances have a class; None for all.
    """

    name: str
    mapping: dict[str, str]
    codes: tuple[str, ...]
    scenarios: tuple[str, ...] | None = None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes by first mention; a class's index is its place here."""
        return tuple(dict.fromkeys(self.mapping.values()))

    def of(self, table: pd.DataFrame) -> np.ndarray:
        """Return [N] int64 class indices of the rows of an utterance table; -1 for none.

        Raises
        ------
        LabelError
            If an emotion is no code of the corpus, or it has no such scenario.
        """
        classes = self.apply(table["emotion"])
        if self.scenarios is None:
            return classes
        present = sorted(set(table["scenario"]) - {""})
        unknown = [name for name in self.scenarios if name not in present]
        if unknown:
            raise LabelError(
                f"labels.scenarios: no utterance is {unknown[0]}; there are "
                f"{', '.join(present) or 'no scenarios in this corpus'}"
            )
        return np.where(table["scenario"].isin(self.scenarios), classes, -1)

    def apply(self, emotions: Iterable[str]) -> np.ndarray:
        """Return [N] int64 class indices of [N] codes; -1 where a code is left out.

        Raises
        ------
        LabelError
            If one is no code of the corpus.
        """
        emotions = list(emotions)
        _check_codes((code for code in emotions if code), self.codes, "emotion")
        index = {code: self.classes.index(name) for code, name in self.mapping.items()}
        return np.array([index.get(code, -1) for code in emotions], dtype=np.int64)

    def distribution(
        self, votes: np.ndarray, codes: Sequence[str], majority: np.ndarray
    ) -> np.ndarray:
        """Return [N, classes] float32: how the votes for each utterance divide over the classes.

        Votes for codes of one class are added, votes for codes without a class are dropped. Where
        no vote is left, all goes to the class of the majority label; an utterance without that too
        gets a row of zeros.

        Parameters
        ----------
        votes
            [N, codes] votes of each utterance for each code.
        codes
            The codes of the columns.
        majority
            [N] class indices, from :meth:`apply`.

        Raises
        ------
        LabelError
            If none of the codes can be a vote for one of the classes.
        """
        chances = np.zeros((len(votes), len(self.classes)))
        for number, name in enumerate(self.classes):
            columns = [
                column for column, code in enumerate(codes) if self.mapping.get(code) == name
            ]
            if not columns:
                raise LabelError(
                    f"labels.scheme: nobody can vote for class {name}; raters choose among "
                    f"{', '.join(codes)}; change the scheme or set train.targets to majority"
                )
            chances[:, number] = votes[:, columns].sum(axis=1, dtype=np.float64)
        without = chances.sum(axis=1) == 0
        labelled = without & (majority >= 0)
        chances[labelled, majority[labelled]] = 1
        totals = chances.sum(axis=1, keepdims=True)
        return (chances / np.where(totals == 0, 1, totals)).astype(np.float32)


def scheme(
    setting: str | dict[str, str],
    corpus: Description,
    scenarios: Literal["all"] | Sequence[str] = "all",
) -> Scheme:
    """Return the label scheme of the parameters ``labels``.

    Parameters
    ----------
    setting
        ``labels.scheme``: the name of one of the corpus's, or a mapping from its codes to class
        names.
    corpus
        Whose codes these are.
    scenarios
        ``labels.scenarios``.

    Raises
    ------
    LabelError
        If the name or a code is unknown, a class has no name, or there are fewer than two classes.
    """
    codes = tuple(corpus.emotions)
    chosen = None if scenarios == "all" else tuple(scenarios)
    if isinstance(setting, str):
        if setting not in corpus.schemes:
            raise LabelError(
                f"labels.scheme: {setting!r} is no scheme of {corpus.title}; known are "
                f"{', '.join(corpus.schemes)}, or a mapping from its codes to class names"
            )
        return Scheme(setting, dict(corpus.schemes[setting]), codes, chosen)
    _check_codes(setting, codes, "labels.scheme")
    unnamed = [code for code, name in setting.items() if not name.strip()]
    if unnamed:
        raise LabelError(
            f"labels.scheme: {unnamed[0]} has an empty class name; "
            "to leave a code out, remove its line"
        )
    custom = Scheme("custom", dict(setting), codes, chosen)
    if len(custom.classes) < 2:
        raise LabelError(
            f"labels.scheme: all codes have one class, {custom.classes[0]}; name two or more"
            if custom.classes
            else "labels.scheme: is empty; name two or more classes"
        )
    return custom


def _check_codes(used: Iterable[str], codes: Sequence[str], where: str) -> None:
    unknown = [code for code in used if code not in codes]
    if unknown:
        raise LabelError(
            f"{where}: {unknown[0]!r} is no code of the corpus; known are {', '.join(codes)}"
        )
