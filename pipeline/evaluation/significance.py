"""Is one classifier better than another? Paired tests over the utterances both were tested on.

The figures compared are means of groups' means: weighted accuracy is the mean over all utterances,
one group; unweighted accuracy the mean over the classes of their recalls, a group a class.

Utterances are taken as independent. Those of a speaker or a dialog are not quite, so true
uncertainty is larger than what is found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
_DIGITS = 12  # differences that agree to as many are the same one


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

    p is that of a two-sided permutation test (Good, Permutation, Parametric and Bootstrap Tests of
    Hypotheses, 2005): if neither classifier is better, each utterance's difference is as likely
    with its sign changed. Over random changes of sign p = (1 + as large) / (1 + `resamples`)
    (Phipson and Smyth, 2010). The interval is that of a percentile bootstrap (Efron, 1979) which
    draws each group's utterances anew and keeps its size.

    Parameters
    ----------
    differences
        [n] one classifier's correctness of each utterance minus the other's, from -1 to 1.
    groups
        [n] group of each utterance; any values.
    resamples
        Changes of signs, and bootstrap samples.
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
    random = np.random.default_rng(seed)
    names = np.unique(groups)
    observed = 0.0
    flipped, drawn = np.zeros(resamples), np.zeros(resamples)
    for name in names:
        group = differences[groups == name].round(_DIGITS)
        weight = 1 / (len(names) * len(group))
        observed += weight * group.sum()
        # differences are few distinct values, so it is enough to draw how many of each become
        # positive, and how many of each are in a bootstrap sample
        sizes, counts = np.unique(np.abs(group), return_counts=True)
        positive = random.binomial(counts, 0.5, (resamples, len(counts)))
        flipped += weight * ((2 * positive - counts) @ sizes)
        values, counts = np.unique(group, return_counts=True)
        samples = random.multinomial(len(group), counts / len(group), resamples)
        drawn += weight * (samples @ values)
    as_large = int((np.abs(flipped) >= abs(observed) - 10.0**-_DIGITS).sum())
    low, high = np.quantile(drawn, [0.025, 0.975])
    p = (1 + as_large) / (1 + resamples)
    return Difference(float(observed), float(low), float(high), p)


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
