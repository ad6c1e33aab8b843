"""The evaluators' votes as numbers."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus import formats, votes
from pipeline.corpus.embedded.textfiles import CATEGORIES
from pipeline.corpus.labels import EMOTIONS
from pipeline.corpus.table import CorpusError


def table(*rows: tuple[str, str, str]) -> pd.DataFrame:
    """Categorical lines from utterance, rater and words."""
    lines = [{"utterance": u, "rater": r, "kind": "categorical", "votes": w} for u, r, w in rows]
    return pd.DataFrame(lines, columns=["utterance", "rater", "kind", "votes"])


def counted(*rows: tuple[str, str, str]) -> dict[str, float]:
    """The codes with a vote for utterance u."""
    counts = votes.count(["u"], table(*rows))
    return {code: n for code, n in zip(votes.CODES, counts[0].tolist(), strict=True) if n}


def test_every_code_but_no_majority_can_be_voted_for() -> None:
    assert votes.CODES == ("neu", "ang", "hap", "exc", "sad", "fru", "fea", "sur", "dis", "oth")
    assert {*votes.CODES, "xxx"} == set(EMOTIONS)
    assert all(votes.WORDS[word.casefold()] == code for code, word in CATEGORIES.items())


def test_evaluators_are_counted_and_actors_are_not() -> None:
    rows = [("u", "E2", "Anger"), ("u", "E4", "Anger"), ("u", "E1", "Frustration")]
    actors = [("u", "F1", "Happiness"), ("u", "M1", "Sadness")]
    assert counted(*rows, *actors) == {"ang": 2.0, "fru": 1.0}


def test_both_words_for_neutral_in_any_case() -> None:
    rows = [("u", "E1", "Neutral"), ("u", "E2", "Neutral state"), ("u", "E3", "NEUTRAL")]
    assert counted(*rows) == {"neu": 3.0}


def test_an_undecided_evaluator_weighs_one() -> None:
    assert counted(("u", "E1", "Sadness;Frustration"), ("u", "E2", "Sadness")) == {
        "sad": 1.5,
        "fru": 0.5,
    }
    assert counted(("u", "E1", "Neutral;Neutral state;Fear")) == {"neu": 0.5, "fea": 0.5}
    assert counted(*[("u", f"E{k}", "Anger;Disgust;Other") for k in range(1, 4)]) == {
        "ang": 1.0,
        "dis": 1.0,
        "oth": 1.0,
    }


def test_an_unknown_word_is_other_and_is_told() -> None:
    rows = [("u", "E1", "Contempt"), ("u", "E2", "Contempt;Anger"), ("u", "F1", "Bored")]
    assert counted(*rows) == {"oth": 1.5, "ang": 0.5}
    assert votes.unknown(table(*rows)) == {"Contempt": 2}


def test_attribute_lines_and_empty_lines_are_no_votes() -> None:
    rows = table(("u", "E1", ""), ("u", "E3", "Anger"))
    rows.loc[1, "kind"] = "attribute"
    assert votes.count(["u"], rows).tolist() == [[0.0] * 10]
    assert votes.unknown(rows) == {}


def test_a_vote_for_another_utterance_is_an_error() -> None:
    with pytest.raises(CorpusError, match=r"utterance v is not in utterances.csv; `dvc repro"):
        votes.count(["u"], table(("v", "E1", "Anger")))


words = st.lists(st.sampled_from([*votes.WORDS, "Contempt"]), min_size=1, max_size=4)
lines = st.tuples(st.sampled_from("abc"), st.sampled_from(["E1", "E2", "E6", "F1", "M1"]), words)


@given(st.lists(lines, max_size=20))
def test_rows_add_up_to_the_evaluators(given_lines: list[tuple[str, str, list[str]]]) -> None:
    counts = votes.count(
        ["a", "b", "c"], table(*[(u, rater, ";".join(w)) for u, rater, w in given_lines])
    )
    assert counts.dtype == np.float32 and counts.shape == (3, 10) and (counts >= 0).all()
    for row, name in enumerate("abc"):
        evaluators = sum(u == name and rater[0] == "E" for u, rater, _ in given_lines)
        assert counts[row].sum() == pytest.approx(evaluators, abs=1e-5)


def test_a_line_of_the_release_is_counted() -> None:
    vote = formats.vote_line("C-E3:\tNeutral; Sadness;\t(tired)")
    assert vote is not None and math.isnan(vote.valence)
    assert counted(("u", vote.rater, vote.votes)) == {"neu": 0.5, "sad": 0.5}
