"""Label schemes: the mapping from the emotion codes of a corpus to classes."""

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
    """A label scheme or a code cannot be used; the message names the known ones."""


@dataclass(frozen=True)
class Scheme:
    """A mapping from the codes of a corpus to classes, for all utterances or some scenarios.

    Attributes
    ----------
    name
        Name of a scheme of the corpus, such as ``seven``, or ``custom``.
    mapping
        Class name by code. Utterances with another code have no class.
    codes
        All codes of the corpus, in the order of reports.
    scenarios
        The scenarios whose utterances have a class; None for all.
    """

    name: str
    mapping: dict[str, str]
    codes: tuple[str, ...]
    scenarios: tuple[str, ...] | None = None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the mapping; a class index is a position in it."""
        return tuple(dict.fromkeys(self.mapping.values()))

    def of(self, table: pd.DataFrame) -> np.ndarray:
        """Return [N] int64 class indices of the rows of an utterance table; -1 for none.

        Raises
        ------
        LabelError
            If an emotion is not a code of the corpus, or the corpus lacks a scenario.
        """
        classes = self.apply(table["emotion"])
        if self.scenarios is None:
            return classes
        present = sorted(set(table["scenario"]) - {""})
        unknown = [name for name in self.scenarios if name not in present]
        if unknown:
            raise LabelError(
                f"labels.scenarios: no utterance is {unknown[0]}; this corpus has "
                f"{', '.join(present) or 'no scenarios'}"
            )
        return np.where(table["scenario"].isin(self.scenarios), classes, -1)

    def apply(self, emotions: Iterable[str]) -> np.ndarray:
        """Return [N] int64 class indices of [N] codes; -1 for codes without a class.

        Raises
        ------
        LabelError
            If one is not a code of the corpus.
        """
        emotions = list(emotions)
        _check_codes((code for code in emotions if code), self.codes, "emotion")
        index = {code: self.classes.index(name) for code, name in self.mapping.items()}
        return np.array([index.get(code, -1) for code in emotions], dtype=np.int64)

    def distribution(
        self, votes: np.ndarray, codes: Sequence[str], majority: np.ndarray
    ) -> np.ndarray:
        """Return the share of each class among the votes for an utterance, [N, classes] float32.

        Votes for the codes of a class are added; votes for codes without a class are ignored. An
        utterance without votes for any class gets share 1 for the class of its majority label, or
        a row of zeros if it has no class.

        Parameters
        ----------
        votes
            [N, codes] votes for each code.
        codes
            The codes of the columns.
        majority
            [N] class indices, from :meth:`apply`.

        Raises
        ------
        LabelError
            If no code belongs to one of the classes.
        """
        shares = np.zeros((len(votes), len(self.classes)))
        for number, name in enumerate(self.classes):
            columns = [
                column for column, code in enumerate(codes) if self.mapping.get(code) == name
            ]
            if not columns:
                raise LabelError(
                    f"labels.scheme: nobody can vote for class {name}; raters choose among "
                    f"{', '.join(codes)}; change the scheme or set train.targets to majority"
                )
            shares[:, number] = votes[:, columns].sum(axis=1, dtype=np.float64)
        unrated = (shares.sum(axis=1) == 0) & (majority >= 0)
        shares[unrated, majority[unrated]] = 1
        totals = shares.sum(axis=1, keepdims=True)
        return (shares / np.where(totals == 0, 1, totals)).astype(np.float32)


def scheme(
    setting: str | dict[str, str],
    corpus: Description,
    scenarios: Literal["all"] | Sequence[str] = "all",
) -> Scheme:
    """Return the label scheme of the parameters ``labels``.

    Parameters
    ----------
    setting
        ``labels.scheme``: the name of a scheme of the corpus, or a mapping from codes to class
        names.
    corpus
        Description of the corpus.
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
                f"labels.scheme: {setting!r} is not a scheme of {corpus.title}; known are "
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
        classes = custom.classes[0] if custom.classes else "none"
        raise LabelError(f"labels.scheme: needs two or more classes, has {classes}")
    return custom


def _check_codes(used: Iterable[str], codes: Sequence[str], where: str) -> None:
    unknown = [code for code in used if code not in codes]
    if unknown:
        raise LabelError(
            f"{where}: {unknown[0]!r} is not a code of the corpus; known are {', '.join(codes)}"
        )
