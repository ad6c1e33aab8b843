"""Words of an utterance: GloVe token ids with their vectors, and BERT's token states."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import params, weights
from pipeline.features import glove
from pipeline.features.bert import Bert, Encoded
from pipeline.features.extraction import Problem
from pipeline.features.words import normalise, tokenise

if TYPE_CHECKING:
    import pandas as pd
    import torch

Read = tuple[list[Encoded], list[np.ndarray]]  # a dialog's texts with their states

_GROUP = 16  # full batches, so that one holds texts of like length


class TextExtractor:
    """GloVe ids and BERT states of the utterances of a table.

    Both vocabularies are those of the whole table, so they are made here at once. BERT reads
    groups of consecutive dialogs, since one has too few utterances for batches of like length.
    The table alone says which: the last bits of a state depend on the texts in its batch, and must
    not on the dialogs that an earlier run has finished.

    Parameters
    ----------
    settings
        The group ``text``.
    table
        Rows with the columns ``utterance`` and ``text``.
    device
        Where BERT runs.

    Raises
    ------
    TextError
        If vectors or model cannot be used, or the vectors know no word of the table.
    """

    def __init__(
        self, settings: params.Text, table: pd.DataFrame, device: str | torch.device = "cpu"
    ) -> None:
        self.settings = settings
        self.bert = Bert(settings.bert, settings.bert_layer, settings.batch_size, str(device))
        self._texts = {
            str(dialog): [normalise(text, settings.marks) for text in rows["text"]]
            for dialog, rows in table.groupby("dialog", sort=False)
        }
        self._group_of = self._groups(_GROUP * settings.batch_size)
        self._read: dict[str, Read] = {}
        tokens = {
            token for texts in self._texts.values() for text in texts for token in tokenise(text)
        }
        self.words, self.vectors = glove.select(Path(settings.glove), tokens)
        self._word_index = {word: index for index, word in enumerate(self.words)}

        used = {
            int(i)
            for texts in self._texts.values()
            for encoded in self.bert.encode(texts)
            for i in encoded.tokens
        }
        pieces = {i: self.bert.tokenizer.convert_ids_to_tokens(i) for i in used}
        order = sorted(used, key=lambda i: (pieces[i], i))
        self.pieces = [pieces[i] for i in order]
        self._piece_index = {piece: index for index, piece in enumerate(order)}

    def identity(self) -> dict[str, Any]:
        """All that decides the values: parameters, libraries, vectors, the model's files."""
        vectors = hashlib.sha256("\n".join(self.words).encode())
        vectors.update(self.vectors.tobytes())
        # token ids are indices into the vocabulary of all texts, and batches are made of them
        texts = hashlib.sha256(json.dumps(self._texts).encode())
        return {
            "parameters": self.settings.model_dump(include={"bert_layer", "marks", "batch_size"}),
            "versions": {name: version(name) for name in ("tokenizers", "torch", "transformers")},
            "glove": vectors.hexdigest(),
            "bert": weights.bert_identity(self.settings.bert),
            "texts": texts.hexdigest(),
        }

    def sources(self, rows: pd.DataFrame) -> list[Path]:
        """Nothing: the text is in the table itself."""
        return []

    def dialog(self, rows: pd.DataFrame) -> tuple[dict[str, np.ndarray], list[Problem]]:
        """Features of each row; without words an empty sequence and a problem.

        Parameters
        ----------
        rows
            All rows of one dialog of the table.

        Returns
        -------
        tuple
            Arrays ``bert/values`` [sum of T, D] float32 with ``bert/tokens`` [sum of T] int32,
            indices into ``bert/vocabulary``; ``glove/values`` [sum of T] int32, indices into
            ``glove/vocabulary``; ``bert/lengths`` and ``glove/lengths`` [n] int64; and the
            problems.
        """
        dialog = str(rows["dialog"].iloc[0])
        if dialog not in self._read:
            self._read.clear()  # never two groups in memory
            self._read = self._states(self._group_of[dialog])
        encoded, states = self._read.pop(dialog)
        words = [self._word_ids(text) for text in self._texts[dialog]]
        pieces = [self._piece_index[int(i)] for tokens in encoded for i in tokens.tokens]
        arrays = {
            "bert/values": np.concatenate(states),
            "bert/lengths": np.array([len(values) for values in states], np.int64),
            "bert/tokens": np.array(pieces, np.int32),
            "glove/values": np.array([i for ids in words for i in ids], np.int32),
            "glove/lengths": np.array([len(ids) for ids in words], np.int64),
        }
        problems = []
        for utterance, text, tokens in zip(rows["utterance"], rows["text"], encoded, strict=True):
            if fault := _fault(text, tokens):
                problems.append(Problem(utterance, fault))
        return arrays, problems

    def _groups(self, size: int) -> dict[str, list[str]]:
        """For each dialog the group it is in: consecutive dialogs of `size` utterances or more."""
        groups: dict[str, list[str]] = {}
        group: list[str] = []
        for dialog in self._texts:
            if sum(len(self._texts[name]) for name in group) >= size:
                group = []
            group.append(dialog)
            groups[dialog] = group
        return groups

    def _states(self, dialogs: Iterable[str]) -> dict[str, Read]:
        """Let BERT read some dialogs together."""
        encoded = {dialog: self.bert.encode(self._texts[dialog]) for dialog in dialogs}
        states = iter(self.bert.states([text for texts in encoded.values() for text in texts]))
        return {
            dialog: (texts, list(islice(states, len(texts)))) for dialog, texts in encoded.items()
        }

    def _word_ids(self, text: str) -> list[int]:
        """Row of the vectors for each word of a normalised text."""
        found = [glove.find(token, self._word_index) for token in tokenise(text)]
        return [self._word_index[word] for words in found for word in words]

    def constants(self) -> dict[str, np.ndarray]:
        """Vocabularies, and the vectors of GloVe's: row 0 padding, row 1 unknown."""
        return {
            "bert/vocabulary": np.array(self.pieces),
            "glove/vocabulary": np.array(self.words),
            "glove/vectors": self.vectors,
        }


def _fault(text: str, tokens: Encoded) -> str:
    """Say what is wrong with an utterance's text, if anything."""
    kept = len(tokens.tokens)
    if not text.strip():
        return "the corpus has no transcript of it"
    if not kept:
        return f"no words in its transcript: {text}"
    if kept < tokens.total:
        return f"cut: BERT reads {kept} of its {tokens.total} tokens"
    return ""
