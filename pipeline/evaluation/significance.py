"""Is one classifier better than another? Paired tests over the utterances both were tested on.

The figures compared are means of groups' means: weighted accuracy is the mean over all utterances,
one group; unweighted accuracy the mean over the classes of their recalls, one group per class.

Utterances are taken as independent. Those of a speaker or a dialog are not quite, so true
uncertainty is larger than what is found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 10_000
_BATCH = 500  # resamples in memory at a time


class Difference(NamedTuple):
    """How much a figure differs, and how sure that is.

    Attributes
    ----------
    value
        The difference.
    low, high
        Its 95 % interval.
    p
        Probability of a difference as large, either way, if neither is better.
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
    """Test the mean over the groups of the mean difference within each.

    p is that of SciPy's two-sided permutation test: if neither classifier is better, each
    utterance's difference is as likely with its sign changed. The interval is that of SciPy's
    percentile bootstrap, which draws each group's utterances anew and keeps its size.

    Parameters
    ----------
    differences
        [n] one classifier's correctness of each utterance minus the other's, from -1 to 1.
    groups
        [n] group of each utterance; any values.
    resamples
        Changes of signs, and bootstrap samples; fewer changes where there are no more.
    seed
        Of both.

    Raises
    ------
    ValueError
        If there is no utterance, or the two arrays differ in length.
    """
    if len(differences) == 0 or len(differences) != len(groups):
        raise ValueError(
            f"as many groups as differences are needed, and one at least; there are {len(groups)} "
            f"and {len(differences)}"
        )
    names, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    shares = differences / (len(names) * sizes[group])
    options = {"n_resamples": resamples, "batch": _BATCH, "rng": np.random.default_rng(seed)}
    p = 1.0
    unequal = shares[shares != 0]  # of none the sign changes nothing
    if len(unequal) > 1:  # and that of one alone changes no size
        test = stats.permutation_test((unequal,), np.sum, permutation_type="samples", **options)
        p = float(test.pvalue)
    # SciPy asks for two values at least; of one it is given two that are the same
    samples = [np.resize(differences[group == k], max(size, 2)) for k, size in enumerate(sizes)]
    drawn = stats.bootstrap(samples, _mean_of_means, method="percentile", **options)
    low, high = drawn.confidence_interval
    return Difference(float(shares.sum()), float(low), float(high), p)


def _mean_of_means(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean([sample.mean(axis) for sample in samples], axis=0)


def holm(p: Sequence[float]) -> list[float]:
    """Adjust the p of several tests so that the chance of any false one stays below a level.

    Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979: in rising order the k-th of
    n is multiplied by n - k + 1, and none is below the one before.
    """
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    rising = np.maximum.accumulate(np.asarray(p, dtype=float)[order] * factors)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(rising, 1.0)
    return adjusted.tolist()
