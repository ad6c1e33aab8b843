"""Normalisation of transcripts, and Penn Treebank tokens.

Marks of non-speech sounds, such as [LAUGHTER] or ++BREATHING++, become plain words by default,
since laughing and sighing express emotion. GloVe and BERT know the word ``laughter``, whereas the
mark with its brackets would become several tokens, mostly of punctuation. ``text.marks: drop``
removes the marks.
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

# --LAUGHTER-- in capitals only, since speech can also stand between dashes
_MARK = re.compile(
    r"""  \[ ([A-Za-z]+(?:[ _-][A-Za-z]+)*) \]
      |   <  ([A-Za-z]+(?:[ _-][A-Za-z]+)*)  >
      | \+\+ ([A-Za-z]+(?:[ _-][A-Za-z]+)*) \+\+
      |   -- ([A-Z]{4,}) --
    """,
    re.VERBOSE,
)


def normalise(text: str, marks: Literal["word", "drop"]) -> str:
    """Unify quotes, apostrophes, dashes and spaces, and replace or remove marks.

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
        The normalised text, which a second normalisation does not change; it may be empty.
    """

    def replacement(mark: re.Match[str]) -> str:
        if marks == "drop":
            return " "
        name = next(filter(None, mark.groups()))
        return f" {re.sub('[ _-]', ' ', name).lower()} "

    text = text.translate(_CHARACTERS).replace("''", '"')
    count = 1
    while count:  # marks may be nested
        text, count = _MARK.subn(replacement, " ".join(text.split()))
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

    Contractions are split (``do n't``, ``I 'm``, ``can not``, ``gon na``), punctuation marks are
    separate tokens, numbers and hyphenated words are not split. Only spaces are removed.
    """
    return [part for token in _TOKEN.findall(text) for part in _split(token)]


def _split(token: str) -> list[str]:
    """Split a contraction, from its end."""
    if match := _JOINED.fullmatch(token):
        return [part for part in match.groups() if part]
    if match := _CONTRACTION.fullmatch(token):
        return [*_split(match[1]), match[2]]
    return [token]


def fault(text: str, tokens: int) -> str:
    """Why a text has no token; empty if it has one."""
    if not text.strip():
        return "there is no transcript of it"
    return "" if tokens else f"no words in its transcript: {text}"
