"""Label schemes: classes, what is left out, the user's own mapping."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus import labels
from pipeline.corpus.iemocap import totals, votes
from pipeline.corpus.iemocap.codes import DESCRIPTION, EMOTIONS
from pipeline.corpus.labels import LabelError


@pytest.mark.parametrize(
    ("name", "classes", "utterances"),
    [
        ("seven", ("ang", "exc", "hap", "sad", "fru", "sur", "neu"), 7487),
        ("six", ("ang", "exc", "fru", "hap", "neu", "sad"), 7380),
        ("four", ("ang", "hap", "neu", "sad"), 5531),
    ],
)
def test_known_schemes_on_the_full_release(name: str, classes: tuple, utterances: int) -> None:
    scheme = labels.scheme(name, DESCRIPTION)
    assert scheme.classes == classes
    codes = [code for code, count in totals.BY_EMOTION.items() for _ in range(count)]
    applied = scheme.apply(codes)
    assert applied.dtype == np.int64
    assert (applied >= 0).sum() == utterances


def test_four_merges_happiness_and_excitement() -> None:
    scheme = labels.scheme("four", DESCRIPTION)
    assert scheme.apply(["hap", "exc", "ang", "xxx", "fru"]).tolist() == [1, 1, 0, -1, -1]


def test_own_mapping_keeps_its_order() -> None:
    scheme = labels.scheme({"sad": "negative", "hap": "positive", "ang": "negative"}, DESCRIPTION)
    assert scheme.classes == ("negative", "positive")
    assert scheme.apply(["ang", "hap", "sad", "neu"]).tolist() == [0, 1, 0, -1]


@given(
    st.dictionaries(st.sampled_from(list(EMOTIONS)), st.sampled_from("abc"), min_size=1),
    st.lists(st.sampled_from(list(EMOTIONS))),
)
def test_apply_follows_the_mapping(mapping: dict[str, str], emotions: list[str]) -> None:
    if len(set(mapping.values())) < 2:
        with pytest.raises(LabelError, match="two or more"):
            labels.scheme(mapping, DESCRIPTION)
        return
    scheme = labels.scheme(mapping, DESCRIPTION)
    names = [scheme.classes[i] if i >= 0 else None for i in scheme.apply(emotions)]
    assert names == [mapping.get(code) for code in emotions]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("eight", "'eight' is not a scheme of IEMOCAP; known are seven, six, four"),
        ({"ang": "a", "joy": "b"}, "'joy' is not a code of the corpus; known are ang, hap, exc"),
        ({"ang": "a", "hap": " "}, "hap has an empty class name"),
        ({"ang": "a", "hap": "a"}, "needs two or more classes, has a"),
        ({}, "needs two or more classes, has none"),
    ],
)
def test_schemes_that_cannot_be(setting: str | dict[str, str], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        labels.scheme(setting, DESCRIPTION)


def test_code_in_the_data_that_is_none() -> None:
    with pytest.raises(LabelError, match="emotion: 'joy' is not a code of the corpus"):
        labels.scheme("four", DESCRIPTION).apply(["ang", "joy"])


@given(st.data())
def test_distribution_is_the_votes_shares_of_the_classes(data: st.DataObject) -> None:
    """Against NumPy with a matrix of codes by classes."""
    own = {"fru": "bad", "hap": "good", "ang": "bad", "neu": "good"}
    setting = data.draw(st.one_of(st.sampled_from(["seven", "six", "four"]), st.just(own)))
    scheme = labels.scheme(setting, DESCRIPTION)
    rows = data.draw(st.integers(1, 6))
    halves = st.lists(st.integers(0, 6), min_size=10 * rows, max_size=10 * rows)
    counts = np.array(data.draw(halves), np.float32).reshape(rows, 10) / 2
    emotions = data.draw(st.lists(st.sampled_from(list(EMOTIONS)), min_size=rows, max_size=rows))
    majority = scheme.apply(emotions)

    found = scheme.distribution(counts, votes.CODES, majority)

    belongs = np.array(
        [[scheme.mapping.get(code) == name for name in scheme.classes] for code in votes.CODES]
    )
    summed = counts @ belongs
    one_hot = np.vstack([np.eye(len(scheme.classes)), np.zeros(len(scheme.classes))])[majority]
    with np.errstate(invalid="ignore"):
        shares = summed / summed.sum(axis=1, keepdims=True)
    expected = np.where(summed.sum(axis=1, keepdims=True) > 0, shares, one_hot)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_distribution_by_hand() -> None:
    codes = ("neu", "hap", "exc", "fru", "oth")
    counts = np.array([[1, 1, 0.5, 0.5, 0], [0, 0, 0, 2, 1], [0, 0, 0, 0, 0]], np.float32)
    scheme = labels.scheme({"hap": "joy", "exc": "joy", "neu": "none"}, DESCRIPTION)
    majority = scheme.apply(["hap", "neu", "fru"])
    assert scheme.distribution(counts, codes, majority).round(4).tolist() == [
        pytest.approx([0.6, 0.4]),  # 1.5 of the 2.5 votes for a class
        [0.0, 1.0],  # no vote for a class: the majority label
        [0.0, 0.0],  # not labelled either
    ]


def test_distribution_needs_a_vote_for_each_class() -> None:
    scheme = labels.scheme({"ang": "anger", "xxx": "unclear"}, DESCRIPTION)
    with pytest.raises(LabelError, match="nobody can vote for class unclear; raters choose among"):
        scheme.distribution(np.ones((1, 10)), votes.CODES, np.array([0]))


def table(*rows: tuple[str, str]) -> pd.DataFrame:
    """Emotion and scenario."""
    return pd.DataFrame(rows, columns=["emotion", "scenario"])


def test_utterances_of_other_scenarios_have_no_class() -> None:
    rows = table(("ang", "improvised"), ("neu", "scripted"), ("xxx", "improvised"), ("sad", ""))
    assert labels.scheme("four", DESCRIPTION).of(rows).tolist() == [0, 2, -1, 3]
    scheme = labels.scheme("four", DESCRIPTION, ["improvised"])
    assert scheme.of(rows).tolist() == [0, -1, -1, -1]
    assert scheme.apply(rows["emotion"]).tolist() == [0, 2, -1, 3]


def test_a_scenario_that_no_utterance_has() -> None:
    rows = table(("ang", "improvised"), ("neu", "scripted"))
    with pytest.raises(
        LabelError, match="no utterance is read; this corpus has improvised, scripted"
    ):
        labels.scheme("four", DESCRIPTION, ["read"]).of(rows)
    with pytest.raises(LabelError, match="this corpus has no scenarios"):
        labels.scheme("four", DESCRIPTION, ["read"]).of(table(("ang", "")))


def test_an_utterance_without_a_code_has_no_class() -> None:
    assert labels.scheme("four", DESCRIPTION).apply(["", "ang"]).tolist() == [-1, 0]
