"""GloVe: files of vectors, the vocabulary of a corpus, and the token ids of utterances."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from pipeline.features import glove
from pipeline.features.glove import Glove
from pipeline.features.pretrained import WeightsError
from tests.extractors import spoken, text_context

# Words


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("Hello", ["Hello"]),
        ("HELLO", ["hello"]),
        ("hello-World", ["hello", "world"]),
        ("hello-qqq", ["hello", "<unk>"]),
        ("qqq-zzz", ["<unk>"]),
        ("qqq", ["<unk>"]),
        ("--", ["<unk>"]),
        ("ha-ha", ["ha-ha"]),
    ],
)
def test_a_token_is_looked_up_exactly_then_lower_then_by_parts(
    token: str, expected: list[str]
) -> None:
    assert glove.find(token, {"Hello", "hello", "world", "ha-ha"}) == expected


# GloVe files


def write(path: Path, *lines: str | bytes) -> Path:
    path.write_bytes(b"".join(x.encode() if isinstance(x, str) else x for x in lines))
    return path


def test_glove_reads_the_words_that_are_asked_for(tmp_path: Path) -> None:
    path = write(
        tmp_path / "g.txt",
        ", 0.1 0.2 0.3\n",
        "the -1 2e-1 .5\n",
        b"\xff\xfe 1 1 1\n",  # not UTF-8, and nobody's word
        ". . . 7 7 7\n",  # the word is ". . ."
        "at name@domain.com 8 8 8\n",
        "at 4 5 6 \n",  # word2vec leaves a space at the end
        ". 9 9 9\r\n",
        "the 0 0 0\n",
        "na\u00efve 1 2 3",
    )
    words, vectors = glove.read_glove(path, {"the", ".", "at", "na\u00efve", "missing"})
    assert words == [".", "at", "na\u00efve", "the"]
    assert vectors.dtype == np.float32
    expected = np.array([[9, 9, 9], [4, 5, 6], [1, 2, 3], [-1, 0.2, 0.5]])
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)


@pytest.mark.parametrize("first", ["2 3\n", "", ". . 1 1 1\n"])
def test_glove_takes_its_size_from_the_first_line(tmp_path: Path, first: str) -> None:
    path = write(tmp_path / "g.txt", first, "a 1 2 3\n", "2 3 2 1\n")
    words, vectors = glove.read_glove(path, {"a", "2"})
    assert words == ["2", "a"]
    assert vectors.tolist() == [[3, 2, 1], [1, 2, 3]]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("other 1 2\n", "2 values, expected 3"),
        ("word 1 2\n", "2 values, expected 3"),
        ("word 1 2 3 4\n", "4 values, expected 3"),
        ("word 1 2 x\n", "values that are not finite numbers"),
        ("word 1 2 nan\n", "values that are not finite numbers"),
        ("wo", "0 values, expected 3"),
    ],
)
def test_a_damaged_line_is_an_error_that_names_it(tmp_path: Path, line: str, fault: str) -> None:
    path = write(tmp_path / "g.txt", "a 1 2 3\n", "b 1 2 3\n", line)
    with pytest.raises(WeightsError, match=rf"vectors: .*g\.txt, line 3: has {fault}"):
        glove.read_glove(path, {"a", "word"})


@pytest.mark.parametrize("content", ["PK\x03\x04binary\n", "a b c\n", "\n"])
def test_a_file_of_another_format_is_an_error(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "g.txt", content)
    with pytest.raises(WeightsError, match=r"line 1: has no word with values"):
        glove.read_glove(path, {"a"})
    with pytest.raises(WeightsError, match=r"line 1: has no word with values"):
        glove.require(path)


@pytest.mark.parametrize("content", ["", "2 3\n", "2 3\n\n \n"])
def test_a_file_without_vectors_is_not_blamed_on_its_language(tmp_path: Path, content: str) -> None:
    with pytest.raises(WeightsError, match=r"vectors: .*g\.txt holds no vectors; unpack or fetch"):
        glove.select(write(tmp_path / "g.txt", content), ["what"])


def test_a_mark_at_the_start_of_a_file_is_no_part_of_its_first_word(tmp_path: Path) -> None:
    path = tmp_path / "g.txt"
    path.write_text("what 1 2\n", encoding="utf-8-sig")
    glove.require(path)
    assert glove.select(path, ["what"])[0] == ["<pad>", "<unk>", "what"]


def test_a_first_line_that_is_not_finite_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "g.txt", "what 1 nan\n", "else 1 2\n")
    with pytest.raises(WeightsError, match="line 1: has values that are not finite numbers"):
        glove.select(path, ["what"])


def test_a_missing_file_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"vectors: .*nothere\.txt.*2\.2 GB.*https://.*5\.6 GB.*data/weights"
    ):
        glove.read_glove(tmp_path / "nothere.txt", {"a"})


def test_vocabulary_is_padding_unknown_then_the_used_words_sorted(tmp_path: Path) -> None:
    path = write(tmp_path / "g.txt", "the 1 1\n", "hello 2 0\n", "Hello 0 2\n", "zoo 5 5\n")
    words, vectors = glove.select(path, ["The", "Hello", "qqq"])
    assert words == ["<pad>", "<unk>", "Hello", "the"]
    assert vectors.tolist() == [[0, 0], [0.5, 1.5], [0, 2], [1, 1]]  # unknown: the mean


def test_the_files_own_vector_of_unknown_words_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "g.txt", "the 1 1\n", "<unk> 7 8\n")
    words, vectors = glove.select(path, ["the"])
    assert words == ["<pad>", "<unk>", "the"]
    assert vectors[1].tolist() == [7, 8]


def test_vectors_of_another_language_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no vector of any word of the corpus"):
        glove.select(write(tmp_path / "g.txt", "quoi 1 1\n"), ["what"])


# The extractor

TEXTS = ["[LAUGHTER] I am sad.", "", "I don't", "[LAUGHTER]", "I am sad . " * 4]
SAD = ["i", "am", "sad", "."]


@pytest.fixture
def extractor(tmp_path: Path) -> Glove:
    lines = ["i 1 0", "am 0 1", "sad 1 1", "laughter 2 2", "do 3 3", "n't 4 4", ". 5 5", "zoo 6 6"]
    return Glove(vectors=str(write(tmp_path / "g.txt", "\n".join(lines))))


def read(
    extractor: Glove, texts: list[str], marks: Literal["word", "drop"] = "word"
) -> tuple[list[list[str]], list[str]]:
    """Spell each utterance by the corpus's vocabulary; and the problems."""
    context = text_context(marks)
    state = extractor.prepare(spoken(*texts), context)
    found = extractor.extract(spoken(*texts), state, context)
    assert {steps.values.dtype for steps in found} == {np.dtype(np.int32)}
    words = [state["vocabulary"][steps.values].tolist() for steps in found]
    return words, [steps.problem for steps in found]


