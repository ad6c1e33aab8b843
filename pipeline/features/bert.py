"""States of the subword tokens of a text in a pretrained BERT.

Devlin et al., "BERT: Pre-training of deep bidirectional transformers for language understanding",
NAACL 2019; any model of transformers that is built alike will do. The special tokens around a
text ([CLS], [SEP]) are left out of the result, so that each step belongs to a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import weights
from pipeline.features.words import TextError
from pipeline.filesystem import unreadable

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Encoded:
    """Subword tokens of a text."""

    ids: list[int]  # with the special tokens
    keep: np.ndarray  # [ids] bool: false for special tokens
    total: int  # tokens before the text was cut to what the model reads

    @property
    def tokens(self) -> np.ndarray:
        """Ids without the special tokens, [T]."""
        return np.array(self.ids)[self.keep]


class Bert:
    """Token states of a pretrained BERT.

    Parameters
    ----------
    name
        As for :func:`pipeline.weights.bert_folder`.
    layer
        Index into the hidden layers; 0 is the embeddings, -1 the last layer.
    batch_size
        Utterances a batch.
    device
        A torch device's name.

    Raises
    ------
    TextError
        If there is no model, or it has no such layer.
    """

    def __init__(self, name: str, layer: int, batch_size: int, device: str) -> None:
        self.folder = weights.bert_folder(name)
        self.layer = layer
        self.batch_size = batch_size
        self.device = device
        self.tokenizer, config = _tokenizer(self.folder)
        layers = config.num_hidden_layers
        if not -layers - 1 <= layer <= layers:
            raise TextError(
                f"text.bert_layer: is {layer}, but {name} has the layers 0 (its embeddings) to "
                f"{layers}, or {-layers - 1} to -1"
            )
        self.size: int = config.hidden_size
        self.limit = min(self.tokenizer.model_max_length, config.max_position_embeddings)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Split each text into subword tokens, cut to what the model can read."""
        if not texts:
            return []
        split = self._split(list(texts))
        return [
            self._cut(text, ids, special)
            for text, ids, special in zip(
                texts, split["input_ids"], split["special_tokens_mask"], strict=True
            )
        ]

    def _cut(self, text: str, ids: list[int], special: list[int]) -> Encoded:
        """Tokens of a text that is split already, and is again if the model cannot read it all."""
        total = special.count(0)
        if len(ids) > self.limit:
            cut = self._split(text, truncation=True, max_length=self.limit)
            ids, special = cut["input_ids"], cut["special_tokens_mask"]
        return Encoded(ids, np.array(special) == 0, total)

    def _split(self, texts: str | list[str], **options: Any) -> Any:
        return self.tokenizer(texts, return_special_tokens_mask=True, verbose=False, **options)

    def states(self, encoded: Sequence[Encoded]) -> list[np.ndarray]:
        """States of the tokens of each text, without its special tokens.

        Batches hold texts of like length; the attention mask keeps padding out, so that a text's
        states are the same in any batch but for the last bits.

        Returns
        -------
        list of numpy.ndarray
            [T, size] float32 for each text.
        """
        import torch

        states = [np.zeros((0, self.size), np.float32)] * len(encoded)
        order = [i for i in range(len(encoded)) if encoded[i].keep.any()]
        order.sort(key=lambda i: len(encoded[i].ids))
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            batch = self.tokenizer.pad(
                {"input_ids": [encoded[i].ids for i in chosen]},
                padding_side="right",
                return_attention_mask=True,
                return_tensors="pt",
            ).to(self.device)
            with torch.inference_mode():
                model = _model(self.folder, self.device)
                hidden = model(**batch, output_hidden_states=True).hidden_states[self.layer]
            for i, values in zip(chosen, hidden.float().cpu().numpy(), strict=True):
                states[i] = values[: len(encoded[i].ids)][encoded[i].keep]
        return states


@cache
def _tokenizer(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and configuration of a model."""
    from pipeline.torchvision_shim import torchvision_operators

    torchvision_operators()  # transformers imports torchvision wherever it is installed
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        return (
            transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True),
            transformers.AutoConfig.from_pretrained(folder, local_files_only=True),
        )
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise TextError(f"text.bert: {unreadable(folder, error)}") from error
        raise TextError(f"text.bert: {folder} holds no model of transformers: {error}") from error


@cache
def _model(folder: Path, device: str) -> torch.nn.Module:
    """One model a process, since it is not sent to another."""
    _tokenizer(folder)
    import transformers

    return transformers.AutoModel.from_pretrained(folder, local_files_only=True).to(device).eval()
