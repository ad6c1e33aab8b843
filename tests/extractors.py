"""What extractors are tested with: sounds, spoken texts, tiny networks, and where they run."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile

from pipeline import params
from pipeline.corpus.utterance import Source, Utterance
from pipeline.features.extractor import Context, Extractor, Steps
from pipeline.system.torchvision_shim import torchvision_operators

RATE = 16000
DIALOG = "Ses01F_impro01"

_numbers = count()


def vowel(
    seconds: float, pitch: float = 150.0, loudness: float = 0.1, glide: float = 0.0
) -> np.ndarray:
    """Make a voiced sound: harmonics of a pitch that rises by `glide` Hz per second."""
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * (pitch * time + glide * time**2 / 2)
    waves = [np.sin(k * phase) / k for k in range(1, 15)]
    return (loudness * np.sum(waves, axis=0)).astype(np.float32)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def audio_context(root: Path, rate: int = RATE) -> Context:
    return Context(root, "cpu", params.Audio(sampling_rate=rate, streams={}))


def recorded(root: Path, signal: np.ndarray, rate: int = RATE, start: float = 0.0) -> Utterance:
    """An utterance whose recording holds just these samples."""
    name = f"{next(_numbers)}.wav"
    soundfile.write(root / name, signal, rate, subtype="FLOAT")
    return Utterance("U", DIALOG, start, start + len(signal) / rate, audio=Source(name))


def heard(root: Path, extractor: Extractor, signal: np.ndarray, rate: int = RATE) -> Steps:
    """What an extractor of sound makes of a signal."""
    (steps,) = extractor.extract([recorded(root, signal, rate)], {}, audio_context(root, rate))
    return steps


def text_context(marks: Literal["word", "drop"] = "word") -> Context:
    shared = params.Text(marks=marks, include_text=True, streams={})
    return Context(Path("nowhere"), "cpu", shared)


def spoken(*texts: str) -> list[Utterance]:
    return [
        Utterance(f"{DIALOG}_F{number:03}", DIALOG, text=text) for number, text in enumerate(texts)
    ]


PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "laughter", "i", "am", "sad", "do", "not"]
PIECES += ["know", "run", "##ning", "'", "t", "don", ".", "?", "m"]
LAYERS, SIZE, LIMIT = 2, 16, 12


def save_bert(folder: Path) -> str:
    """Save a BERT of two layers and twenty word pieces, which reads twelve tokens."""
    torchvision_operators()
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

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
    return str(folder)


def save_network(folder: Path, config: Any) -> None:
    """Save a network of transformers with random weights, so large that its layers differ."""
    torchvision_operators()
    import torch
    from transformers import AutoModel

    torch.manual_seed(0)
    network = AutoModel.from_config(config)
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    network.save_pretrained(folder)
