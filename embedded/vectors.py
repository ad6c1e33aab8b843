"""Word vectors in GloVe's text format, trained on a few thousand words.

A singular value decomposition of positive pointwise mutual information, with context distribution
smoothing and the square root of the singular values (Levy, Goldberg and Dagan 2015, "Improving
Distributional Similarity with Lessons Learned from Word Embeddings"). On so little text it is more
stable than GloVe's objective.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.features.words import normalise, tokenise

WINDOW = 4
"""Context words on either side, weighted by 1 / distance."""

_CONTEXT_SMOOTHING = 0.75
_NEGLIGIBLE = 1e-9


def write(texts: Iterable[str], dimension: int, path: Path) -> None:
    """Train vectors on `texts` and write one line per word: ``word v1 ... vD``.

    Words are the lower-case tokens of :func:`pipeline.features.words.tokenise`.

    Raises
    ------
    ValueError
        If there are no words.
    """
    sentences = [tokenise(normalise(text, "word").lower()) for text in texts]
    words, vectors = train(sentences, dimension)
    rows = (
        f"{word} {' '.join(f'{value:.5f}' for value in vector)}\n"
        for word, vector in zip(words, vectors, strict=True)
    )
    path.write_text("".join(rows), encoding="utf-8")


def train(sentences: list[list[str]], dimension: int) -> tuple[list[str], np.ndarray]:
    """Train vectors of the words of `sentences`.

    Returns
    -------
    tuple
        The words, most frequent first, and their vectors [V, dimension] float64; dimensions
        beyond the rank are zero.

    Raises
    ------
    ValueError
        If there are no words.
    """
    counts = Counter(word for sentence in sentences for word in sentence)
    words = sorted(counts, key=lambda word: (-counts[word], word))
    if not words:
        raise ValueError("there are no words to train vectors on")
    places = {word: place for place, word in enumerate(words)}
    near = np.zeros((len(words), len(words)))
    for sentence in sentences:
        ids = [places[word] for word in sentence]
        for distance in range(1, WINDOW + 1):
            for first, second in zip(ids, ids[distance:], strict=False):
                near[first, second] += 1 / distance
                near[second, first] += 1 / distance
    left, values, _ = np.linalg.svd(_ppmi(near), hermitian=True)
    rank = min(dimension, int((values > _NEGLIGIBLE * max(values[0], 1.0)).sum()))
    vectors = np.zeros((len(words), dimension))
    vectors[:, :rank] = left[:, :rank] * np.sqrt(values[:rank])
    # the sign of a singular vector is arbitrary: make its largest value positive
    largest = np.abs(vectors.round(9)).argmax(axis=0)
    signs = np.sign(vectors[largest, np.arange(dimension)])
    return words, vectors * np.where(signs == 0, 1, signs) + 0.0


def _ppmi(near: np.ndarray) -> np.ndarray:
    """Symmetrised positive pointwise mutual information [V, V]."""
    total = max(near.sum(), 1.0)
    words = near.sum(axis=1) / total
    contexts = near.sum(axis=0) ** _CONTEXT_SMOOTHING
    contexts = contexts / max(contexts.sum(), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(near / total / np.outer(words, contexts))
    positive = np.where(near > 0, np.maximum(information, 0), 0)
    return (positive + positive.T) / 2
