"""The paired test against exact enumeration, theory and its promise; Holm against hand work."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.evaluation import significance

changes = st.lists(
    st.tuples(st.sampled_from([-1.0, -2 / 3, -1 / 3, 0.0, 1 / 3, 2 / 3, 1.0]), st.integers(0, 2)),
    min_size=1,
    max_size=8,
)


def mean_of_means(differences: np.ndarray, groups: np.ndarray) -> float:
    return float(np.mean([differences[groups == name].mean() for name in np.unique(groups)]))


@settings(max_examples=40, deadline=None)
@given(changes)
@example([(1 / 3, 1), (2 / 3, 0), (1.0, 2), (-1.0, 1), (-1.0, 2), (-2 / 3, 0), (2 / 3, 1)])  # sum 0
def test_p_is_that_of_all_changes_of_signs(rows: list[tuple[float, int]]) -> None:
    differences = np.array([value for value, _ in rows])
    groups = np.array([group for _, group in rows])
    observed = mean_of_means(differences, groups)
    every = [
        mean_of_means(differences * np.array(signs), groups)
        for signs in product([-1, 1], repeat=len(rows))
    ]
    exact = np.mean(np.abs(every) >= abs(observed) - 1e-9)
    found = significance.paired(differences, groups)
    assert found.value == pytest.approx(observed, abs=1e-9)
    # four standard errors of a share of 10,000
    assert found.p == pytest.approx(exact, abs=4 * 0.5 / 100)


def test_p_is_that_of_the_sign_test() -> None:
    """Of differences of one size, 33 in favour of one and 17 of the other."""
    differences = np.repeat([1.0, -1.0, 0.0], [33, 17, 50])
    exact = stats.binomtest(33, 50).pvalue
    found = significance.paired(differences, np.zeros(100))
    assert found.value == pytest.approx(0.16)
    assert found.p == pytest.approx(exact, abs=4 * np.sqrt(exact / 10_000))


def test_interval_is_the_normal_one_of_many_utterances() -> None:
    """Of two groups, the variances of whose means are added."""
    random = np.random.default_rng(4)
    parts = [random.choice([-1.0, 0.0, 1.0], n, p=[0.1, 0.6, 0.3]) for n in (200, 800)]
    error = np.sqrt(sum(part.var() / len(part) for part in parts)) / 2
    mean = np.mean([part.mean() for part in parts])
    found = significance.paired(np.concatenate(parts), np.repeat(["a", "b"], [200, 800]))
    assert (found.low, found.high) == pytest.approx(
        (mean - 1.96 * error, mean + 1.96 * error), abs=0.1 * error
    )


def test_one_utterance_says_nothing() -> None:
    assert significance.paired(np.ones(1), np.zeros(1)) == (1.0, 1.0, 1.0, 1.0)
    assert significance.paired(np.array([1.0, 0.0]), np.arange(2)).p == 1.0


def test_interval_keeps_each_groups_size() -> None:
    """A group of one is always itself; its mean counts as much as that of the other hundred."""
    differences = np.array([1.0] + [0.0] * 100)
    found = significance.paired(differences, np.array(["rare"] + ["usual"] * 100))
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_interval_of_groups_of_two() -> None:
    """The mean of one group in four resamples is 1, that of both in one of sixteen."""
    found = significance.paired(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0, 0, 1, 1]))
    assert (found.low, found.high) == (0.0, 1.0)


def test_p_is_uniform_where_neither_is_better() -> None:
    random = np.random.default_rng(5)
    groups = np.repeat([0, 1, 2], [20, 100, 280])
    found = []
    for number in range(400):
        both = random.random((2, 400)) < 0.7
        differences = both[0].astype(float) - both[1]
        found.append(significance.paired(differences, groups, resamples=500, seed=number).p)
    for level in (0.05, 0.2, 0.5, 0.8):
        share = np.mean(np.array(found) <= level)
        assert share == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 400) + 0.01)


def test_equal_classifiers_do_not_differ_and_opposite_ones_do() -> None:
    same = significance.paired(np.zeros(50), np.zeros(50))
    assert same == (0.0, 0.0, 0.0, 1.0)
    better = significance.paired(np.ones(50), np.zeros(50))
    assert better == (1.0, 1.0, 1.0, pytest.approx(2 / 10_001))


def test_p_is_the_same_either_way_round_and_each_time() -> None:
    differences = np.random.default_rng(6).choice([-1.0, 0.0, 1.0], 80)
    groups = np.arange(80) % 3
    found = significance.paired(differences, groups)
    assert found == significance.paired(differences, groups)
    assert significance.paired(-differences, groups).p == found.p


@pytest.mark.parametrize("count", [0, 2])
def test_differences_without_groups_are_an_error(count: int) -> None:
    with pytest.raises(ValueError, match="must have the same length of at least 1"):
        significance.paired(np.zeros(count), np.zeros(0))


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1 are 0.04, 0.06, 0.06, 0.5."""
    assert significance.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert significance.holm([0.4, 0.6]) == pytest.approx([0.8, 0.8])
    assert significance.holm([0.9, 0.8, 0.7]) == [1.0, 1.0, 1.0]
    assert significance.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_between_p_and_bonferroni_and_keeps_the_order(p: list[float]) -> None:
    adjusted = significance.holm(p)
    for value, given_ in zip(adjusted, p, strict=True):
        assert given_ <= value <= min(1.0, given_ * len(p))
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()
