"""The report: its page and tables, and what it shows of an utterance."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from benchmarks import synthetic
from benchmarks.synthetic import CODES, make_store
from pipeline import InputError, report
from pipeline.corpus.description import GROUP
from pipeline.evaluation import attention, metrics, prediction, trained
from pipeline.models.classifier import Classifier
from pipeline.report import drawing, examples, facts
from pipeline.store import FeatureStore
from pipeline.store.identity import identity
from tests import videos
from tests.trained import STEPS, make_models

CPU = torch.device("cpu")
CROP = videos.SQUARE
SEEN = "Ses01F_impro01_F000"
LATER = "Ses01F_impro01_M001"  # begins two seconds after the dialog
FRAMES = {SEEN: [3, 9, 14, 21], LATER: [63, 69, 74, 81]}  # of the video
UNREAD = "Ses02F_impro01_F000"  # has neither steps of sound nor frames in the store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    """A store of which two utterances have frames of a known video."""
    path = make_store(tmp_path_factory.mktemp("report"))
    with h5py.File(path / "audio/mfcc.h5", "r+") as file:
        steps = np.diff(file["offsets"][:])
        file["times"][:] = np.concatenate([0.05 + 0.3 * np.arange(n) for n in steps])
    with h5py.File(path / "visual/resnet.h5", "r+") as file:
        parameters = {**json.loads(file.attrs["parameters"]), "crop": CROP}
        file.attrs["parameters"] = json.dumps(parameters)
        times = [np.arange(n) / 3 for n in np.diff(file["offsets"][:])]
        ids = file["utterances"].asstr()[:].tolist()
        for name, numbers in FRAMES.items():
            row = ids.index(name)
            shown = np.sort(np.resize(numbers, len(times[row]))) / videos.RATE
            times[row] = shown - (0.0 if name == SEEN else 2.0)
        file["times"][:] = np.concatenate(times)
    with FeatureStore(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of the first dialog only: silence, then a loud end; numbered pictures."""
    root = tmp_path_factory.mktemp("media")
    sound = np.concatenate([np.zeros(16000), 0.5 * np.sin(np.arange(8000))])
    soundfile.write(root / "Ses01F_impro01.wav", sound, 16000)
    videos.write_avi(root / "Ses01F_impro01.avi", round(16 * videos.RATE))
    return root


def write_curves(folder: Path, names: list[str]) -> None:
    """DVCLive's files of two validations."""
    for name in names:
        for figure in ("epoch", "train/loss", "development/loss", "development/weighted_accuracy"):
            path = folder / name / "plots" / "metrics" / f"{figure}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"step\t{path.stem}\n0\t1.0\n1\t0.5\n")


def test_without_learning_curves_the_report_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training: holds no learning curves.*`dvc checkout`"):
        report.curves(tmp_path / "training")


def write_report(
    store: FeatureStore,
    folder: Path,
    *,
    media: Path | None = None,
    comparison: Path = Path("missing.csv"),
    hardest: int = 2,
    **models,
) -> str:
    """The page of models of random weights; leaves everything in `folder`."""
    make_models(store, folder, **models)
    names = [path.stem for path in folder.glob("*.safetensors")]
    write_curves(folder / "curves", names)
    predictions = prediction.test_folds(store, folder, CPU)
    attention.write(store, folder, predictions, folder / "attention.h5", CPU)
    report.write(
        store,
        folder,
        folder / "curves",
        predictions,
        folder,
        missing=prediction.missing(store, folder, CPU),
        scenarios=metrics.by_scenario(predictions, store.scenarios),
        attention_file=folder / "attention.h5",
        comparison=comparison,
        media=media,
        hardest=hardest,
    )
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run(store: FeatureStore, media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report on AMH-4 with two seeds."""
    folder = tmp_path_factory.mktemp("run")
    write_report(store, folder, media=media, hops=4, seeds=(5, 3))
    return folder


def text_of(page: str) -> str:
    """The page as it reads, without tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("</style>")[1]))


