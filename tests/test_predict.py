"""Predictions for clips: those of the pipeline for the same files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml

from benchmarks import clips, synthetic
from pipeline import InputError, params
from pipeline.corpus.utterance import WITHIN, Source, Utterance
from pipeline.evaluation import attention, prediction, trained
from pipeline.features import extraction, video
from pipeline.features.extractor import Context, Extractor
from pipeline.features.glove import Glove
from pipeline.features.mfcc import Mfcc
from pipeline.features.prosody import Prosody
from pipeline.features.text_encoder import TextEncoder
from pipeline.features.visual import Torchvision
from pipeline.models.classifier import Classifier
from pipeline.predict import Predictor
from pipeline.predict import predictor as module
from pipeline.predict.__main__ import main
from pipeline.predict.clips import LONGEST, Clip, read_list, utterance_of
from pipeline.registry import MODELS, Model
from pipeline.store import FeatureStore, writing
from pipeline.store.inputs import of_model
from pipeline.training import folds
from tests.documented import register
from tests.extractors import save_bert
from tests.test_training import settings
from tests.trained import jobs_of, make_models

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
            "visual": {
                name: Torchvision(network="resnet18", weights="random", crop=crop)
                for name, crop in {"resnet": 96, "wide": 128}.items()
            },
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
    for fold, seed, _ in trained.models(world.models):
        rows = table[(table["fold"] == fold) & (table["seed"] == seed)]
        predictor = world.predictor(folds=[fold], seeds=[seed])
        found = predictor.predict([by_id[name] for name in rows["utterance"]], world.media)
        for own, (_, row) in zip(found, rows.iterrows(), strict=True):
            expected = [row[f"p_{name}"] for name in predictor.classes]
            assert list(own.probabilities.values()) == pytest.approx(expected, abs=1e-5)
            assert own.emotion == row["predicted"] and not own.missing


@pytest.mark.parametrize("context", ["past", "both"])
def test_a_dialog_is_predicted_with_its_context(world: World, tmp_path: Path, context: str) -> None:
    """All utterances of a stored dialog, by the model of their fold: the stored probabilities."""
    models = world.trained(tmp_path / "models", seeds=(0,), context=context)
    table = world.stored(models).set_index("utterance")
    for fold, _, _ in trained.models(models):
        predictor = world.predictor(models, folds=[fold])
        dialog = [one for one in world.utterances if one.dialog == f"Ses0{fold}F_impro01"]
        own = [replace(one, order=n, speaker=str(n)) for n, one in enumerate(dialog)]
        assert {one.id for one in own} == set(table.index[table["fold"] == fold])
        found = predictor.predict(own, world.media)
        for one, name in zip(found, [one.id for one in own], strict=True):
            expected = [table[f"p_{emotion}"][name] for emotion in predictor.classes]
            assert list(one.probabilities.values()) == pytest.approx(expected, abs=1e-5)
        alone = [predictor.predict([one], world.media)[0] for one in own]
        assert all(module._ALONE in one.remarks for one in alone)
        assert not any(module._ALONE in one.remarks for one in found)
        assert alone[1].probabilities != pytest.approx(found[1].probabilities, abs=1e-3)
        assert (alone[0].probabilities == pytest.approx(found[0].probabilities, abs=1e-5)) == (
            context == "past"
        )


def test_clips_of_a_dialog_may_lie_in_several_folders(world: World, tmp_path: Path) -> None:
    models = world.trained(tmp_path / "models", seeds=(0,), context="past")
    predictor = world.predictor(models, folds=[1])
    (tmp_path / "a").mkdir()
    (tmp_path / "b/c").mkdir(parents=True)
    for place, number in (("a", 0), ("b/c", 1)):
        shutil.copy(world.media / f"{number}.mp4", tmp_path / place)
    paths = [tmp_path / "a/0.mp4", tmp_path / "b/c/1.mp4"]
    found = predictor.dialog([Clip(path, "ang", speaker="Ada") for path in paths])
    assert [one.utterance.audio.path for one in found if one.utterance.audio] == [
        "a/0.mp4", "b/c/1.mp4",
    ]  # fmt: skip
    other = predictor.dialog(
        [Clip(path, "ang", speaker=name) for path, name in zip(paths, ("Ada", "Bob"), strict=True)]
    )
    assert found[0].probabilities == pytest.approx(other[0].probabilities)
    assert found[1].probabilities != pytest.approx(other[1].probabilities, abs=1e-6)


def test_a_list_may_have_dialogs(
    world: World, tmp_path: Path, command: Any, capsys: pytest.CaptureFixture
) -> None:
    """Their clips are read in the order of the list; one that is gone is left out."""
    models = world.trained(tmp_path / "models", seeds=(0,), context="past")
    rows = [(0, "d", "Ada"), (1, "e", "Ada"), (9999, "d", "Ada"), (2, "d", "Bob"), (3, "", "")]
    listed = tmp_path / "list.csv"
    lines = [f"{world.media}/{clip}.mp4,ang,{dialog},{who}\n" for clip, dialog, who in rows]
    listed.write_text("clip,text,dialog,speaker\n" + "".join(lines))
    assert command("--list", str(listed), "--models", str(models), "--folds", "1") == 1
    output = capsys.readouterr()
    assert "9999.mp4: cannot be read" in output.err and "1 of 5 clips were left out" in output.err
    found = json.loads(output.out)
    predictor = world.predictor(models, folds=[1])
    own = [
        Clip(world.media / f"{n}.mp4", "ang", speaker=who) for n, who in ((0, "Ada"), (2, "Bob"))
    ]
    expected = {f"{n}.mp4": one for n, one in zip((0, 2), predictor.dialog(own), strict=True)}
    expected |= {f"{n}.mp4": predictor(world.media / f"{n}.mp4", "ang") for n in (1, 3)}
    assert [one["clip"] for one in found] == ["0.mp4", "2.mp4", "1.mp4", "3.mp4"]
    for one in found:
        assert one["probabilities"] == pytest.approx(expected[one["clip"]].probabilities, abs=1e-5)
        assert (module._ALONE in one["remarks"]) == (one["clip"] in ("1.mp4", "3.mp4"))


def test_a_model_of_your_own_predicts_clips(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The documented one, which does not derive from Hopping."""
    page = (Path(__file__).parents[1] / "docs/models.md").read_text(encoding="utf-8")
    name = register(page, "pipeline.models", tmp_path, monkeypatch, kind=Model, registry=MODELS)
    models = tmp_path / "models"
    streams = {"audio": "mfcc", "text": ["glove", "bert"], "video": "resnet"}
    chosen = settings(name=name, prosody="prosody", streams=streams)
    with FeatureStore(world.store) as opened:
        job = jobs_of(opened.path, chosen, models)[0]
        dataset = of_model(opened, chosen.model, chosen.train.max_steps)
        classifier = folds.build(
            dataset, job.model, job.train.max_steps, job.classes, np.arange(2)
        ).eval()
        classifier.save(job.weights)
        with torch.inference_mode():
            expected = classifier(dataset.batch([3]))[0].softmax(dim=0)
    (found,) = world.predictor(models).predict([world.utterances[3]], world.media)
    assert list(found.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-5)
    assert found.hops == []


