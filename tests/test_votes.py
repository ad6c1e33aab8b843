"""The evaluators' votes as numbers."""

from __future__ import annotations

import math

import hypothesis
import pytest
from hypothesis import strategies as st

from embedded.textfiles import CATEGORIES
from pipeline.corpus.iemocap import formats, votes
from pipeline.corpus.iemocap.codes import EMOTIONS


def given(*rows: tuple[str, str]) -> list[formats.Vote]:
    """Categorical lines from rater and words."""
    nothing = math.nan
    return [
        formats.Vote(rater, "categorical", words, nothing, nothing, nothing, "")
        for rater, words in rows
    ]


def counted(*rows: tuple[str, str]) -> dict[str, float]:
    return votes.count(given(*rows))


def test_every_code_but_no_majority_can_be_voted_for() -> None:
    assert votes.CODES == ("neu", "ang", "hap", "exc", "sad", "fru", "fea", "sur", "dis", "oth")
    assert {*votes.CODES, "xxx"} == set(EMOTIONS)
    assert all(votes.WORDS[word.casefold()] == code for code, word in CATEGORIES.items())


def test_evaluators_are_counted_and_actors_are_not() -> None:
    rows = [("E2", "Anger"), ("E4", "Anger"), ("E1", "Frustration")]
    actors = [("F1", "Happiness"), ("M1", "Sadness")]
    assert counted(*rows, *actors) == {"ang": 2.0, "fru": 1.0}


def test_both_words_for_neutral_in_any_case() -> None:
    rows = [("E1", "Neutral"), ("E2", "Neutral state"), ("E3", "NEUTRAL")]
    assert counted(*rows) == {"neu": 3.0}


def test_an_undecided_evaluator_weighs_one() -> None:
    assert counted(("E1", "Sadness;Frustration"), ("E2", "Sadness")) == {
        "sad": 1.5,
        "fru": 0.5,
    }
    assert counted(("E1", "Neutral;Neutral state;Fear")) == {"neu": 0.5, "fea": 0.5}
    assert counted(*[(f"E{k}", "Anger;Disgust;Other") for k in range(1, 4)]) == {
        "ang": 1.0,
        "dis": 1.0,
        "oth": 1.0,
    }


def test_an_unknown_word_is_other_and_is_told() -> None:
    rows = [("E1", "Contempt"), ("E2", "Contempt;Anger"), ("F1", "Bored")]
    assert counted(*rows) == {"oth": 1.5, "ang": 0.5}
    assert votes.unknown(given(*rows)) == ["Contempt", "Contempt"]


def test_attribute_lines_and_empty_lines_are_no_votes() -> None:
    attribute = formats.vote_line("A-E3:\tval 3; act 2; dom  2;\t()")
    assert attribute is not None
    lines = [*given(("E1", "")), attribute]
    assert votes.count(lines) == {}
    assert votes.unknown(lines) == []


words = st.lists(st.sampled_from([*votes.WORDS, "Contempt"]), min_size=1, max_size=4)
lines = st.tuples(st.sampled_from(["E1", "E2", "E6", "F1", "M1"]), words)


@hypothesis.given(st.lists(lines, max_size=20))
def test_votes_add_up_to_the_evaluators(lines: list[tuple[str, list[str]]]) -> None:
    counts = counted(*[(rater, ";".join(chosen)) for rater, chosen in lines])
    assert counts.keys() <= set(votes.CODES) and all(count > 0 for count in counts.values())
    evaluators = sum(rater[0] == "E" for rater, _ in lines)
    assert sum(counts.values()) == pytest.approx(evaluators)


def test_a_line_of_the_release_is_counted() -> None:
    vote = formats.vote_line("C-E3:\tNeutral; Sadness;\t(tired)")
    assert vote is not None and math.isnan(vote.valence)
    assert votes.count([vote]) == {"neu": 0.5, "sad": 0.5}
