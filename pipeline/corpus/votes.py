"""The evaluators' votes as numbers: how many of them chose each of the release's categories.

Only the outside evaluators (``E1`` ...) count. The actors' reports on themselves (``F1``, ``M1``)
are another kind of judgement, and the release's majority labels leave them out as well.

Each categorical line of an evaluator weighs one. An evaluator may choose several categories; each
then gets an equal part, so that nobody counts for more by being undecided. A word that is none of
the release's counts as other, which is where its form has evaluators write words of their own;
:func:`unknown` says which those are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.corpus.table import CorpusError

WORDS = {
    "neutral": "neu",
    "neutral state": "neu",
    "anger": "ang",
    "happiness": "hap",
    "excited": "exc",
    "sadness": "sad",
    "frustration": "fru",
    "fear": "fea",
    "surprise": "sur",
    "disgust": "dis",
    "other": "oth",
}
"""The evaluators' words, in small letters, and the release's code of each."""

CODES = tuple(dict.fromkeys(WORDS.values()))
"""The codes that can be voted for, in the order of the columns of :func:`count`."""


def count(utterances: Sequence[str], votes: pd.DataFrame) -> np.ndarray:
    """Return [N, 10] float32: how many evaluators chose each of `CODES` for each utterance.

    Parameters
    ----------
    utterances
        N ids; those without a vote get a row of zeros.
    votes
        The votes table, ``TABLES["votes"]``.

    Raises
    ------
    CorpusError
        If a vote is for another utterance.
    """
    row_of = {name: row for row, name in enumerate(utterances)}
    counts = np.zeros((len(row_of), len(CODES)))  # float64, so that thirds add up to whole votes
    for utterance, words in _of_evaluators(votes):
        if utterance not in row_of:
            raise CorpusError(
                f"votes.csv: utterance {utterance} is not in utterances.csv; `dvc repro --force "
                "--single-item parse` makes both"
            )
        chosen = {_code(word) for word in words}
        for code in chosen:
            counts[row_of[utterance], CODES.index(code)] += 1 / len(chosen)
    return counts.astype(np.float32)


def unknown(votes: pd.DataFrame) -> dict[str, int]:
    """Return the evaluators' words that are none of the release's, with their number, sorted."""
    words = Counter(word for _, words in _of_evaluators(votes) for word in words)
    return {word: words[word] for word in sorted(words) if word.casefold() not in WORDS}


def _of_evaluators(votes: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Utterance and words of each categorical line of an evaluator; lines without one are none."""
    rows = votes[(votes["kind"] == "categorical") & votes["rater"].str.startswith("E")]
    pairs = zip(rows["utterance"], rows["votes"], strict=True)
    return [(name, line.split(";")) for name, line in pairs if line]


def _code(word: str) -> str:
    return WORDS.get(word.casefold(), "oth")