def test_a_dialog_without_clips_has_no_predictions(world: World) -> None:
    assert world.predictor(folds=[1]).dialog([]) == []


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
    found = predictor(path, "ang exc", start=0.2, end=0.9, region="right")
    same = Utterance(
        "0.mp4",
        "0.mp4",
        0.2,
        0.9,
        "ang exc",
        audio=Source("0.mp4", WITHIN),
        video=Source("0.mp4", "right"),
    )
    assert found.probabilities == predictor.predict([same], world.media)[0].probabilities
    assert found.utterance.id == "0.mp4"
    whole = predictor(path, "ang exc")
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


def test_a_film_is_decoded_once_for_all_streams_and_utterances(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = {"audio": "mfcc", "text": "glove", "video": ["resnet", "wide"]}
    folder = world.trained(tmp_path / "models", seeds=(0,), streams=streams)
    own = world.predictor(folder)
    parts = [replace(world.utterances[0], start=0.2 * n, end=0.2 * n + 0.4) for n in range(4)]
    alone = [own.predict([part], world.media)[0].probabilities for part in parts]
    opened, scan = [], video._scan

    def counting(path: Path, *others: Any) -> Any:
        opened.append(path.name)
        return scan(path, *others)

    monkeypatch.setattr(video, "_scan", counting)
    monkeypatch.setattr(module, "_AT_ONCE", 3)
    together = own.predict(parts, world.media)
    assert opened == ["0.mp4"]
    for one, expected in zip(together, alone, strict=True):
        assert one.probabilities == pytest.approx(expected, abs=1e-5)
    assert len({tuple(one.probabilities.values()) for one in together}) == len(parts)


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


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"train": {"seeds": [0, 1]}}'])
def test_damaged_parameters_are_an_error(world: World, tmp_path: Path, content: str) -> None:
    """They name the seed of models that have none in their names."""
    folder = world.trained(tmp_path / "models", seeds=(0,))
    (folder / "parameters.json").write_text(content)
    with pytest.raises(InputError, match=r"parameters\.json: does not name the seed"):
        Predictor.load(folder)


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
    jobs = jobs_of(world.store, chosen, tmp_path / "models")
    folds.train_fold(jobs[0])
    table = world.stored(tmp_path / "models")
    by_id = {one.id: one for one in world.utterances}
    predictor = world.predictor(tmp_path / "models")
    found = predictor.predict([by_id[name] for name in table["utterance"]], world.media)
    expected = table.filter(regex="^p_").to_numpy()
    np.testing.assert_allclose([list(p.probabilities.values()) for p in found], expected, atol=1e-5)
    assert all(p.hops == [] for p in found)


