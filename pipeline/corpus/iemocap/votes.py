"""The evaluators' votes as numbers: how many of them chose each of the release's categories.

Only the outside evaluators (``E1`` ...) count. The actors' reports on themselves (``F1``, ``M1``)
are another kind of judgement, and the release's majority labels leave them out as well.

Each categorical line of an evaluator weighs one. An evaluator may choose several categories; each
then gets an equal part, so that nobody counts for more by being undecided. A word that is none of
the release's counts as other, which is where its form has evaluators write words of their own;
:func:`unknown` says which those are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.corpus.iemocap.formats import Vote

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
"""The codes that can be voted for."""


def count(lines: Iterable[Vote]) -> dict[str, float]:
    """Return how many evaluators chose each of `CODES`, from the raters' lines of an utterance.

    Codes that nobody chose are left out.
    """
    counts: dict[str, float] = {}
    for words in _of_evaluators(lines):
        chosen = {WORDS.get(word.casefold(), "oth") for word in words}
        for code in chosen:
            counts[code] = counts.get(code, 0.0) + 1 / len(chosen)
    return counts


def unknown(lines: Iterable[Vote]) -> list[str]:
    """Return the evaluators' words that are none of the release's, as often as they are there."""
    words = [word for line in _of_evaluators(lines) for word in line]
    return [word for word in words if word.casefold() not in WORDS]


def _of_evaluators(lines: Iterable[Vote]) -> Iterator[list[str]]:
    """The words of each categorical line of an evaluator; lines without one are left out."""
    for line in lines:
        if line.kind == "categorical" and line.rater.startswith("E") and line.votes:
            yield line.votes.split(";")