def test_utterances_are_rows_of_the_vocabulary(extractor: Glove) -> None:
    words, problems = read(extractor, TEXTS)
    assert words == [["laughter", *SAD], [], ["i", "do", "n't"], ["laughter"], SAD * 4]
    assert problems == ["", "there is no transcript of it", "", "", ""]


def test_dropped_marks_leave_no_words(extractor: Glove) -> None:
    words, problems = read(extractor, TEXTS, "drop")
    assert words == [SAD, [], ["i", "do", "n't"], [], SAD * 4]
    assert problems[3] == "no words in its transcript: [LAUGHTER]"
    state = extractor.prepare(spoken(*TEXTS), text_context("drop"))
    assert "laughter" not in state["vocabulary"]


def test_the_state_holds_the_vectors_of_what_the_corpus_uses(extractor: Glove) -> None:
    state = extractor.prepare(spoken(*TEXTS), text_context())
    expected = ["<pad>", "<unk>", ".", "am", "do", "i", "laughter", "n't", "sad"]
    assert state["vocabulary"].tolist() == expected
    assert state["vectors"].dtype == np.float32
    assert state["vectors"][[0, 2, 3]].tolist() == [[0, 0], [5, 5], [0, 1]]


def test_a_word_that_the_corpus_of_the_state_lacks_is_unknown(extractor: Glove) -> None:
    context = text_context()
    state = extractor.prepare(spoken("I am"), context)
    (steps,) = extractor.extract(spoken("I am sad"), state, context)
    assert state["vocabulary"][steps.values].tolist() == ["i", "am", "<unk>"]


def test_a_corpus_without_any_words_has_an_empty_sequence(extractor: Glove) -> None:
    words, problems = read(extractor, [""])
    assert words == [[]] and problems[0]


def test_a_copy_sent_to_another_process_gives_the_same_bytes(extractor: Glove) -> None:
    context = text_context()
    state = extractor.prepare(spoken(*TEXTS), context)
    first = extractor.extract(spoken(*TEXTS), state, context)
    copy, copied = pickle.loads(pickle.dumps((extractor, state)))
    for one, other in zip(first, copy.extract(spoken(*TEXTS), copied, context), strict=True):
        assert one.values.tobytes() == other.values.tobytes()


def test_identity_knows_what_decides_the_values(extractor: Glove, tmp_path: Path) -> None:
    identity = extractor.identity(text_context())
    assert identity["version"] == Glove.version
    assert identity["parameters"]["marks"] == "word"
    assert list(identity["weights"]) == ["g.txt"]
    assert str(tmp_path) not in str(identity)
    assert extractor.identity(text_context("drop")) != identity
    path = Path(extractor.vectors)
    write(path, path.read_text().replace("sad 1 1", "sad 1 2.5"))
    assert extractor.identity(text_context())["weights"] != identity["weights"]


def test_without_its_file_it_has_no_identity(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"vectors: .*nothere\.txt cannot be read .*2\.2 GB"):
        Glove(vectors=str(tmp_path / "nothere.txt")).files()