@pytest.fixture
def command(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The command line in a folder with the parameter file of the models."""
    raw = params.read_yaml(Path(__file__).parents[1] / "params.yaml")
    raw["text"]["streams"]["bert"] |= {"model": world.bert, "layers": [1, 2]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return lambda *given: main(["--models", str(world.models), "--device", "cpu", *map(str, given)])


def test_the_command_prints_json(command: Any, world: World, capsys: pytest.CaptureFixture) -> None:
    assert command(world.media / "0.mp4", "--text", "ang exc", "--end", 0.9) == 0
    (one,) = json.loads(capsys.readouterr().out)
    found = world.predictor()(world.media / "0.mp4", "ang exc", end=0.9)
    assert one["probabilities"] == pytest.approx(found.probabilities, abs=1e-6)
    assert (one["clip"], one["end"], one["emotion"]) == ("0.mp4", 0.9, found.emotion)
    assert one["attention"][2]["target"] == "text"
    assert one["attention"][2]["words"][:2] == ["ang", "exc"]
    assert sum(one["attention"][0]["weights"]) == pytest.approx(1.0, abs=1e-4)


def test_a_list_of_clips_becomes_a_table(command: Any, world: World, tmp_path: Path) -> None:
    """A clip that cannot be read is reported, and the others are predicted."""
    (world.media / "list.csv").write_text(
        "clip,text,start,end\n0.mp4,ang exc,0.2,0.9\ngone.mp4,,,\n1.mp4,,,\n", encoding="utf-8"
    )
    out = tmp_path / "out.csv"
    assert command("--list", world.media / "list.csv", "--format", "csv", "--output", out) == 1
    table = pd.read_csv(out, keep_default_na=False)
    assert table["clip"].tolist() == ["0.mp4", "1.mp4"]
    assert table["missing"][0] == "" and "no transcript" in table["missing"][1]
    columns = [name for name in map(str, table) if name.startswith("p_")]
    np.testing.assert_allclose(table[columns].sum(axis=1), 1.0, atol=1e-5)


def test_the_page_needs_no_other_file(command: Any, world: World, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    given = (world.media / "0.mp4", "--text", "<b>ang</b>", "--format", "html", "--output", out)
    assert command(*given) == 0
    page = out.read_text(encoding="utf-8")
    assert page.count("data:image/png") == 1 and "<b>" not in page
    assert 'src="http' not in page


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ((), "no clip: name a file"),
        (("a.wav", "b.wav", "--text", "so"), "--text: are of one clip"),
        (("--list", "gone.csv"), "gone.csv: cannot be read as a CSV file"),
        (("a.wav", "--models", "nowhere"), "nowhere: contains no fold"),
        (("a.wav",), "a.wav: cannot be read from the disk"),
    ],
)
def test_errors_are_sentences(
    command: Any, capsys: pytest.CaptureFixture, given: tuple[str, ...], fault: str
) -> None:
    assert command(*given) == 1
    assert fault in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("file\na.wav\n", "line 1: has the columns file; needed is clip"),
        ("clip,mood\na.wav,bad\n", "line 1: has the columns clip, mood; needed is clip"),
        ("clip,start\na.wav,soon\n", "line 2, column start: 'soon' is not a number"),
        ("clip,text\na.wav\n", "line 2: has not 2 values"),
        ("", r"line 1: has the columns \(none\)"),
    ],
)
def test_faults_of_a_list_are_named(tmp_path: Path, content: str, fault: str) -> None:
    (tmp_path / "list.csv").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=rf"list\.csv, {fault}"):
        read_list(tmp_path / "list.csv")