def looked_at(
    store: FeatureStore, folder: Path, media: Path | None, seen: str = SEEN, **models
) -> examples.AttentionView:
    """What the model of the first fold saw of one utterance."""
    if not (folder / "parameters.json").exists():
        make_models(store, folder, **models)
    classifier = Classifier.load(trained.models(folder)[0].path)
    dataset = classifier.dataset(store)
    index = store.utterances["utterance"].tolist().index(seen)
    hops = attention.of_utterance(classifier, dataset, index)
    return examples.view(store, classifier, dataset, index, hops=hops, media=media)


def panels(found: examples.AttentionView) -> list[str]:
    drawn = drawing.figure(found)
    return [] if drawn is None else [axes.get_ylabel() for axes in drawn.axes]


def heights(axes: Axes) -> list[float]:
    return [patch.get_height() for patch in axes.patches if isinstance(patch, Rectangle)]


# --- page ----------------------------------------------------------------------------------------


def test_the_page_needs_nothing_beside_it(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert len(sources) > 10
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    anchors = set(re.findall(r'href="#([a-z]+)"', page))
    assert anchors == set(re.findall(r'<h2 id="([a-z]+)"', page))


def test_deviations_over_folds_and_seeds_are_told_apart(run: Path) -> None:
    folds = pd.read_csv(run / "plots" / "folds.csv")
    assert folds[["fold", "seed"]].to_numpy().tolist() == [
        [f, s] for f in range(1, 6) for s in (3, 5)
    ]
    words = text_of((run / "report.html").read_text(encoding="utf-8"))
    grid = folds.pivot(index="fold", columns="seed", values="weighted_accuracy")
    over_folds, over_seeds = grid.mean(axis=1).std(ddof=1), grid.mean(axis=0).std(ddof=1)
    assert f"deviation over folds {over_folds:.3f} " in words
    assert f"deviation over seeds {over_seeds:.3f} " in words
    assert f"{grid.to_numpy().mean():.3f} ± {over_folds:.3f} weighted accuracy" in words
    assert "here and below of seed 3" in words


def test_tables_lie_beside_the_page(store: FeatureStore, run: Path) -> None:
    tables = {path.stem: pd.read_csv(path) for path in (run / "plots").glob("*.csv")}
    assert sorted(tables) == [
        *("attention", "calibration", "classes", "confusion", "curves", "examples", "folds"),
        *("groups", "layers", "missing", "positions", "profile", "scenarios", "speakers"),
    ]
    assert tables["speakers"]["speaker"].tolist() == sorted(set(store.utterances["speaker"]))
    assert tables["speakers"]["utterances"].sum() == len(store)
    assert len(tables["confusion"]) == 2 * len(store)  # seeds
    assert tables["calibration"]["utterances"].sum() == 2 * len(store)
    assert set(tables["missing"]["test_utterances"]) == {
        *("without_audio", "without_text", "without_video")
    }
    assert tables["missing"].columns.tolist() == [
        *("test_utterances", "figure", "mean", "deviation", "deviation_seeds")
    ]
    assert tables["curves"].groupby(["fold", "seed"]).size().tolist() == [2] * 10
    assert set(tables["profile"]["hop"]) == {1, 2, 3, 4}


def test_each_class_has_its_median_utterance_and_the_hardest_are_last(
    store: FeatureStore, run: Path
) -> None:
    examples = pd.read_csv(run / "plots" / "examples.csv")
    page = (run / "report.html").read_text(encoding="utf-8")
    shown = re.findall(r"<h3>(Ses\w+)", page)
    assert len(shown) == len(CODES) + 2
    assert set(shown) == set(examples["utterance"])
    true = examples.set_index("utterance")["true"]
    assert (
        true[shown[: len(CODES)]].tolist()
        == json.loads((run / "parameters.json").read_text())["classes"]
    )
    predictions = prediction.test_folds(store, run, CPU)
    assert shown[len(CODES) :] == prediction.hardest(predictions, 2)


def test_the_same_run_gives_the_same_page_and_figures(
    store: FeatureStore, media: Path, run: Path, tmp_path: Path
) -> None:
    write_report(store, tmp_path, media=media, hops=4, seeds=(5, 3))
    for path in [run / "report.html", *sorted((run / "plots").iterdir())]:
        assert path.read_bytes() == (tmp_path / path.relative_to(run)).read_bytes(), path.name


@pytest.mark.parametrize(
    "model",
    [
        {"name": "mdre", "prosody": "prosody"},
        {"name": "mdre", "modalities": ["text"]},
        {"name": "mha", "modalities": ["text", "video"], "hops": 2},
        {"modalities": ["audio"], "hops": 2},
    ],
)
def test_any_model_and_set_of_modalities_has_a_page(
    store: FeatureStore, tmp_path: Path, model: dict
) -> None:
    words = text_of(write_report(store, tmp_path, hardest=0, **model))
    assert "Hardest utterances" not in words
    assert ("so there is no attention to show" in words) == (model.get("name") == "mdre")
    assert ("Ablation of modalities" in words) == (model.get("modalities", [1, 2])[1:] != [])
    assert "Sound and frames of the recordings are left out (report.media: false)" in words
    assert ("audio, joined" in words) == ("prosody" in model)
    assert "No comparison yet: run make table to train the other models on synthetic" in words


def test_recordings_that_are_not_at_hand_are_counted(
    store: FeatureStore, media: Path, run: Path, tmp_path: Path
) -> None:
    shown = pd.read_csv(run / "plots" / "examples.csv")["utterance"]
    elsewhere = (~shown.str.startswith("Ses01") & (shown != UNREAD)).sum()
    assert 0 < elsewhere < len(shown)
    words = text_of((run / "report.html").read_text(encoding="utf-8"))
    assert f"recordings of {elsewhere} of the {len(shown)} utterances shown" in words


# --- comparison and protocol ---------------------------------------------------------------------


def comparison_file(path: Path, corpus: str, content: str = "") -> Path:
    """A table of two models; the second is the reference and has no published figures."""
    row = {"model": "MDRE", "modalities": "A+T", "corpus": corpus, "parameters": 1234}
    row["store"] = content
    figures: dict[str, float] = {}
    for name in ("weighted_accuracy", "unweighted_accuracy"):
        figures |= {name: 0.611, f"{name}_deviation": 0.022}
        figures |= {f"published_{name}": 0.498, f"published_{name}_deviation": 0.059}
    first = {**row, **figures, "difference": -0.0125, "p": 0.01, "p_holm": 0.0375}
    blank = dict.fromkeys([*(k for k in figures if "published" in k), "difference", "p", "p_holm"])
    pd.DataFrame([first, {**first, "model": "AMH-7", **blank}]).to_csv(path, index=False)
    return path


def test_the_comparison_is_shown_if_it_is_of_this_corpus(
    store: FeatureStore, tmp_path: Path
) -> None:
    own = comparison_file(tmp_path / "own.csv", "synthetic")
    words = text_of(write_report(store, tmp_path / "run", comparison=own, hardest=0, hops=1))
    assert (
        "MDRE A+T 1,234 0.611 ± 0.022 0.611 ± 0.022 0.498 ± 0.059 0.498 ± 0.059 -0.013 0.037"
        in (words.replace("0.038", "0.037"))
    )
    assert "AMH-7 A+T 1,234 0.611 ± 0.022 0.611 ± 0.022 p: paired" in words
    assert "difference in WA to AMH-7" in words
    assert (tmp_path / "run" / "plots" / "comparison.png").is_file()
    assert (
        "Outdated: these models were trained on features with other parameters, versions or"
        in words
    )


def test_a_comparison_is_outdated_if_what_decides_the_store_has_changed(
    store: FeatureStore, tmp_path: Path
) -> None:
    for written, outdated in ((identity(store), False), ("f" * 64, True)):
        table = comparison_file(tmp_path / "own.csv", "synthetic", written)
        assert facts.comparison(table, store)["outdated"] == outdated


def test_a_comparison_of_another_corpus_or_not_made_yet_has_no_rows(
    store: FeatureStore, tmp_path: Path
) -> None:
    (tmp_path / "empty.csv").write_text("corpus\n")
    for name in ("empty", "missing"):
        found = facts.comparison(tmp_path / f"{name}.csv", store)
        assert (found["corpus"], len(found["table"])) == ("", 0)
    found = facts.comparison(comparison_file(tmp_path / "other.csv", "iemocap"), store)
    assert (found["corpus"], len(found["table"])) == ("iemocap", 0)


def test_speakers_shared_between_parts_are_said_to_flatter() -> None:
    table = pd.DataFrame({"utterance": list("abcd"), "speaker": ["F", "F", "M", "M"]})
    split = {"protocol": "random", "list": None}
    apart = pd.DataFrame(
        {"utterance": list("abcd"), "fold": 1, "part": ["train", "train", "test", "test"]}
    )
    found = facts.protocol(split, apart, table, GROUP)
    assert found.endswith("no speaker is in two parts of a fold")
    mixed = apart.assign(part=["train", "test", "train", "test"])
    assert "speakers are shared between parts" in facts.protocol(split, mixed, table, GROUP)


def test_scenarios_are_shown_separately_with_a_caution(
    store: FeatureStore, run: Path, tmp_path: Path
) -> None:
    # the store of the other tests has one scenario
    assert "By scenario" not in (run / "report.html").read_text(encoding="utf-8")
    table = synthetic.table()
    table["scenario"] = ["improvised" if n % 3 else "scripted" for n in range(len(table))]
    with FeatureStore(synthetic.make_store(tmp_path, table)) as opened:
        page = text_of(write_report(opened, tmp_path / "run", hardest=0))
    assert "By scenario" in page and "All sessions perform the same three scripts" in page
    apart = pd.read_csv(tmp_path / "run/plots/scenarios.csv")
    assert apart["scenario"].tolist() == ["improvised", "scripted"]
    assert apart["utterances"].sum() == len(table)


def test_what_is_left_out_is_told_by_scenario_or_label() -> None:
    table = pd.DataFrame(
        {
            "utterance": list("abcde"),
            "emotion": ["ang", "ang", "xxx", "xxx", ""],
            "scenario": ["improvised", "scripted", "improvised", "scripted", "improvised"],
        }
    )
    labelled = pd.Series({"a": "ang", "b": "ang"})
    assert facts.left_out(table, labelled, "all") == {"xxx": 2, "no label": 1}
    found = facts.left_out(table, labelled[:1], ["improvised"])
    assert found == {"scripted": 2, "xxx": 1, "no label": 1}


# --- what the model saw --------------------------------------------------------------------------


def test_waveform_frames_and_hops_of_one_utterance(
    store: FeatureStore, media: Path, run: Path
) -> None:
    found = looked_at(store, run, media)
    assert found.seconds == 1.5
    assert not found.media_missing
    assert panels(found) == [*("text\nglove", "sound", "audio\nmfcc", "frames", "video\nresnet")]
    assert found.waveform is not None
    envelope = np.abs(found.waveform).max(axis=0)
    loud = np.linspace(0, 1.5, len(envelope))
    assert envelope[loud < 0.95].max() < 0.01
    assert envelope[loud > 1.05].min() > 0.4


@pytest.mark.parametrize(("seen", "start"), [(SEEN, 0.0), (LATER, 2.0)])
def test_frames_are_those_that_were_embedded(
    store: FeatureStore, media: Path, run: Path, seen: str, start: float
) -> None:
    """By the number that each picture carries, at half the resolution."""
    found = looked_at(store, run, media, seen)
    n = int(store.stream("resnet").lengths[store.row_of[seen]])
    expected = sorted(set(np.sort(np.resize(FRAMES[seen], n))[: STEPS["video"]]))
    assert [videos.code(np.repeat(np.repeat(image, 2, 0), 2, 1)) for _, image in found.frames] == (
        expected
    )
    times = [time for time, _ in found.frames]
    np.testing.assert_allclose(times, np.array(expected) / videos.RATE - start, atol=1e-3)
    assert {image.shape for _, image in found.frames} == {(CROP // 2, CROP // 2, 3)}


def test_steps_of_sound_are_where_their_stream_says(store: FeatureStore, run: Path) -> None:
    track = next(t for t in looked_at(store, run, None).tracks if t.stream == "mfcc")
    assert len(track) == min(int(store.stream("mfcc").lengths[0]), STEPS["audio"])
    np.testing.assert_allclose(track.times, 0.05 + 0.3 * np.arange(len(track)))
    assert track.measured


def test_without_recordings_the_hops_remain(store: FeatureStore, run: Path, tmp_path: Path) -> None:
    left_out, missing = looked_at(store, run, None), looked_at(store, run, tmp_path)
    assert (left_out.media_missing, missing.media_missing) == (False, True)
    for found in (left_out, missing):
        assert panels(found) == ["text\nglove", "audio\nmfcc", "video\nresnet"]


def test_damaged_recordings_are_left_out(
    store: FeatureStore, media: Path, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(media, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.iterdir():
        path.write_bytes(b"no recording" * 99)
    found = looked_at(store, run, tmp_path)
    assert (found.waveform, found.frames, found.media_missing) == (None, [], True)


def test_a_recording_that_extraction_left_out_is_neither_shown_nor_lacking(
    store: FeatureStore, media: Path, run: Path, tmp_path: Path
) -> None:
    shutil.copy(media / "Ses01F_impro01.wav", tmp_path / "Ses02F_impro01.wav")
    found = looked_at(store, run, tmp_path, seen=UNREAD)
    assert (found.waveform, found.frames, found.media_missing) == (None, [], False)


def test_recordings_that_the_model_does_not_read_are_neither_shown_nor_lacking(
    store: FeatureStore, media: Path, tmp_path: Path
) -> None:
    found = looked_at(store, tmp_path, media, modalities=["text"], hops=1)
    assert panels(found) == ["text\nglove"]
    found = looked_at(store, tmp_path, tmp_path / "nowhere")
    assert not found.media_missing


def test_streams_of_one_modality_share_its_weights(
    store: FeatureStore, media: Path, tmp_path: Path
) -> None:
    """Each stream's steps have a panel; those of words, as video, have no times."""
    streams = {"audio": "mfcc", "text": "unused", "video": ["resnet", "glove"]}
    found = looked_at(
        store, tmp_path, media, modalities=["audio", "video"], streams=streams, hops=1
    )
    first, second = (track for track in found.tracks if track.modality == "video")
    ((_, weights),) = found.hops
    assert (first.first, second.first) == (0, len(first))
    assert len(first) + len(second) == len(weights)
    assert (first.measured, second.measured) == (True, False)
    np.testing.assert_allclose(second.times, (np.arange(len(second)) + 0.5) / len(second) * 1.5)
    drawn = drawing.figure(found)
    assert drawn is not None
    bars = {axes.get_ylabel(): heights(axes) for axes in drawn.axes}
    assert bars["video\nresnet"] == pytest.approx(weights[: len(first)])
    assert bars["video\nglove\n(spread)"] == pytest.approx(weights[len(first) :])
    assert len({axes.get_ylim() for axes in drawn.axes if "video" in axes.get_ylabel()}) == 1


def test_a_model_without_hops_shows_recordings_only(
    store: FeatureStore, media: Path, tmp_path: Path
) -> None:
    assert panels(looked_at(store, tmp_path, media, name="mdre")) == ["sound", "frames"]
    assert panels(looked_at(store, tmp_path, None)) == []


def test_words_are_drawn_as_they_are() -> None:
    """A dollar sign starts no formula."""
    words = ["$x_1", "cost$", "<unk>"]
    track = examples.Track("text", "glove", 0, words=words)
    drawn = drawing.figure(
        examples.AttentionView(1.0, [("text", np.array([0.2, 0.3, 0.5]))], [track])
    )
    assert drawn is not None
    drawn.canvas.draw()
    labels = [label.get_text().replace(r"\$", "$") for label in drawn.axes[0].get_xticklabels()]
    assert labels == words
    assert heights(drawn.axes[0]) == [0.2, 0.3, 0.5]
