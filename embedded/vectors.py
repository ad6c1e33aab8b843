"""Word vectors in the GloVe text format, trained on a few thousand words.

Positive pointwise mutual information of words that occur near each other, factorised by a
singular value decomposition, with smoothed contexts and half-weighted singular values (Levy,
Goldberg and Dagan 2015, "Improving Distributional Similarity with Lessons Learned from Word
Embeddings"). On so little text this is steadier than GloVe's own objective.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.features.words import normalise, tokenise

WINDOW = 4
"""Words to either side that count as near; nearer ones weigh more."""

_CONTEXT_SMOOTHING = 0.75
_NEGLIGIBLE = 1e-9


def write(texts: Iterable[str], dimension: int, path: Path) -> None:
    """Train vectors on `texts` and write them, one word per line: ``word v1 ... vD``.

    Words are lower-case tokens of :func:`pipeline.features.words.tokenise`.

    Raises
    ------
    ValueError
        If there is no word.
    """
    sentences = [tokenise(normalise(text, "word").lower()) for text in texts]
    words, vectors = train(sentences, dimension)
    rows = (
        f"{word} {' '.join(f'{value:.5f}' for value in vector)}\n"
        for word, vector in zip(words, vectors, strict=True)
    )
    path.write_text("".join(rows), encoding="utf-8")


def train(sentences: list[list[str]], dimension: int) -> tuple[list[str], np.ndarray]:
    """Vectors of the words of `sentences`.

    Returns
    -------
    tuple
        The words, most frequent first, and their vectors [V, dimension] float64; dimensions
        beyond the rank are zero.

    Raises
    ------
    ValueError
        If there is no word.
    """
    counts = Counter(word for sentence in sentences for word in sentence)
    words = sorted(counts, key=lambda word: (-counts[word], word))
    if not words:
        raise ValueError("there is no word to train vectors on")
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
    # a singular vector's sign is arbitrary: make its largest value positive
    largest = np.abs(vectors.round(9)).argmax(axis=0)
    signs = np.sign(vectors[largest, np.arange(dimension)])
    return words, vectors * np.where(signs == 0, 1, signs) + 0.0


def _ppmi(near: np.ndarray) -> np.ndarray:
    """Positive pointwise mutual information [V, V], made symmetric."""
    total = max(near.sum(), 1.0)
    words = near.sum(axis=1) / total
    contexts = near.sum(axis=0) ** _CONTEXT_SMOOTHING
    contexts = contexts / max(contexts.sum(), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(near / total / np.outer(words, contexts))
    positive = np.where(near > 0, np.maximum(information, 0), 0)
    return (positive + positive.T) / 2
