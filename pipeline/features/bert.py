"""States of the subword tokens of a text in a pretrained BERT.

Devlin et al., "BERT: Pre-training of deep bidirectional transformers for language understanding",
NAACL 2019; any model of transformers that is built alike will do. The special tokens around a
text ([CLS], [SEP]) are left out of the result, so that each step belongs to a word.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.features.words import TextError
from pipeline.torchvision_shim import torchvision_operators

if TYPE_CHECKING:
    import torch

WEIGHTS = ("*.safetensors", "pytorch_model.bin")
TOKENIZER = ("tokenizer.json", "vocab*")
SETTINGS = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "merges.txt")
HUB_FILES = [*SETTINGS, *TOKENIZER, "*.safetensors"]  # not the same weights twice


def model_folder(name: str) -> Path:
    """Locate the BERT that ``text.bert`` names.

    Parameters
    ----------
    name
        A folder, ``package:<module>/<folder>`` of an installed package, or a name of the Hugging
        Face hub, which is fetched into its cache unless it is there.

    Raises
    ------
    TextError
        If there is no model; the message says what to fetch and where to put it.
    """
    try:
        folder = _folder(name)
        for kind in (["config.json"], WEIGHTS, TOKENIZER):
            if not _matching(folder, kind):
                raise FileNotFoundError(f"it lacks {' or '.join(kind)}")
    except (OSError, ValueError, ImportError) as error:
        raise TextError(
            f"text.bert: there is no BERT at {name} ({error}). Give a folder that holds "
            "config.json, model.safetensors and the tokenizer's files (tokenizer.json or vocab.txt,"
            " tokenizer_config.json), such as the one that `hf download "
            "google-bert/bert-base-uncased --local-dir data/raw/bert-base-uncased` makes (440 MB);"
            " or a model name of the Hugging Face hub; or package:<module>/<folder>"
        ) from error
    return folder


def _folder(name: str) -> Path:
    if name.startswith("package:"):
        module, _, inside = name.removeprefix("package:").partition("/")
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            raise ImportError(f"there is no package {module}")
        return Path(spec.submodule_search_locations[0]) / inside
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, allow_patterns=HUB_FILES))


def _matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Files of a folder that match any of the patterns, by name."""
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


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
        As for :func:`model_folder`.
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
        self.folder = model_folder(name)
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

    def identity(self) -> dict[str, str]:
        """SHA-256 of each file of the model."""
        hashes = {}
        for path in _matching(self.folder, [*SETTINGS, *TOKENIZER, *WEIGHTS]):
            with path.open("rb") as file:
                hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        return hashes

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Split each text into subword tokens, cut to what the model can read."""
        if not texts:
            return []
        whole = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        cut = self.tokenizer(
            list(texts), truncation=True, max_length=self.limit, return_special_tokens_mask=True
        )
        return [
            Encoded(ids, np.array(special) == 0, len(all_ids))
            for ids, special, all_ids in zip(
                cut["input_ids"], cut["special_tokens_mask"], whole, strict=True
            )
        ]

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
                output = _model(self.folder, self.device)(**batch, output_hidden_states=True)
            hidden = output.hidden_states[self.layer].float().cpu().numpy()
            for i, values in zip(chosen, hidden, strict=True):
                states[i] = values[: len(encoded[i].ids)][encoded[i].keep]
        return states


@cache
def _tokenizer(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and configuration of a model."""
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
        raise TextError(f"text.bert: {folder} holds no model of transformers: {error}") from error


@cache
def _model(folder: Path, device: str) -> torch.nn.Module:
    """One model a process, since it is not sent to another."""
    _tokenizer(folder)
    import transformers

    return transformers.AutoModel.from_pretrained(folder, local_files_only=True).to(device).eval()
