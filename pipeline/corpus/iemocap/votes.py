"""The evaluators' votes: how many evaluators chose each category of the release.

Only the external evaluators (``E1`` ...) are counted. The self-reports of the actors (``F1``,
``M1``) are a different kind of judgement, and the majority labels of the release ignore them too.

Each categorical line of an evaluator has weight 1. If it names several categories, the weight is
divided equally among them. A word that is not a category of the release counts as other, as on the
evaluation form, where evaluators write their own words under other; :func:`unknown` lists them.
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
"""The evaluators' words in lower case, and the code of each."""

CODES = tuple(dict.fromkeys(WORDS.values()))
"""The codes with votes."""


def count(lines: Iterable[Vote]) -> dict[str, float]:
    """Count the evaluators' votes for each of `CODES`, from the raters' lines of an utterance.

    Codes without a vote are left out.
    """
    counts: dict[str, float] = {}
    for words in _of_evaluators(lines):
        chosen = {WORDS.get(word.casefold(), "oth") for word in words}
        for code in chosen:
            counts[code] = counts.get(code, 0.0) + 1 / len(chosen)
    return counts


def unknown(lines: Iterable[Vote]) -> list[str]:
    """Return the evaluators' words that are not categories of the release, with repetitions."""
    words = [word for line in _of_evaluators(lines) for word in line]
    return [word for word in words if word.casefold() not in WORDS]


def _of_evaluators(lines: Iterable[Vote]) -> Iterator[list[str]]:
    """The words of each categorical line of an evaluator; lines without words are left out."""
    for line in lines:
        if line.kind == "categorical" and line.rater.startswith("E") and line.votes:
            yield line.votes.split(";")
