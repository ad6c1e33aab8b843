"""The line formats of the release: what is written comes back, anything else is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.corpus.iemocap import formats

times = st.integers(0, 99_999_999).map(lambda n: n / 10_000)
scores = st.integers(10_000, 50_000).map(lambda n: n / 10_000)
names = st.builds(
    lambda s, a, d, x, n: f"Ses0{s}{a}_{d}_{x}{n:03d}",
    st.integers(1, 5),
    st.sampled_from("FM"),
    st.sampled_from(["impro01", "impro05a", "script01_1", "script01_1b", "script03_2"]),
    st.sampled_from("FM"),
    st.integers(0, 999),
)
words = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters=";()"), min_size=1)


labels = st.builds(
    formats.Label, names, times, times, st.sampled_from(["neu", "xxx"]), scores, scores, scores
)


@given(labels)
def test_label_line_comes_back(label: formats.Label) -> None:
    line = (
        f"[{label.start:.4f} - {label.end:.4f}]\t{label.utterance}\t{label.emotion}"
        f"\t[{label.valence:.4f}, {label.activation:.4f}, {label.dominance:.4f}]"
    )
    assert formats.label_line(line) == label


@given(names, times, times, st.text(st.characters(exclude_characters="\r\n")))
def test_transcript_line_comes_back(name: str, start: float, end: float, text: str) -> None:
    line = f"{name} [{start:08.4f}-{end:08.4f}]: {text}"
    assert formats.transcript_line(line) == (name, text.strip())


@given(st.lists(words, max_size=4), st.text(st.characters(exclude_categories=["C", "Z"])))
def test_categorical_line_comes_back(votes: list[str], comment: str) -> None:
    line = f"C-E4:\t{''.join(f'{vote}; ' for vote in votes)}\t({comment})"
    vote = formats.vote_line(line)
    assert vote is not None
    assert (vote.rater, vote.kind, vote.votes) == ("E4", "categorical", ";".join(votes))
    assert vote.comment == comment


@given(*[st.none() | st.integers(1, 5)] * 3)
def test_attribute_line_comes_back(valence, activation, dominance) -> None:
    given_scores = ["" if s is None else str(s) for s in (valence, activation, dominance)]
    vote = formats.vote_line("A-F1:\tval {}; act {}; dom  {};\t()".format(*given_scores))
    assert vote is not None
    for read, score in zip(
        (vote.valence, vote.activation, vote.dominance),
        (valence, activation, dominance),
        strict=True,
    ):
        assert math.isnan(read) if score is None else read == score


@given(st.text())
@example("[" * 10_000)
@example("A-E1:" + "val 3;" * 5_000)
@example("[1 - 2] x y [" + "1, " * 5_000)
@example("Ses" + ":" * 10_000)
def test_any_line_is_read_or_refused(line: str) -> None:
    for read in (formats.label_line, formats.vote_line, formats.transcript_line, formats.dialog):
        read(line)
    formats.is_unnumbered(line)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ses01F_impro01", formats.Dialog("Ses01F_impro01", 1, "F", "improvised", "01", "", "")),
        (
            "Ses05M_script03_2",
            formats.Dialog("Ses05M_script03_2", 5, "M", "scripted", "03", "2", ""),
        ),
        ("Ses02F_impro05a", formats.Dialog("Ses02F_impro05a", 2, "F", "improvised", "05", "", "a")),
        (
            "Ses04M_script01_1b",
            formats.Dialog("Ses04M_script01_1b", 4, "M", "scripted", "01", "1", "b"),
        ),
        ("Ses06F_impro01", None),
        ("Ses01X_impro01", None),
        ("Ses01F_impro01_F000", None),
        ("Ses01F_impro01.txt", None),
    ],
)
def test_dialog_ids(name: str, expected: formats.Dialog | None) -> None:
    assert formats.dialog(name) == expected


@pytest.mark.parametrize("dialog", ["Ses01F_impro01", "Ses05M_script03_2", "Ses02F_impro05a"])
def test_ids_of_turns(dialog: str) -> None:
    found = formats.dialog(dialog)
    assert found is not None
    for turn in ("F000", "M012", "M1000"):
        assert formats.is_turn(f"{dialog}_{turn}", found)
        assert formats.speaker(f"{dialog}_{turn}") == turn[0]
    for other in ("F00", "X000", "F000a", "FXX0", "_F000", ""):
        assert not formats.is_turn(f"{dialog}_{other}", found)
    assert not formats.is_turn("Ses03F_impro01_F000", found)
    for unnumbered in ("MXX0", "FXX", "FXX12"):
        assert formats.is_unnumbered(f"{dialog}_{unnumbered}")
    for other in ("M000", "XXX0", "MXXa", "MX0"):
        assert not formats.is_unnumbered(f"{dialog}_{other}")
    assert not formats.is_unnumbered("MXX0")


@pytest.mark.parametrize(
    ("speaker", "marked_actor", "place"),
    [
        ("F", "left", "left"),
        ("M", "left", "right"),
        ("F", "right", "right"),
        ("M", "right", "left"),
    ],
)
def test_the_marked_actor_is_on_the_side_that_is_given(
    speaker: str, marked_actor: str, place: str
) -> None:
    found = formats.dialog("Ses01F_impro01")
    assert found is not None
    assert formats.place(found, speaker, marked_actor) == place
