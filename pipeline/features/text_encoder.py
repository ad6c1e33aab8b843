"""Hidden states of a pretrained BERT, one per subword token.

Devlin et al., "BERT: Pre-training of deep bidirectional transformers for language understanding",
NAACL 2019. Other encoders of transformers with the same interface can be used too. States of the
special tokens around a text ([CLS], [SEP]) are left out, so that each step belongs to a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from pipeline.corpus.utterance import Utterance
from pipeline.features import hub
from pipeline.features.extractor import Context, State, Steps
from pipeline.features.transformer import Transformer
from pipeline.features.words import fault, normalise

_BATCHES = 16  # per group of dialogs


@dataclass(frozen=True)
class Encoded:
    """Subword tokens of a text."""

    ids: list[int]  # with special tokens
    keep: np.ndarray  # [ids] bool: false for special tokens
    total: int  # tokens before truncation, without special tokens

    @property
    def tokens(self) -> np.ndarray:
        """Ids without special tokens, [T]."""
        return np.array(self.ids)[self.keep]


class TextEncoder(Transformer):
    """Hidden states of the subword tokens, without special tokens: [T, D], or [T, L, D]."""

    kind: ClassVar = "tokens"
    version: ClassVar = 1
    reads: ClassVar = ("marks",)
    also: ClassVar = hub.TOKENIZER

    @property
    def group(self) -> int:
        """Several full batches, so that a batch can consist of texts of similar length."""
        return _BATCHES * self.batch_size

    def prepare(self, utterances: Sequence[Utterance], context: Context) -> State:
        """``vocabulary``: all tokens of the tokenizer, in the order of their ids.

        Raises
        ------
        WeightsError
            If there is no such model, or the model has no such layer.
        """
        tokenizer = self.loaded("AutoTokenizer")
        self.layer_numbers()
        tokens = {number: token for token, number in tokenizer.get_vocab().items()}
        # ids may have gaps, for example before tokens that were added later
        return {"vocabulary": np.array([tokens.get(i, "") for i in range(max(tokens) + 1)])}

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        """Hidden states and token ids of each utterance."""
        marks = context.shared.marks
        encoded = self.encode([normalise(utterance.text, marks) for utterance in utterances])
        features = []
        for utterance, text, values in zip(
            utterances, encoded, self.states(encoded, context.device), strict=True
        ):
            kept = len(text.tokens)
            problem = fault(utterance.text, kept)
            if kept < text.total:
                problem = f"cut: BERT reads {kept} of its {text.total} tokens"
            features.append(Steps(values, tokens=text.tokens.astype(np.int32), problem=problem))
        return features

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Split each text into subword tokens, truncated to the longest input of the model."""
        tokenizer, config = self.loaded("AutoTokenizer"), self.config()
        limit = min(tokenizer.model_max_length, config.max_position_embeddings)
        split = partial(tokenizer, return_special_tokens_mask=True, verbose=False)
        encoded = []
        for text in texts:
            tokens = split(text)
            total = tokens["special_tokens_mask"].count(0)
            if len(tokens["input_ids"]) > limit:
                tokens = split(text, truncation=True, max_length=limit)
            keep = np.array(tokens["special_tokens_mask"]) == 0
            encoded.append(Encoded(tokens["input_ids"], keep, total))
        return encoded

    def states(self, encoded: Sequence[Encoded], device: str) -> list[np.ndarray]:
        """Hidden states of the tokens of each text, without special tokens.

        Batches consist of texts of similar length. The attention mask excludes padding, so that the
        states of a text depend on the rest of its batch in their last bits only.

        Returns
        -------
        list of numpy.ndarray
            [T, D] float32 for each text; [T, L, D] of several layers.
        """
        import torch

        tokenizer, network = self.loaded("AutoTokenizer"), self.net(device)
        layers = self.layer_numbers()
        row = (
            (len(layers), self.config().hidden_size)
            if len(layers) > 1
            else (self.config().hidden_size,)
        )
        states = [np.zeros((0, *row), np.float32)] * len(encoded)
        order = [i for i in range(len(encoded)) if encoded[i].keep.any()]
        order.sort(key=lambda i: len(encoded[i].ids))
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            batch = tokenizer.pad(
                {"input_ids": [encoded[i].ids for i in chosen]},
                padding_side="right",
                return_attention_mask=True,
                return_tensors="pt",
            ).to(device)
            with torch.inference_mode():
                hidden = network(**batch, output_hidden_states=True).hidden_states
                values = torch.stack([hidden[layer] for layer in layers], dim=2)
            values = values.reshape(*values.shape[:2], *row)
            for i, own in zip(chosen, values.float().cpu().numpy(), strict=True):
                states[i] = own[: len(encoded[i].ids)][encoded[i].keep]
        return states
