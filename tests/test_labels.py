"""Label schemes: classes, what is left out, the user's own mapping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus import labels, totals
from pipeline.corpus.labels import EMOTIONS, LabelError


@pytest.mark.parametrize(
    ("name", "classes", "utterances"),
    [
        ("seven", ("ang", "exc", "hap", "sad", "fru", "sur", "neu"), 7487),
        ("six", ("ang", "exc", "fru", "hap", "neu", "sad"), 7380),
        ("four", ("ang", "hap", "neu", "sad"), 5531),
    ],
)
def test_known_schemes_on_the_full_release(name: str, classes: tuple, utterances: int) -> None:
    scheme = labels.scheme(name)
    assert scheme.classes == classes
    codes = [code for code, count in totals.BY_EMOTION.items() for _ in range(count)]
    applied = scheme.apply(codes)
    assert applied.dtype == np.int64
    assert (applied >= 0).sum() == utterances
    assert sum(scheme.left_out(codes).values()) == len(codes) - utterances


def test_four_merges_happiness_and_excitement() -> None:
    scheme = labels.scheme("four")
    assert scheme.apply(["hap", "exc", "ang", "xxx", "fru"]).tolist() == [1, 1, 0, -1, -1]
    assert scheme.left_out(["xxx", "hap", "fru", "xxx"]) == {"fru": 1, "xxx": 2}


def test_own_mapping_keeps_its_order() -> None:
    scheme = labels.scheme({"sad": "negative", "hap": "positive", "ang": "negative"})
    assert scheme.classes == ("negative", "positive")
    assert scheme.apply(["ang", "hap", "sad", "neu"]).tolist() == [0, 1, 0, -1]


@given(
    st.dictionaries(st.sampled_from(list(EMOTIONS)), st.sampled_from("abc"), min_size=1),
    st.lists(st.sampled_from(list(EMOTIONS))),
)
def test_apply_follows_the_mapping(mapping: dict[str, str], emotions: list[str]) -> None:
    if len(set(mapping.values())) < 2:
        with pytest.raises(LabelError, match="two or more"):
            labels.scheme(mapping)
        return
    scheme = labels.scheme(mapping)
    names = [scheme.classes[i] if i >= 0 else None for i in scheme.apply(emotions)]
    assert names == [mapping.get(code) for code in emotions]
    assert sum(scheme.left_out(emotions).values()) == names.count(None)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("eight", "'eight' is no scheme; known are seven, six, four"),
        ({"ang": "a", "joy": "b"}, "'joy' is no code of the release; known are ang, hap, exc"),
        ({"ang": "a", "hap": " "}, "hap has an empty class name"),
        ({"ang": "a", "hap": "a"}, "all codes have one class, a"),
        ({}, "is empty"),
    ],
)
def test_schemes_that_cannot_be(setting: str | dict[str, str], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        labels.scheme(setting)


def test_code_in_the_data_that_is_none() -> None:
    with pytest.raises(LabelError, match="emotion: 'joy' is no code of the release"):
        labels.scheme("four").apply(["ang", "joy"])
