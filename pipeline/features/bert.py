"""States of the subword tokens of a text in a pretrained BERT.

Devlin et al., "BERT: Pre-training of deep bidirectional transformers for language understanding",
NAACL 2019; any model of transformers that is built alike will do. The special tokens around a
text ([CLS], [SEP]) are left out of the result, so that each step belongs to a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.corpus.utterance import Utterance
from pipeline.features import pretrained
from pipeline.features.extractor import Context, Extractor, State, Steps, device_kind
from pipeline.features.pretrained import WeightsError
from pipeline.features.words import fault, normalise
from pipeline.params.types import Count, OwnPath
from pipeline.system.filesystem import unreadable

if TYPE_CHECKING:
    import torch


_BATCHES = 16  # of a group of dialogs


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


class Bert(Extractor):
    """States [T, D] of the subword tokens, without the special tokens.

    Attributes
    ----------
    model
        A folder, ``package:<module>/<folder>``, or a name of the Hugging Face hub.
    layers
        Which hidden layer is kept: 0 is the embeddings, -1 the last layer.
    batch_size
        Utterances per batch.
    """

    kind: ClassVar = "tokens"
    version: ClassVar = 1
    reads: ClassVar = ("marks",)
    libraries: ClassVar = ("tokenizers", "torch", "transformers")

    extractor: Literal["transformers"] = "transformers"
    model: OwnPath
    layers: list[int] = Field(default_factory=lambda: [-1], min_length=1, max_length=1)
    batch_size: Count = 32

    @property
    def group(self) -> int:
        """Full batches, so that one holds texts of like length."""
        return _BATCHES * self.batch_size

    def files(self) -> dict[str, str]:
        """SHA-256 of each file of the model."""
        return pretrained.bert_identity(self.model)

    def provenance(self, context: Context) -> dict[str, Any]:
        """Also the device and the size of batches."""
        own = {"device": device_kind(context), "batch_size": self.batch_size}
        return super().provenance(context) | own

    def prepare(self, utterances: Sequence[Utterance], context: Context) -> State:
        """``vocabulary``: all tokens of the tokenizer, by id.

        Raises
        ------
        WeightsError
            If there is no model, or it has no such layer.
        """
        tokenizer, config = _tokenizer(self.model)
        self._layer(config)
        tokens = {number: token for token, number in tokenizer.get_vocab().items()}
        # ids may have gaps, as before tokens that were added later
        return {"vocabulary": np.array([tokens.get(i, "") for i in range(max(tokens) + 1)])}

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        """States of each utterance, with its tokens' ids."""
        marks = context.shared.marks
        encoded = self.encode([normalise(utterance.text, marks) for utterance in utterances])
        found = []
        for utterance, text, values in zip(
            utterances, encoded, self.states(encoded, context.device), strict=True
        ):
            kept = len(text.tokens)
            problem = fault(utterance.text, kept)
            if kept < text.total:
                problem = f"cut: BERT reads {kept} of its {text.total} tokens"
            found.append(Steps(values, tokens=text.tokens.astype(np.int32), problem=problem))
        return found

    def _layer(self, config: Any) -> int:
        """The one layer that is kept.

        Raises
        ------
        WeightsError
            If the model has no such layer.
        """
        (layer,), layers = self.layers, config.num_hidden_layers
        if not -layers - 1 <= layer <= layers:
            raise WeightsError(
                f"layers: is {layer}, but {self.model} has the layers 0 (its embeddings) to "
                f"{layers}, or {-layers - 1} to -1"
            )
        return layer

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
        tokenizer, config = _tokenizer(self.model)
        limit = min(tokenizer.model_max_length, config.max_position_embeddings)
        if len(ids) > limit:
            cut = self._split(text, truncation=True, max_length=limit)
            ids, special = cut["input_ids"], cut["special_tokens_mask"]
        return Encoded(ids, np.array(special) == 0, total)

    def _split(self, texts: str | list[str], **options: Any) -> Any:
        tokenizer, _ = _tokenizer(self.model)
        return tokenizer(texts, return_special_tokens_mask=True, verbose=False, **options)

    def states(self, encoded: Sequence[Encoded], device: str) -> list[np.ndarray]:
        """States of the tokens of each text, without its special tokens.

        Batches hold texts of like length; the attention mask keeps padding out, so that a text's
        states are the same in any batch but for the last bits.

        Returns
        -------
        list of numpy.ndarray
            [T, D] float32 for each text.
        """
        import torch

        tokenizer, config = _tokenizer(self.model)
        layer = self._layer(config)
        states = [np.zeros((0, config.hidden_size), np.float32)] * len(encoded)
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
                model = _model(self.model, device)
                hidden = model(**batch, output_hidden_states=True).hidden_states[layer]
            for i, values in zip(chosen, hidden.float().cpu().numpy(), strict=True):
                states[i] = values[: len(encoded[i].ids)][encoded[i].keep]
        return states


@cache
def _tokenizer(name: str) -> tuple[Any, Any]:
    """Tokenizer and configuration of a model."""
    from pipeline.system.torchvision_shim import torchvision_operators

    torchvision_operators()  # transformers imports torchvision wherever it is installed
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    folder = pretrained.bert_folder(name)
    try:
        return (
            transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True),
            transformers.AutoConfig.from_pretrained(folder, local_files_only=True),
        )
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise WeightsError(f"model: {unreadable(folder, error)}") from error
        raise WeightsError(f"model: {folder} holds no model of transformers: {error}") from error


@cache
def _model(name: str, device: str) -> torch.nn.Module:
    """One model per process, since it is not sent to another.

    Raises
    ------
    WeightsError
        If its file of weights cannot be read, or is not that of the model's configuration.
    """
    _tokenizer(name)
    import transformers
    from safetensors import SafetensorError

    folder = pretrained.bert_folder(name)
    remedy = "fetch its files again"
    try:
        model, loaded = transformers.AutoModel.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno:
            raise WeightsError(f"model: {unreadable(folder, error)}") from error
        raise WeightsError(
            f"model: the weights in {folder} cannot be loaded: {error}; {remedy}"
        ) from error
    # transformers would fill them with random numbers; no state of a token comes from the pooler
    missing = sorted(key for key in loaded["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise WeightsError(
            f"model: the weights in {folder} lack {missing[0]} and {len(missing) - 1} more of what "
            f"its config.json describes; {remedy}"
        )
    return model.to(device).eval()
