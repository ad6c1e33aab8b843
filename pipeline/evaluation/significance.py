"""Paired significance tests of two classifiers, over the utterances that both were tested on.

The metrics are means of group means: for weighted accuracy, all utterances are one group; for
unweighted accuracy, each class is a group and its mean is the recall.

Utterances are assumed to be independent. Those of one speaker or dialog are not entirely, so the
true uncertainty is larger than estimated here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 10_000
_BATCH = 500  # resamples in memory at a time


class Difference(NamedTuple):
    """The difference of a metric between two classifiers.

    Attributes
    ----------
    value
        The difference.
    low, high
        Its 95 % confidence interval.
    p
        Two-sided p-value under the null hypothesis that neither is better.
    """

    value: float
    low: float
    high: float
    p: float


def paired(
    differences: np.ndarray,
    groups: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Test the mean over groups of the mean difference within each group.

    The p-value is that of SciPy's two-sided permutation test: under the null hypothesis, the sign
    of each difference is random. The interval is that of SciPy's percentile bootstrap, which
    resamples the utterances of each group.

    Parameters
    ----------
    differences
        [n] correctness of one classifier on each utterance minus that of the other, from -1 to 1.
    groups
        [n] group of each utterance; any values.
    resamples
        Number of permutations and of bootstrap samples; fewer permutations if there are no more.
    seed
        Seed of both.

    Raises
    ------
    ValueError
        If there is no utterance, or the two arrays differ in length.
    """
    if len(differences) == 0 or len(differences) != len(groups):
        raise ValueError(
            f"differences and groups must have the same length of at least 1, not "
            f"{len(differences)} and {len(groups)}"
        )
    names, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    shares = differences / (len(names) * sizes[group])
    options = {"n_resamples": resamples, "batch": _BATCH, "rng": np.random.default_rng(seed)}
    p = 1.0
    unequal = shares[shares != 0]  # the sign of a zero has no effect
    if len(unequal) > 1:  # with a single one, p is 1
        test = stats.permutation_test((unequal,), _sum, permutation_type="samples", **options)
        p = float(test.pvalue)
    # SciPy needs at least two values, so a single one is repeated
    samples = [np.resize(differences[group == k], max(size, 2)) for k, size in enumerate(sizes)]
    drawn = stats.bootstrap(samples, _mean_of_means, method="percentile", **options)
    low, high = drawn.confidence_interval
    return Difference(float(shares.sum()), float(low), float(high), p)


def _sum(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """The sum, rounded so that sums that differ by rounding alone are ties."""
    return values.sum(axis).round(12)


def _mean_of_means(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean([sample.mean(axis) for sample in samples], axis=0)


def holm(p: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests to control the family-wise error rate.

    Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979: in ascending order, the
    k-th of n values is multiplied by n - k + 1, and none is less than the one before.
    """
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    ascending = np.maximum.accumulate(np.asarray(p, dtype=float)[order] * factors)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(ascending, 1.0)
    return adjusted.tolist()
