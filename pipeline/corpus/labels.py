"""The release's emotion codes and the label schemes that make classes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline import InputError

EMOTIONS = {
    "ang": "anger",
    "hap": "happiness",
    "exc": "excitement",
    "sad": "sadness",
    "fru": "frustration",
    "fea": "fear",
    "sur": "surprise",
    "neu": "neutral state",
    "dis": "disgust",
    "oth": "other",
    "xxx": "no majority among the raters",
}
"""The release's majority labels: code and meaning."""

_SCHEMES = {
    # the classes of the AMH paper, in its order
    "seven": {code: code for code in ("ang", "exc", "hap", "sad", "fru", "sur", "neu")},
    "six": {code: code for code in ("ang", "exc", "fru", "hap", "neu", "sad")},
    # happiness and excitement merged: the usual four-class setting
    "four": {"ang": "ang", "hap": "hap", "exc": "hap", "neu": "neu", "sad": "sad"},
}


class LabelError(InputError):
    """A label scheme or a code that cannot be used; the message names what is known."""


@dataclass(frozen=True)
class Scheme:
    """A mapping from the release's codes to classes.

    Attributes
    ----------
    name
        ``seven``, ``six``, ``four``, or ``custom`` for the user's own.
    mapping
        Class name by code; codes that are not in it are left out.
    """

    name: str
    mapping: dict[str, str]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes by first mention; a class's index is its place here."""
        return tuple(dict.fromkeys(self.mapping.values()))

    def apply(self, emotions: Iterable[str]) -> np.ndarray:
        """Return [N] int64 class indices of [N] codes of the release; -1 where a code is left out.

        Raises
        ------
        LabelError
            If one is no code of the release.
        """
        emotions = list(emotions)
        _check_codes(emotions, "emotion")
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

    def left_out(self, emotions: Iterable[str]) -> dict[str, int]:
        """Return how many utterances have each code without a class, in `EMOTIONS`' order."""
        emotions = list(emotions)
        counts = {code: emotions.count(code) for code in EMOTIONS if code not in self.mapping}
        return {code: count for code, count in counts.items() if count}


def scheme(setting: str | dict[str, str]) -> Scheme:
    """Return the label scheme of the parameter ``labels.scheme``.

    Parameters
    ----------
    setting
        ``seven``, ``six``, ``four``, or a mapping from codes of the release to class names.

    Raises
    ------
    LabelError
        If the name or a code is unknown, a class has no name, or there are fewer than two classes.
    """
    if isinstance(setting, str):
        if setting not in _SCHEMES:
            raise LabelError(
                f"labels.scheme: {setting!r} is no scheme; known are {', '.join(_SCHEMES)}, "
                "or a mapping from the release's codes to class names"
            )
        return Scheme(setting, dict(_SCHEMES[setting]))
    _check_codes(setting, "labels.scheme")
    unnamed = [code for code, name in setting.items() if not name.strip()]
    if unnamed:
        raise LabelError(
            f"labels.scheme: {unnamed[0]} has an empty class name; "
            "to leave a code out, remove its line"
        )
    custom = Scheme("custom", dict(setting))
    if len(custom.classes) < 2:
        raise LabelError(
            f"labels.scheme: all codes have one class, {custom.classes[0]}; name two or more"
            if custom.classes
            else "labels.scheme: is empty; name two or more classes"
        )
    return custom


def _check_codes(codes: Iterable[str], where: str) -> None:
    unknown = [code for code in codes if code not in EMOTIONS]
    if unknown:
        raise LabelError(
            f"{where}: {unknown[0]!r} is no code of the release; known are {', '.join(EMOTIONS)}"
        )
