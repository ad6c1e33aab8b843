"""GloVe vectors of the words of a corpus.

Pennington, Socher and Manning, "GloVe: Global vectors for word representation", EMNLP 2014. The
published files are text files of up to 5.6 GB, with one word and its vector per line. They are read
line by line.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Container, Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from pipeline.corpus.utterance import Utterance
from pipeline.features import pretrained
from pipeline.features.extractor import Context, Extractor, State, Steps
from pipeline.features.pretrained import WeightsError
from pipeline.features.words import fault, normalise, tokenise
from pipeline.params.types import OwnPath
from pipeline.system.filesystem import unreadable
from pipeline.system.values import is_number

PADDING, UNKNOWN = "<pad>", "<unk>"  # rows 0 and 1 of the vectors

_HEADER = re.compile(rb"\d+ \d+")
_REMEDY = "unpack or fetch the file again"


class Glove(Extractor):
    """Token ids [T], rows of the vectors from a GloVe text file.

    Attributes
    ----------
    vectors
        The GloVe file.
    """

    kind: ClassVar = "tokens"
    version: ClassVar = 1
    reads: ClassVar = ("marks",)

    extractor: Literal["glove"] = "glove"
    vectors: OwnPath

    def files(self) -> dict[str, str]:
        path = Path(self.vectors)
        require(path)
        return pretrained.hashes("vectors", [path])

    def prepare(self, utterances: Sequence[Utterance], context: Context) -> State:
        """``vocabulary`` [V] and ``vectors`` [V, D] of the words of all texts; see :func:`select`.

        Raises
        ------
        WeightsError
            If the file cannot be used, or has no vector of any word.
        """
        marks = context.shared.marks
        texts = (normalise(utterance.text, marks) for utterance in utterances)
        tokens = {token for text in texts for token in tokenise(text)}
        words, vectors = select(Path(self.vectors), tokens)
        return {"vocabulary": np.array(words), "vectors": vectors}

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        """The token ids of each utterance."""
        marks = context.shared.marks
        row_of = {word: row for row, word in enumerate(state["vocabulary"].tolist())}
        features = []
        for utterance in utterances:
            tokens = tokenise(normalise(utterance.text, marks))
            ids = [row_of[word] for token in tokens for word in find(token, row_of)]
            problem = fault(utterance.text, len(ids))
            features.append(Steps(np.array(ids, np.int32), problem=problem))
        return features


def find(token: str, vocabulary: Container[str]) -> list[str]:
    """The words of a vocabulary that represent a token.

    These are the token itself, or the token in lower case, or the parts of a hyphenated word
    (``ha-ha``) if the vocabulary has at least one of them, or else ``<unk>``.
    """
    for form in (token, token.lower()):
        if form in vocabulary:
            return [form]
    parts = token.split("-")
    words = [word for part in parts if part not in ("", token) for word in find(part, vocabulary)]
    return words if any(word != UNKNOWN for word in words) else [UNKNOWN]


def forms(tokens: Iterable[str]) -> set[str]:
    """Every word that :func:`find` may look up for `tokens`."""
    parts = {part for token in tokens for part in (token, *token.split("-")) if part}
    return parts | {part.lower() for part in parts}


def read_glove(path: Path, words: Iterable[str]) -> tuple[list[str], np.ndarray]:
    """Read the vectors of `words` from a GloVe text file of any size.

    Only the lines of these words are parsed. A first line with the numbers of words and values, as
    in word2vec's text format, is skipped. Words that contain spaces, as in
    ``glove.840B.300d.txt``, are skipped too. If a word occurs twice, its first vector is used.

    Returns
    -------
    tuple
        The words that the file has, sorted, and their vectors [words, D] float32. ``<unk>`` is
        included if the file has a vector of it.

    Raises
    ------
    WeightsError
        If the file is missing or has no vectors, if a line has another number of values than the
        first line, or if a value is not a finite number.
    """
    wanted = {word.encode() for word in words} | {UNKNOWN.encode()}
    vectors: dict[str, np.ndarray] = {}
    size, empty = 0, True
    try:
        with path.open("rb") as file:
            for number, line in enumerate(map(bytes.rstrip, file), 1):
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901
                    size = _vector_size(line, path)
                    if _HEADER.fullmatch(line):
                        continue
                empty = empty and not line
                spaces = line.count(b" ")
                if spaces < size and line:
                    raise _damaged(path, number, f"{spaces} values, expected {size}")
                word, _, rest = line.partition(b" ")
                if word in wanted and (spaces == size or is_number(rest.partition(b" ")[0])):
                    vectors.setdefault(word.decode(), _vector(rest, size, path, number))
    except OSError as error:
        raise _unreadable(path, error) from error
    if empty:
        raise WeightsError(f"vectors: {path} holds no vectors; {_REMEDY}")
    kept = sorted(vectors)
    return kept, np.array([vectors[word] for word in kept], np.float32).reshape(-1, max(size, 1))


def require(path: Path) -> None:
    """Check that `path` is a file that begins with a vector.

    Raises
    ------
    WeightsError
        If it is not; the message says how to get the vectors.
    """
    try:
        with path.open("rb") as file:
            first = file.readline().rstrip().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise _unreadable(path, error) from error
    _vector_size(first, path)


def _unreadable(path: Path, error: OSError) -> WeightsError:
    if not isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return WeightsError(f"vectors: {unreadable(path, error)}")
    return WeightsError(
        f"vectors: {path} cannot be read ({error.strerror}). Fetch glove.840B.300d.zip (2.2 GB) "
        "from https://nlp.stanford.edu/projects/glove by hand, unpack glove.840B.300d.txt (5.6 GB) "
        "into a folder such as data/weights and set vectors to its path; any other GloVe text "
        "file can be used too"
    )


def _vector_size(line: bytes, path: Path) -> int:
    """The number of values in the first line of a file, whose word may contain spaces."""
    fields = line.split(b" ")
    if _HEADER.fullmatch(line):
        return int(fields[1])
    size = sum(1 for _ in takewhile(is_number, reversed(fields[1:])))
    if not size:
        raise _damaged(path, 1, "no word with values, so this is not a GloVe text file")
    return size


def _vector(values: bytes, size: int, path: Path, number: int) -> np.ndarray:
    """Parse the values of one line."""
    fields = values.split(b" ")
    if len(fields) != size:
        raise _damaged(path, number, f"{len(fields)} values, expected {size}")
    if not all(is_number(field) and math.isfinite(float(field)) for field in fields):
        raise _damaged(path, number, "values that are not finite numbers")
    return np.array([float(field) for field in fields], np.float32)


def _damaged(path: Path, number: int, fault: str) -> WeightsError:
    return WeightsError(f"vectors: {path}, line {number}: has {fault}; {_REMEDY}")


def select(path: Path, tokens: Iterable[str]) -> tuple[list[str], np.ndarray]:
    """The vocabulary of a corpus and its vectors.

    Parameters
    ----------
    path
        A GloVe text file.
    tokens
        All tokens of the corpus.

    Returns
    -------
    tuple
        ``<pad>``, ``<unk>`` and the words that :func:`find` returns for `tokens`, sorted; and
        their vectors [V, D] float32. The vector of ``<pad>`` is zero. That of ``<unk>`` is read
        from the file, or is the mean of all other vectors if the file has none.

    Raises
    ------
    WeightsError
        As for :func:`read_glove`, or if the file has no vector of any token.
    """
    tokens = set(tokens)
    words, vectors = read_glove(path, forms(tokens))
    if tokens and not set(words) - {UNKNOWN}:
        raise WeightsError(
            f"vectors: {path} has no vector of any word of the corpus; use vectors of its language"
        )
    row = {word: index for index, word in enumerate(words)}
    used = sorted({word for token in tokens for word in find(token, row)} - {UNKNOWN})
    kept = vectors[[row[word] for word in used]]
    padding = np.zeros(vectors.shape[1], np.float32)
    average = kept.mean(axis=0) if used else padding
    unknown = vectors[row[UNKNOWN]] if UNKNOWN in row else average
    return [PADDING, UNKNOWN, *used], np.vstack([padding, unknown, kept])
