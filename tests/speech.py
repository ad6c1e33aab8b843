"""Small speech encoders of each family, of random weights, with their preprocessors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.features.transformer import library

RATE = 16000
SIZE, LAYERS = 16, 2
_SIZES: dict[str, Any] = {
    "hidden_size": SIZE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
_GROUP = {"feat_extract_norm": "group", "do_stable_layer_norm": False}
_LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("Wav2Vec2", _GROUP),
    "wav2vec2-large": ("Wav2Vec2", _LAYER),
    "hubert": ("Hubert", _GROUP),
    "hubert-large": ("Hubert", _LAYER),
    "wavlm": ("WavLM", _GROUP),
    "wavlm-large": ("WavLM", _LAYER),
    "unispeech-sat": ("UniSpeechSat", _GROUP),
    "data2vec": ("Data2VecAudio", {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 7}),
    "conformer": ("Wav2Vec2Conformer", {}),
    "sew": ("SEW", {"conv_dim": (8,) * 13}),
    "whisper": ("Whisper", {}),
}
"""The class of transformers, and the configuration of a kind of its models."""

PADDED = {"data2vec": False, "conformer": False, "sew": False}
"""Families of which a batch must be of equal length."""

# windows of 6 s instead of 30, else as Whisper
WINDOW = 6.0
_WHISPER = {
    **{"d_model": SIZE, "encoder_layers": LAYERS, "decoder_layers": 1, "num_mel_bins": 8},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24},
    **{"decoder_ffn_dim": 24, "vocab_size": 9, "max_source_positions": round(WINDOW * 50)},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3},
}


def save(folder: Path, family: str, change: Callable[[Any], object] = lambda model: None) -> str:
    """Save a small model of a family, after a `change`; return its folder."""
    transformers = library()
    import torch

    kind, own = FAMILIES[family]
    sizes = _WHISPER if kind == "Whisper" else _SIZES
    config = getattr(transformers, f"{kind}Config")(**{**sizes, **own})
    model = getattr(transformers, f"{kind}Model")(config)
    rng = np.random.default_rng(0)  # the same numbers for every version of torch
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 or name.endswith("bias"):  # large, so that layers differ
                parameter.copy_(torch.from_numpy(rng.normal(0, 0.3, parameter.shape)))
    change(model)
    model.save_pretrained(folder)
    if kind == "Whisper":
        prepare = transformers.WhisperFeatureExtractor(feature_size=8, chunk_length=round(WINDOW))
    else:
        prepare = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=own is _LAYER)
    prepare.save_pretrained(folder)
    return str(folder)
