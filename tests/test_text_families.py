"""Families of language models: each layer of each, against the model run on one text at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.features.extractor import Steps
from pipeline.features.pretrained import WeightsError
from pipeline.features.text_encoder import TextEncoder
from pipeline.features.transformer import library
from tests.extractors import spoken, text_context

LIMIT = 12  # tokens that a model with positions reads, with special tokens
TEXTS = ["I am sad.", "so", "", "I do not know if I am running or not", "so it is", "no " * 20]
LETTERS = list("abcdefghijklmnopqrstuvwxyzI.")
WORDS = ["so", "no", "it", "is", "am", "not", "sad", "do", "if", "or"]


def word_pieces(name: str, **tokens: str) -> Any:
    special = list(tokens.values()) or ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS), "i"]
    return getattr(library(), name)(vocab=dict(zip(pieces, range(99), strict=False)), **tokens)


def sentence_pieces(name: str, *special: str, **options: Any) -> Any:
    pieces = [(piece, 0.0) for piece in special]
    pieces += [(f"▁{word}", -2.0 - n / 9) for n, word in enumerate(WORDS)]
    pieces += [(piece, -9.0 - n / 9) for n, piece in enumerate(["▁", *LETTERS])]
    return getattr(library(), name)(vocab=pieces, **options)


def byte_pairs(name: str, *special: str, space: str = "\u0120", **options: Any) -> Any:
    pieces = [*special, *LETTERS, space, f"{space}n", f"{space}no", f"{space}s", f"{space}so"]
    merges = [(space, "n"), (f"{space}n", "o"), (space, "s"), (f"{space}s", "o")]
    vocabulary = dict(zip(pieces, range(99), strict=False))
    return getattr(library(), name)(vocab=vocabulary, merges=merges, **options)


def roberta(name: str = "RobertaTokenizer") -> Any:
    return byte_pairs(name, "<s>", "<pad>", "</s>", "<unk>", "<mask>")


def xlm_roberta() -> Any:
    return sentence_pieces("XLMRobertaTokenizer", "<s>", "<pad>", "</s>", "<unk>")


def deberta() -> Any:
    special = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
    return sentence_pieces("DebertaV2Tokenizer", *special, unk_id=3)


def llama() -> Any:
    special = ("<unk>", "<s>", "</s>")
    return byte_pairs("LlamaTokenizer", *special, space="▁", add_bos_token=True)


SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": LIMIT,
}
FROM_PADDING = {**SMALL, "max_position_embeddings": LIMIT + 2, "pad_token_id": 1}
DISENTANGLED = {
    **SMALL,
    "relative_attention": True,
    "position_buckets": 4,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "conv_kernel_size": 3,
}
DECODER = {**SMALL, "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": None}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
BART = {
    f"{part}_{key}": n
    for part in ("encoder", "decoder")
    for key, n in (("layers", 2), ("ffn_dim", 32), ("attention_heads", 2))
}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": LIMIT, "bos_token_id": 0}
CLIP = {"text_config": {**SMALL, "eos_token_id": 1}, "vision_config": {**SMALL, "image_size": 32}}


@dataclass(frozen=True)
class Family:
    """How a small model of a family is made, and its text encoder run by itself."""

    tokenizer: Any
    config: dict[str, Any]
    saved: str = ""  # the class of the saved model, if it is not <family>Model
    plain: str = "AutoModel"  # the class that reads text
    limit: int = LIMIT
    special: int = 2  # special tokens around a text


FAMILIES = {
    "Bert": Family(lambda: word_pieces("BertTokenizer"), SMALL),
    "Roberta": Family(roberta, FROM_PADDING, saved="RobertaForMaskedLM"),
    "XLMRoberta": Family(xlm_roberta, FROM_PADDING),
    "MPNet": Family(
        lambda: word_pieces(
            "MPNetTokenizer", bos_token="<s>", pad_token="<pad>", eos_token="</s>",
            unk_token="[UNK]", mask_token="<mask>",
        ),
        FROM_PADDING,
    ),
    "DebertaV2": Family(deberta, DISENTANGLED),
    "Albert": Family(
        lambda: sentence_pieces("AlbertTokenizer", "<pad>", "<unk>", "[CLS]", "[SEP]"),
        {**SMALL, "embedding_size": 8},
    ),
    "Electra": Family(
        lambda: word_pieces("BertTokenizer"), {**SMALL, "embedding_size": 8},
        saved="ElectraForPreTraining",
    ),
    "MobileBert": Family(
        lambda: word_pieces("BertTokenizer"),
        {**SMALL, "embedding_size": 16, "intra_bottleneck_size": 8, "true_hidden_size": 8},
    ),
    "T5": Family(
        lambda: sentence_pieces("T5Tokenizer", "<pad>", "</s>", "<unk>", extra_ids=0),
        T5, saved="T5ForConditionalGeneration", plain="T5EncoderModel", limit=99, special=1,
    ),
    "MT5": Family(
        lambda: sentence_pieces("T5Tokenizer", "<pad>", "</s>", "<unk>", extra_ids=0),
        T5, saved="MT5EncoderModel", plain="MT5EncoderModel", limit=99, special=1,
    ),
    "Bart": Family(roberta, {**BART, "d_model": 16, "max_position_embeddings": LIMIT}),
    "GPT2": Family(lambda: byte_pairs("GPT2Tokenizer", "<|endoftext|>"), GPT2,
                   saved="GPT2LMHeadModel", special=0),
    "Llama": Family(llama, DECODER, saved="LlamaForCausalLM", special=1),
    "Qwen3": Family(lambda: byte_pairs("Qwen2Tokenizer", "<|endoftext|>"), DECODER, special=0),
    "Gemma3Text": Family(llama, {**DECODER, "sliding_window": 4}, saved="Gemma3ForCausalLM",
                         special=1),
    "CLIP": Family(
        lambda: byte_pairs("CLIPTokenizer", "<|startoftext|>", "<|endoftext|>", space="s</w>"),
        CLIP, plain="CLIPTextModel",
    ),
}  # fmt: skip


@cache
def saved(family: str, folder: Path) -> str:
    """Save a small random model and its tokenizer, which knows no limit of its own."""
    import torch

    made, classes = FAMILIES[family], library()
    tokenizer = made.tokenizer()
    size = {"vocab_size": max(tokenizer.get_vocab().values()) + 3}
    options = dict(made.config)
    if "text_config" in options:
        options["text_config"] = {**options["text_config"], **size}
    else:
        options |= size
    torch.manual_seed(0)
    model = getattr(classes, made.saved or f"{family}Model")(
        getattr(classes, f"{family}Config")(**options)
    )
    for parameter in model.parameters():  # far from the small values that they begin with
        parameter.data.normal_(0, 0.3)
    model.save_pretrained(folder / family)
    tokenizer.save_pretrained(folder / family)
    return str(folder / family)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.getbasetemp() / "families"
    return FAMILIES[request.param], saved(request.param, folder)


def read(extractor: TextEncoder, *texts: str) -> list[Steps]:
    context = text_context()
    said = spoken(*texts)
    return extractor.extract(said, extractor.prepare(said, context), context)


def plain(family: Family, folder: str, text: str) -> tuple[np.ndarray, np.ndarray]:
    """All layers [T, L, D] of one text alone, and which of its tokens are its own."""
    import torch

    classes = library()
    tokens = classes.AutoTokenizer.from_pretrained(folder)(
        text, truncation=True, max_length=family.limit, return_special_tokens_mask=True
    )
    network = getattr(classes, family.plain).from_pretrained(folder).eval()
    if network.config.is_encoder_decoder and family.plain == "AutoModel":
        network = network.encoder
    with torch.inference_mode():
        states = network(input_ids=torch.tensor([tokens["input_ids"]]), output_hidden_states=True)
    return (
        torch.stack(states.hidden_states, dim=2)[0].numpy(),
        np.array(tokens["special_tokens_mask"]) == 0,
    )


@pytest.mark.parametrize("batch_size", [6, 2])
def test_every_layer_is_that_of_one_text_at_a_time(family: Any, batch_size: int) -> None:
    made, folder = family
    options: dict[str, Any] = {"model": folder, "layers": [0, 1, -1], "batch_size": batch_size}
    found = read(TextEncoder(**options), *TEXTS)
    special = read(TextEncoder(**options, special_tokens=True), *TEXTS)
    for text, steps, whole in zip(TEXTS, found, special, strict=True):
        if not text:
            assert steps.values.shape == whole.values.shape == (0, 3, 16)
            assert steps.problem == whole.problem == "there is no transcript of it"
            continue
        expected, own = plain(made, folder, text)
        assert (~own).sum() == made.special and own.any()
        np.testing.assert_allclose(steps.values, expected[own], atol=1e-4)
        np.testing.assert_allclose(whole.values, expected, atol=1e-4)
        tokens, ids = np.asarray(steps.tokens), np.asarray(whole.tokens)
        np.testing.assert_array_equal(tokens, ids[own])


def test_in_half_precision_states_are_alike(family: Any) -> None:
    _, folder = family
    exact, half = (
        np.concatenate([
            steps.values for steps in read(TextEncoder(model=folder, precision=kind), *TEXTS)
        ])
        for kind in ("float32", "bfloat16")
    )  # fmt: skip
    assert half.dtype == np.float32 and half.shape == exact.shape
    assert 0 < np.abs(half - exact).mean() < 0.1 * np.abs(exact).mean()


def test_longer_texts_are_cut_to_what_the_network_reads(family: Any) -> None:
    made, folder = family
    *_, steps = read(TextEncoder(model=folder, layers=[0]), "so", "no " * 20)
    if made.limit > 20:
        assert steps.problem == ""
        return
    kept = made.limit - made.special
    assert len(steps.values) == kept
    assert steps.problem.startswith(f"cut: the model reads {kept} of its ")


def test_a_tokenizer_of_another_model_is_an_error(tmp_path: Path) -> None:
    folder = saved("Roberta", tmp_path)
    word_pieces("BertTokenizer").save_pretrained(folder)
    with pytest.raises(
        WeightsError, match=r"^model: its tokenizer has a token \d+, but its weights"
    ):
        read(TextEncoder(model=folder), "zzz")


def test_a_network_with_layers_of_other_sizes_is_an_error(tmp_path: Path) -> None:
    classes, tokenizer = library(), word_pieces("BertTokenizer")
    size = {"vocab_size": 99, "word_embed_proj_dim": 8, "ffn_dim": 32}
    classes.OPTModel(classes.OPTConfig(**SMALL, **size)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (steps,) = read(TextEncoder(model=str(tmp_path), layers=[1]), "so")
    assert steps.values.shape == (1, 16)
    with pytest.raises(WeightsError, match=r"^layers: .* does not have a state of 16 values"):
        read(TextEncoder(model=str(tmp_path)), "so")


def save_sentence_pieces(folder: Path) -> str:
    """Save a DeBERTa whose tokenizer is a model of SentencePiece only, as its authors do."""
    path = Path(saved("DebertaV2", folder))
    (path / "tokenizer.json").unlink()
    (path / "tokenizer_config.json").write_text("{}")
    return str(path)


def test_a_model_of_sentencepiece_gives_its_pieces(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = save_sentence_pieces(tmp_path)
    special = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
    names = {f"{name}_piece": piece for name, piece in special.items()}
    numbers = {f"{name}_id": number for number, name in enumerate(special)}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 9),
        model_prefix=f"{folder}/spm",
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
        **names,
        **numbers,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/spm.model")
    (steps,) = read(TextEncoder(model=folder), TEXTS[0])
    assert np.asarray(steps.tokens).tolist() == pieces.encode(TEXTS[0])


@pytest.mark.parametrize("package", ["sentencepiece", "protobuf"])
def test_a_model_of_sentencepiece_without_the_package_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    folder = save_sentence_pieces(tmp_path)
    Path(folder, "spm.model").write_bytes(b"pieces")
    monkeypatch.setattr(library().utils, f"is_{package}_available", lambda: False)
    with pytest.raises(WeightsError, match=r"^model: .*the packages sentencepiece and protobuf"):
        TextEncoder(model=folder).prepare([], text_context())
