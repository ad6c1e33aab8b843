"""Hidden states of a pretrained BERT, one per subword token.

Devlin et al., "BERT: Pre-training of deep bidirectional transformers for language understanding",
NAACL 2019. Other encoders of transformers with the same interface can be used too. States of the
special tokens around a text ([CLS], [SEP]) are left out, so that each step belongs to a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.corpus.utterance import Utterance
from pipeline.features import pretrained
from pipeline.features.extractor import Context, NetworkExtractor, State, Steps
from pipeline.features.pretrained import WeightsError
from pipeline.features.words import fault, normalise
from pipeline.params.types import OwnPath
from pipeline.system.filesystem import unreadable

if TYPE_CHECKING:
    import torch


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


class Bert(NetworkExtractor):
    """Hidden states [T, D] of the subword tokens, without special tokens.

    Attributes
    ----------
    model
        A folder, ``package:<module>/<folder>``, or a model name of the Hugging Face hub.
    layers
        The hidden layer to use: 0 for the embeddings, -1 for the last layer.
    """

    kind: ClassVar = "tokens"
    version: ClassVar = 1
    reads: ClassVar = ("marks",)
    libraries: ClassVar = ("tokenizers", "torch", "transformers")

    extractor: Literal["transformers"] = "transformers"
    model: OwnPath
    layers: list[int] = Field(default_factory=lambda: [-1], min_length=1, max_length=1)

    @property
    def group(self) -> int:
        """Several full batches, so that a batch can consist of texts of similar length."""
        return _BATCHES * self.batch_size

    def files(self) -> dict[str, str]:
        return pretrained.bert_identity(self.model)

    def prepare(self, utterances: Sequence[Utterance], context: Context) -> State:
        """``vocabulary``: all tokens of the tokenizer, in the order of their ids.

        Raises
        ------
        WeightsError
            If there is no such model, or the model has no such layer.
        """
        tokenizer, config = _tokenizer(self.model)
        self._layer(config)
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

    def _layer(self, config: Any) -> int:
        """The layer whose states are used.

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
        """Split each text into subword tokens, truncated to the longest input of the model."""
        tokenizer, config = _tokenizer(self.model)
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

    torchvision_operators()  # transformers imports torchvision if it is installed
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
        raise WeightsError(f"model: {folder} is not a model of transformers: {error}") from error


@cache
def _model(name: str, device: str) -> torch.nn.Module:
    """The model, loaded once per process.

    Raises
    ------
    WeightsError
        If its weights cannot be read, or do not fit its configuration.
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
    # transformers initialises missing weights at random; hidden states do not use the pooler
    missing = sorted(key for key in loaded["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise WeightsError(
            f"model: the weights in {folder} lack {missing[0]} and {len(missing) - 1} more "
            f"parameters that its config.json requires; {remedy}"
        )
    return model.to(device).eval()
