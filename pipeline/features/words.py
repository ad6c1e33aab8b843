"""Words of a transcript: marks and punctuation made uniform, and Penn Treebank tokens.

Marks of what is not speech ([LAUGHTER], ++BREATHING++ and the like) are read as the plain word by
default, since laughing or sighing says much about emotion: GloVe and BERT both know the word
``laughter``, while the mark in its brackets would be several tokens, most of them punctuation.
``text.marks: drop`` removes them.
"""

from __future__ import annotations

import re
from typing import Literal

_CHARACTERS = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u00b4`", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"')
    | dict.fromkeys("\u2010\u2011\u2212", "-")
    | dict.fromkeys("\u2013\u2014\u2015", " -- ")
    | {"\u2026": "..."}
)

# --LAUGHTER-- in capitals only, or speech between two dashes would be one
_MARK = re.compile(
    r"""  \[ ([A-Za-z]+(?:[ _-][A-Za-z]+)*) \]
      |   <  ([A-Za-z]+(?:[ _-][A-Za-z]+)*)  >
      | \+\+ ([A-Za-z]+(?:[ _-][A-Za-z]+)*) \+\+
      |   -- ([A-Z]{4,}) --
    """,
    re.VERBOSE,
)


def normalise(text: str, marks: Literal["word", "drop"]) -> str:
    """Unify quotes, apostrophes, dashes and spaces, and read or drop the marks.

    Parameters
    ----------
    text
        A transcript.
    marks
        ``word``: ``[LAUGHTER]``, ``<LAUGHTER>``, ``++LAUGHTER++`` and ``--LAUGHTER--`` become
        ``laughter``; ``drop``: they are removed.

    Returns
    -------
    str
        Text that normalising again would not change; empty when nothing is left.
    """

    def read(mark: re.Match[str]) -> str:
        if marks == "drop":
            return " "
        name = next(filter(None, mark.groups()))
        return f" {re.sub('[ _-]', ' ', name).lower()} "

    text = text.translate(_CHARACTERS).replace("''", '"')
    found = 1
    while found:  # a mark may stand in a mark
        text, found = _MARK.subn(read, " ".join(text.split()))
    return text


_TOKEN = re.compile(
    r"""\.{2,} | -{2,}
      | \d+ (?:[.,:/]\d+)+                    # 1,000  3:30
      | (?:[^\W\d_]\.){2,}                    # U.S.  a.m.
      | (?:Mr|Mrs|Ms|Dr|St)\.
      | '(?i:em|cause|til|bout) \b
      | [^\W_]+ (?:[-'][^\W_]+)*              # don't  well-known  1st
      | \S
    """,
    re.VERBOSE,
)
_CONTRACTION = re.compile(r"(.+?)(n't|'(?:s|m|d|re|ve|ll))", re.IGNORECASE)
_JOINED = re.compile(r"(can)(not)|(gon|wan)(na)|(got)(ta)|(gim|lem)(me)", re.IGNORECASE)


def tokenise(text: str) -> list[str]:
    """Split normalised text into Penn Treebank tokens.

    Contractions are taken apart (``do n't``, ``I 'm``, ``can not``, ``gon na``), punctuation
    stands alone, numbers and hyphenated words stay whole. Nothing but spaces is lost.
    """
    tokens: list[str] = []
    for token in _TOKEN.findall(text):
        tokens += _split(token)
    return tokens


def _split(token: str) -> list[str]:
    """Take a contraction apart, from its end."""
    if match := _JOINED.fullmatch(token):
        return [part for part in match.groups() if part]
    if match := _CONTRACTION.fullmatch(token):
        return [*_split(match[1]), match[2]]
    return [token]


def fault(text: str, tokens: int) -> str:
    """Say why a text gives no token, if it gives none."""
    if not text.strip():
        return "the corpus has no transcript of it"
    return "" if tokens else f"no words in its transcript: {text}"
