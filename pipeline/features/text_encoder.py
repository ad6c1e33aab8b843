"""Hidden states of a pretrained language model, one per subword token.

Any encoder of transformers, such as BERT (Devlin et al., "BERT: Pre-training of deep bidirectional
transformers for language understanding", NAACL 2019), RoBERTa, DeBERTa or a sentence encoder; the
encoder of an encoder-decoder such as T5; and decoders such as GPT-2 or Llama. States of the special
tokens around a text ([CLS], [SEP]) are left out by default, so that each step belongs to a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from pipeline.corpus.utterance import Utterance
from pipeline.features import hub
from pipeline.features.batching import batches
from pipeline.features.extractor import Context, State, Steps
from pipeline.features.pretrained import WeightsError
from pipeline.features.transformer import Transformer, library
from pipeline.features.words import fault, normalise
from pipeline.system.compute import inference

if TYPE_CHECKING:
    import torch

_BATCHES = 16  # per group of dialogs
_TOKENS = 64  # per text of a full batch; batches of longer texts have fewer


@dataclass(frozen=True)
class Encoded:
    """Subword tokens of a text."""

    ids: list[int]  # with special tokens
    own: np.ndarray  # [ids] bool: false for special tokens
    total: int  # tokens before truncation, without special tokens


class TextEncoder(Transformer):
    """Hidden states of the subword tokens: [T, D], or [T, L, D] of several layers.

    Attributes
    ----------
    special_tokens
        Whether the special tokens that the tokenizer puts around a text are steps, too.
    """

    kind: ClassVar = "tokens"
    version: ClassVar = 1
    reads: ClassVar = ("marks",)
    also: ClassVar = hub.TOKENIZER
    later: ClassVar[tuple[str, ...]] = (*Transformer.later, "special_tokens")

    special_tokens: bool = False

    @property
    def group(self) -> int:
        """Several full batches, so that a batch can consist of texts of similar length.

        Fewer of several layers, since the states of a group are in memory together.
        """
        return self.batch_size * max(4, _BATCHES // len(self.layers))

    @property
    def network(self) -> str:  # type: ignore[override]  # depends on the model
        """A class that loads the text encoder alone, if transformers has one for the model."""
        config, classes = self.loaded("AutoConfig"), library()
        if self.part:
            return f"{type(config).__name__.removesuffix('Config')}TextModel"
        own = classes.MODEL_FOR_TEXT_ENCODING_MAPPING.get(type(config), None)
        is_alone = own is not None and own.__name__.endswith("EncoderModel")  # as T5
        return own.__name__ if is_alone else "AutoModel"

    @property
    def part(self) -> str:  # type: ignore[override]  # depends on the model
        """The text part of a model of pictures and words, such as CLIP."""
        mapping = library().MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING
        return "text_config" if type(self.loaded("AutoConfig")) in mapping else ""

    def net(self, device: str) -> torch.nn.Module:
        """The network, without its decoder if it also has an encoder."""
        network = super().net(device)
        if super().config().is_encoder_decoder:
            network = cast(Any, network).get_encoder()
        return network

    def config(self) -> Any:
        """The configuration of the part that reads text."""
        return super().config().get_text_config()

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, loaded once per process.

        Raises
        ------
        WeightsError
            If it needs a package that is not installed, or cannot be loaded.
        """
        folder, packages = self.pretrained.folder(), library().utils
        is_sentencepiece = not (folder / "tokenizer.json").exists() and any(folder.glob("*.model"))
        if is_sentencepiece and not (
            packages.is_sentencepiece_available() and packages.is_protobuf_available()
        ):
            raise WeightsError(
                f"model: the tokenizer in {folder} is a model of SentencePiece, which is read with "
                "the packages sentencepiece and protobuf; install them: "
                "pip install -c constraints.txt -e '.[sentencepiece]'"
            )
        return self.loaded("AutoTokenizer", truncation_side="right")

    def prepare(self, utterances: Sequence[Utterance], context: Context) -> State:
        """``vocabulary``: all tokens of the tokenizer, in the order of their ids.

        Raises
        ------
        WeightsError
            If there is no such model, or the model has no such layer.
        """
        super().prepare(utterances, context)
        tokens = {number: token for token, number in self.tokenizer.get_vocab().items()}
        # ids may have gaps, for example before tokens that were added later
        return {"vocabulary": np.array([tokens.get(i, "") for i in range(max(tokens) + 1)])}

    def trial(self, utterances: Sequence[Utterance], context: Context) -> None:
        """A full batch of texts of ordinary length, and the longest text of the corpus."""
        marks, device = context.shared.marks, context.device
        texts = self.encode([normalise(one.text, marks) for one in utterances], device)
        longest = max(texts, key=lambda text: len(text.ids), default=Encoded([], np.zeros(0), 0))
        for length in {len(longest.ids), min(len(longest.ids), _TOKENS)} - {0}:
            text = Encoded(longest.ids[:length], np.ones(length, bool), length)
            count = min(self.batch_size, max(1, self.batch_size * _TOKENS // length))
            self.states([text] * count, device)

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        """Hidden states and token ids of each utterance."""
        marks, device = context.shared.marks, context.device
        texts = [normalise(utterance.text, marks) for utterance in utterances]
        encoded = self.encode(texts, device)
        features = []
        for utterance, text, values in zip(
            utterances, encoded, self.states(encoded, device), strict=True
        ):
            read = int(text.own.sum())
            problem = fault(utterance.text, read)
            if read < text.total:
                problem = f"cut: the model reads {read} of its {text.total} tokens"
            tokens = np.array(text.ids, np.int32)[self.steps(text)]
            features.append(Steps(values, tokens=tokens, problem=problem))
        return features

    def encode(self, texts: Sequence[str], device: str) -> list[Encoded]:
        """Split each text into subword tokens, truncated to the longest input of the model.

        Raises
        ------
        WeightsError
            If the network does not have all of these tokens.
        """
        limit, size = self.limit(device), self.config().vocab_size
        split = partial(self.tokenizer, return_special_tokens_mask=True, verbose=False)
        encoded = []
        for text in texts:
            tokens = split(text)
            total = tokens["special_tokens_mask"].count(0)
            if len(tokens["input_ids"]) > limit:
                tokens = split(text, truncation=True, max_length=limit)
            ids = tokens["input_ids"]
            if max(ids, default=0) >= size:
                raise WeightsError(
                    f"model: its tokenizer has a token {max(ids)}, but its weights are of {size} "
                    "tokens; the tokenizer is that of another model"
                )
            encoded.append(Encoded(ids, np.array(tokens["special_tokens_mask"]) == 0, total))
        return encoded

    def limit(self, device: str) -> int:
        """The longest input of tokenizer and network in tokens, with special tokens."""
        limit = self.tokenizer.model_max_length
        positions = getattr(self.config(), "max_position_embeddings", None) or 0
        if positions <= 0:  # positions are relative only
            return limit
        for name, module in self.net(device).named_modules():
            # those of RoBERTa begin after the number of its padding token
            if name.endswith("position_embeddings") and module.padding_idx is not None:
                positions -= module.padding_idx + 1
        return min(limit, positions)

    def steps(self, text: Encoded) -> np.ndarray:
        """Which tokens are steps, [ids] bool; none of a text without own tokens."""
        return text.own | (self.special_tokens and text.own.any())

    def batches(self, encoded: Sequence[Encoded]) -> list[list[int]]:
        """The indices of the texts of each batch; texts without steps are in none."""
        read = [i for i in range(len(encoded)) if self.steps(encoded[i]).any()]
        found = batches(
            [len(encoded[i].ids) for i in read],
            most=self.batch_size,
            room=self.batch_size * _TOKENS,
            # the input of each token has the next token's embedding in it, also that of padding
            padded=self.config().model_type != "mobilebert",
        )
        return [[read[index] for index in batch] for batch in found]

    def states(self, encoded: Sequence[Encoded], device: str) -> list[np.ndarray]:
        """Hidden states of the steps of each text.

        Batches consist of texts of similar length. The attention mask excludes padding, so that the
        states of a text depend on the rest of its batch in their last bits only.

        Returns
        -------
        list of numpy.ndarray
            [T, D] float32 for each text; [T, L, D] of several layers.

        Raises
        ------
        WeightsError
            If the network does not have a state of the same size per token in each layer.
        """
        import torch
        from torch.nn.utils.rnn import pad_sequence

        network, layers = self.net(device), self.layer_numbers()
        depth, width = self.depth(), self.config().hidden_size
        shape = (len(layers), width) if len(layers) > 1 else (width,)
        states = [np.zeros((0, *shape), np.float32)] * len(encoded)
        for chosen in self.batches(encoded):
            rows = [torch.tensor(encoded[i].ids) for i in chosen]
            ids = pad_sequence(rows, batch_first=True)  # any token: the mask hides it
            mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
            with inference():
                hidden = network(
                    input_ids=ids.to(device),
                    attention_mask=mask.to(device),
                    output_hidden_states=True,
                ).hidden_states
            shapes = {hidden[layer].shape for layer in layers if len(hidden) == depth + 1}
            if shapes != {(*ids.shape, width)}:
                raise WeightsError(
                    f"layers: {self.model} does not have a state of {width} values per token in "
                    f"each of the layers {self.layers}"
                )
            values = torch.stack([hidden[layer] for layer in layers], dim=2)
            values = values.reshape(*ids.shape, *shape).float().cpu()
            for i, own in zip(chosen, values.numpy(), strict=True):
                states[i] = own[: len(encoded[i].ids)][self.steps(encoded[i])]
        return states
