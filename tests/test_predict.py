"""Predictions for clips: those of the pipeline for the same files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from benchmarks import synthetic
from pipeline import InputError, params
from pipeline.corpus.utterance import WITHIN, Source, Utterance
from pipeline.evaluation import attention, prediction
from pipeline.features import extraction
from pipeline.features.extractor import Context, Extractor
from pipeline.features.glove import Glove
from pipeline.features.mfcc import Mfcc
from pipeline.features.prosody import Prosody
from pipeline.features.text_encoder import TextEncoder
from pipeline.features.visual import Torchvision
from pipeline.models.classifier import Classifier
from pipeline.predict import Predictor
from pipeline.predict.clips import LONGEST, utterance_of
from pipeline.store import FeatureStore, writing
from pipeline.training import folds
from tests import clips
from tests.extractors import save_bert
from tests.test_training import settings
from tests.trained import make_models

SECONDS = 1.2
VECTORS = "".join(f"{word} {n}.5 1 -{n} 0.25\n" for n, word in enumerate(synthetic.CODES))


class World:
    """A store that the real extractors made of small clips, and models that read all of it."""

    def __init__(self, folder: Path) -> None:
        self.media = folder / "media"
        table = synthetic.table(2).reset_index(drop=True)
        table["start"], table["end"] = 0.0, SECONDS
        self.utterances = [
            replace(one, audio=Source(f"{n}.mp4", WITHIN), video=Source(f"{n}.mp4", "left"))
            for n, one in enumerate(synthetic.spoken(table))
        ]
        for n in range(len(self.utterances)):
            sound = clips.tone(SECONDS, pitch=150 + 20 * n)
            clips.write(self.media / f"{n}.mp4", sound, clips.plain(12 + n % 3))
        (folder / "bert").mkdir()
        (folder / "glove.txt").write_text(VECTORS)
        self.bert = save_bert(folder / "bert")
        streams: dict[str, dict[str, Extractor]] = {
            "audio": {"mfcc": Mfcc(dtype="float16"), "prosody": Prosody()},
            "text": {
                "glove": Glove(vectors=str(folder / "glove.txt")),
                "bert": TextEncoder(model=self.bert, layers=[1, 2]),
            },
            "visual": {"resnet": Torchvision(network="resnet18", weights="random", crop=96)},
        }
        shared: dict[str, Any] = {
            "audio": params.Audio(sampling_rate=16000, streams={}),
            "text": params.Text(marks="word", include_text=True, streams={}),
            "visual": params.Visual(frames_per_second=3.0, max_frames=4, streams={}),
        }
        store = folder / "store"
        for modality, group in streams.items():
            extraction.extract(
                modality,
                group,
                self.utterances,
                Context(self.media, "cpu", shared[modality]),
                kept=folder / "kept" / modality,
                output=store / modality,
            )
        writing.write_table(
            store,
            table,
            synthetic.votes(table),
            {modality: list(group) for modality, group in streams.items()},
            corpus="small",
            description=synthetic.DESCRIPTION,
        )
        self.store = store
        self.models = self.trained(folder / "models")

    def trained(self, folder: Path, seeds: tuple[int, ...] = (0, 1), **model: Any) -> Path:
        streams = {"audio": "mfcc", "text": ["glove", "bert"], "video": "resnet"}
        chosen = {"prosody": "prosody", "streams": streams, **model}
        with FeatureStore(self.store) as opened:
            return make_models(opened, folder, seeds=seeds, **chosen)

    def predictor(self, folder: Path | None = None, **chosen: Any) -> Predictor:
        """Models record only the name of a folder of weights."""
        streams = {"bert": {"model": self.bert}}
        return Predictor.load(folder or self.models, device="cpu", streams=streams, **chosen)

    def stored(self, folder: Path) -> pd.DataFrame:
        with FeatureStore(self.store) as opened:
            return prediction.test_folds(opened, folder, torch.device("cpu"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield World(tmp_path_factory.mktemp("predict"))


def test_a_stored_utterance_has_the_stored_probabilities(world: World) -> None:
    """By the model of its fold, from its files."""
    table = world.stored(world.models)
    by_id = {one.id: one for one in world.utterances}
    for trained in prediction.models(world.models):
        fold, seed = trained.fold, trained.seed
        rows = table[(table["fold"] == fold) & (table["seed"] == seed)]
        predictor = world.predictor(folds=[fold], seeds=[seed])
        found = predictor.predict([by_id[name] for name in rows["utterance"]], world.media)
        for own, (_, row) in zip(found, rows.iterrows(), strict=True):
            expected = [row[f"p_{name}"] for name in predictor.classes]
            assert list(own.probabilities.values()) == pytest.approx(expected, abs=1e-5)
            assert own.emotion == row["predicted"] and not own.missing


def test_attention_is_that_of_the_pipeline(world: World) -> None:
    predictor = world.predictor(folds=[1], seeds=[0])
    (found,) = predictor.predict([world.utterances[3]], world.media)
    with FeatureStore(world.store) as opened:
        classifier = Classifier.load(world.models / "fold-1-seed-0.safetensors")
        expected = attention.of_utterance(classifier, classifier.dataset(opened), 3)
        words = opened.stream("glove").words(3) + opened.stream("bert").words(3)
        times = opened.stream("mfcc").aligned("times", 3)
    assert [hop.target for hop in found.hops] == [target for target, _ in expected]
    for hop, (target, weights) in zip(found.hops, expected, strict=True):
        np.testing.assert_allclose(hop.weights, weights, atol=1e-5)
        assert len(hop.weights) == len(hop.times)
        if target == "text":
            assert hop.words == words[: len(weights)]
        if target == "audio":
            np.testing.assert_array_equal(hop.times, times[: len(weights)])


def test_several_models_are_averaged(world: World) -> None:
    one = world.utterances[0]
    each = [world.predictor(folds=[fold], seeds=[seed]) for fold in (1, 2) for seed in (0, 1)]
    both = world.predictor(folds=[1, 2])
    expected = np.mean(
        [list(p.predict([one], world.media)[0].probabilities.values()) for p in each], axis=0
    )
    found = both.predict([one], world.media)[0]
    assert list(found.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-9)
    assert sum(found.probabilities.values()) == pytest.approx(1.0)


@pytest.fixture(scope="module")
def predictor(world: World) -> Predictor:
    return world.predictor()


def test_a_clip_is_cut_and_cropped(world: World, predictor: Predictor) -> None:
    """Equal to an utterance with the same times and place."""
    path = world.media / "0.mp4"
    found = predictor(path, "ang sad", start=0.2, end=0.9, region="right")
    same = Utterance(
        "0.mp4",
        "0.mp4",
        0.2,
        0.9,
        "ang sad",
        audio=Source("0.mp4", WITHIN),
        video=Source("0.mp4", "right"),
    )
    assert found.probabilities == predictor.predict([same], world.media)[0].probabilities
    assert found.utterance.id == "0.mp4"
    whole = predictor(path, "ang sad")
    assert whole.probabilities != found.probabilities


def test_what_a_clip_lacks_is_said(world: World, predictor: Predictor, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", clips.tone(0.8), 16000)
    sound = predictor(tmp_path / "a.wav")
    assert set(sound.missing) == {"text", "video"}
    assert "no transcript" in sound.missing["text"] and "no video" in sound.missing["video"]
    assert all(not len(hop.weights) for hop in sound.hops if hop.target != "audio")
    clips.write(tmp_path / "b.mp4", None, clips.plain(10))
    assert set(predictor(tmp_path / "b.mp4", "ang").missing) == {"audio"}
    soundfile.write(tmp_path / "c.wav", np.zeros(16000), 16000)
    silent = predictor(tmp_path / "c.wav", "ang")
    assert any("silence" in remark for remark in silent.remarks)
    assert sum(silent.probabilities.values()) == pytest.approx(1.0)


def test_a_word_that_training_did_not_know(predictor: Predictor, world: World) -> None:
    found = predictor(world.media / "0.mp4", "xylophone ang")
    (hop,) = [hop for hop in found.hops if hop.target == "text"][:1]
    assert hop.words[:2] == ["<unk>", "ang"]


@pytest.mark.parametrize(
    ("times", "fault"),
    [
        ({"start": 5.0}, r"lasts 1\.\d+ s; 5\.00 s to 1\.\d+ s is no part"),
        ({"start": 0.5, "end": 0.5}, "is no part of it"),
        ({"start": -1.0}, "is no part of it"),
        ({"region": "middle"}, "region: 'middle' is none of whole, left, right"),
    ],
)
def test_impossible_parts_are_errors(world: World, times: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        utterance_of(world.media / "0.mp4", **{"region": "whole", **times})


def test_files_that_are_no_clip_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(InputError, match=r"a\.mp4: cannot be opened as audio or video"):
        utterance_of(tmp_path / "a.mp4", region="whole")
    with pytest.raises(InputError, match=r"b\.mp4: cannot be read from the disk: No such file"):
        utterance_of(tmp_path / "b.mp4", region="whole")
    soundfile.write(tmp_path / "c.wav", np.zeros(int((LONGEST + 2) * 1000)), 1000)
    with pytest.raises(InputError, match="more than one utterance"):
        utterance_of(tmp_path / "c.wav", region="whole")


def test_other_weights_are_refused(world: World, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for path in Path(world.bert).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    first = sorted(tensors)[0]
    save_file({**tensors, first: tensors[first] + 1}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="the stream bert would not be the one .* weights.model"):
        Predictor.load(world.models, streams={"bert": {"model": str(tmp_path)}})


def test_missing_weights_are_named(world: World, tmp_path: Path) -> None:
    missing = str(tmp_path / "gone")
    with pytest.raises(InputError, match=r"text\.streams\.bert\.model: .*gone"):
        Predictor.load(world.models, streams={"bert": {"model": missing}})


def test_no_such_fold(world: World) -> None:
    with pytest.raises(InputError, match=r"no model of folds \[9\] .* \(1, 0\), \(1, 1\)"):
        Predictor.load(world.models, folds=[9])


def test_a_model_of_features_made_elsewhere_is_refused(world: World, tmp_path: Path) -> None:
    classifier = Classifier.load(world.models / "fold-1-seed-0.safetensors")
    classifier.extractors["mfcc"]["extractor"] = "external"
    with pytest.raises(InputError, match="mfcc was made by another program"):
        Predictor([classifier])


def test_a_model_without_the_vocabulary_is_refused(world: World) -> None:
    classifier = Classifier.load(world.models / "fold-1-seed-0.safetensors")
    del classifier.extractors["glove"]["vocabulary"]
    with pytest.raises(InputError, match="does not contain the vocabulary of glove"):
        Predictor([classifier], streams={"bert": {"model": world.bert}})


def test_speakers_are_unknown(world: World, tmp_path: Path) -> None:
    folder = world.trained(tmp_path / "models", seeds=(0,), normalise="speaker")
    (found,) = world.predictor(folder).predict(world.utterances[:1], world.media)
    assert any("the speaker is unknown" in remark for remark in found.remarks)


def test_a_linear_model_has_no_hops(world: World, tmp_path: Path) -> None:
    chosen = settings(
        name="linear",
        modalities=["audio", "text"],
        streams={"audio": ["prosody", "mfcc"], "text": ["glove", "bert"], "video": "resnet"},
    )
    jobs = folds.plan(
        world.store,
        chosen,
        lists=tmp_path,
        models=tmp_path / "models",
        curves=tmp_path / "curves",
        checkpoints=tmp_path / "kept",
        device="cpu",
    )
    folds.train_fold(jobs[0])
    table = world.stored(tmp_path / "models")
    by_id = {one.id: one for one in world.utterances}
    predictor = world.predictor(tmp_path / "models")
    found = predictor.predict([by_id[name] for name in table["utterance"]], world.media)
    expected = table.filter(regex="^p_").to_numpy()
    np.testing.assert_allclose([list(p.probabilities.values()) for p in found], expected, atol=1e-5)
    assert all(p.hops == [] for p in found)
