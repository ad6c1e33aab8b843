"""Words of transcripts: characters and marks made uniform, and Penn Treebank tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.features.words import normalise, tokenise

# Normalisation


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Excuse \t me. ", "Excuse me."),
        ("don\u2019t \u2018quote\u2019 it\u00b4s", "don't 'quote' it's"),
        ("\u201cNo\u201d ``yes''", '"No" "yes"'),
        ("well\u2014I \u2013 no", "well -- I -- no"),
        ("uh\u2026 twenty\u2010one", "uh... twenty-one"),
    ],
)
def test_kinds_of_quotes_dashes_and_spaces_become_one(text: str, expected: str) -> None:
    assert normalise(text, "word") == expected


@pytest.mark.parametrize(
    ("text", "word", "drop"),
    [
        ("[LAUGHTER] Yeah.", "laughter Yeah.", "Yeah."),
        ("Yeah[BREATHING]sure", "Yeah breathing sure", "Yeah sure"),
        ("++LAUGHTER++ no ++GARBAGE++", "laughter no garbage", "no"),
        ("--LAUGHTER-- <LIPSMACK>", "laughter lipsmack", ""),
        ("[BACKGROUND NOISE] [LIP_SMACK]", "background noise lip smack", ""),
        ("[[LAUGHTER]]", "[ laughter ]", "[ ]"),
        ("I--you--they -- SO -- what", "I--you--they -- SO -- what", "I--you--they -- SO -- what"),
        ("1 < 2 and [2]", "1 < 2 and [2]", "1 < 2 and [2]"),
    ],
)
def test_marks_are_read_as_words_or_dropped(text: str, word: str, drop: str) -> None:
    assert normalise(text, "word") == word
    assert normalise(text, "drop") == drop


BITS = ["don't", "[LAUGHTER]", "++A++", "--OHNO--", "<b c>", "[", "]", "--", "+", "'", "`", " "]
BITS += ["\u2019", "\u2014", "\u2026", "I'm", "cannot", "3:30", "U.S.", "ha-ha", "\u00e9"]
SPEECH = st.lists(st.sampled_from(BITS) | st.text(max_size=4)).map("".join)


@given(SPEECH, st.sampled_from(["word", "drop"]))
def test_normalising_twice_changes_nothing(text: str, marks: str) -> None:
    once = normalise(text, marks)  # type: ignore[arg-type]
    assert normalise(once, marks) == once  # type: ignore[arg-type]
    assert once == " ".join(once.split())


@given(st.text(alphabet="abc DE,.!?-012\u00e9\u4e2d"))
def test_text_without_marks_or_odd_quotes_keeps_its_characters(text: str) -> None:
    if "--" not in text:
        assert normalise(text, "drop") == " ".join(text.split())


# Tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I don't know.", "I do n't know ."),
        ("I'm sure he's what they'd've said", "I 'm sure he 's what they 'd 've said"),
        ("Can't you? I cannot; I'm gonna!", "Ca n't you ? I can not ; I 'm gon na !"),
        ("It cost $1,000.50 at 3:30.", "It cost $ 1,000.50 at 3:30 ."),
        ("the 80's, the 1st", "the 80 's , the 1st"),
        ("Mr. Smith of the U.S. is well-known", "Mr. Smith of the U.S. is well-known"),
        ("wait... what--no", "wait ... what -- no"),
        ("'cause goin' \"home\"", "'cause goin ' \" home \""),
        ("DON'T", "DO N'T"),
        ("o'clock", "o'clock"),
        ("", ""),
    ],
)
def test_tokens_are_the_penn_treebanks(text: str, expected: str) -> None:
    assert tokenise(text) == expected.split()


@given(SPEECH)
def test_tokens_lose_nothing_but_spaces(text: str) -> None:
    tokens = tokenise(text)
    assert "".join(tokens) == "".join(text.split())
    assert all(tokens)
