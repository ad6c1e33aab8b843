"""Figures against scikit-learn on random predictions, and against cases worked by hand."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import balanced_accuracy_score, classification_report

from benchmarks.synthetic import make_store
from pipeline import InputError, params
from pipeline.evaluation import calibration, metrics, prediction, trained
from pipeline.models.classifier import Classifier
from pipeline.store import FeatureStore
from stages import evaluate as evaluate_stage
from stages import run
from tests.test_training import settings
from tests.trained import make_models

CPU = torch.device("cpu")

pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


@given(pairs)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_figures_agree_with_scikit_learns_report(rows: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(rows).T
    report = classification_report(truth, predicted, output_dict=True, zero_division=0)
    figures = metrics.scores(truth, predicted)
    assert figures["weighted_accuracy"] == pytest.approx((truth == predicted).mean())
    assert figures["unweighted_accuracy"] == pytest.approx(
        balanced_accuracy_score(truth, predicted)
    )
    assert figures["precision_weighted"] == pytest.approx(report["weighted avg"]["precision"])
    assert figures["precision_macro"] == pytest.approx(report["macro avg"]["precision"])
    assert figures["f1_weighted"] == pytest.approx(report["weighted avg"]["f1-score"])
    assert figures["f1_macro"] == pytest.approx(report["macro avg"]["f1-score"])


def test_a_class_that_is_never_predicted_by_hand() -> None:
    """True a a a b b c, predicted a a b b b b: c is never predicted."""
    truth, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 1])
    figures = metrics.scores(truth, predicted)
    assert figures["weighted_accuracy"] == pytest.approx(4 / 6)
    assert figures["unweighted_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert figures["precision_weighted"] == pytest.approx((3 * 1 + 2 * 0.5 + 1 * 0) / 6)
    assert figures["precision_macro"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert figures["f1_macro"] == pytest.approx((0.8 + 2 / 3 + 0) / 3)
    assert figures["f1_weighted"] == pytest.approx((3 * 0.8 + 2 * 2 / 3) / 6)


def test_no_utterance_is_an_error() -> None:
    with pytest.raises(ValueError, match="no utterance"):
        metrics.scores(np.array([]), np.array([]))


def predictions() -> pd.DataFrame:
    """Two folds of two utterances; fold 1 all right, fold 2 half."""
    probabilities = np.array([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4], [0.9, 0.1]])
    first = prediction.predictions_table(
        ["u1", "u2"], np.array([0, 1]), probabilities[:2], ["ang", "sad"], fold=1, seed=0
    )
    second = prediction.predictions_table(
        ["u3", "u4"], np.array([0, 1]), probabilities[2:], ["ang", "sad"], fold=2, seed=0
    )
    return pd.concat([first, second], ignore_index=True)


def test_predictions_name_classes_and_probabilities() -> None:
    assert predictions().columns.tolist() == [
        *("utterance", "fold", "seed", "true", "predicted"),
        *("p_ang", "p_sad"),
    ]
    assert predictions()["predicted"].tolist() == ["ang", "sad", "ang", "ang"]
    thirds = np.array([[2 / 3, 1 / 3]])
    table = prediction.predictions_table(["u"], np.array([0]), thirds, ["a", "b"], fold=1, seed=0)
    assert table[["p_a", "p_b"]].to_numpy().tolist() == [[0.666667, 0.333333]]


def test_summary_is_mean_and_sample_deviation_over_folds() -> None:
    folds = metrics.by_fold(predictions())
    assert folds["weighted_accuracy"].tolist() == [1.0, 0.5]
    summary = metrics.summary(folds)
    assert list(summary) == list(metrics.METRICS)
    assert summary["weighted_accuracy"]["mean"] == pytest.approx(0.75)
    assert summary["weighted_accuracy"]["deviation"] == pytest.approx(0.5 / np.sqrt(2), abs=1e-6)


def test_classes_and_confusion_count_all_test_parts() -> None:
    assert metrics.confusion(predictions(), ["ang", "sad"]).tolist() == [[2, 0], [1, 1]]
    by_class = metrics.by_class(predictions(), ["ang", "sad"])
    assert by_class["recall"].tolist() == [1.0, 0.5]
    assert by_class["precision"].tolist() == [0.666667, 1.0]
    swapped = predictions().rename(columns={"true": "predicted", "predicted": "true"})
    assert metrics.by_class(swapped, ["ang", "sad"])["recall"].tolist() == [0.666667, 1.0]


def test_a_class_that_never_occurs_has_no_recall_and_one_never_predicted_no_precision() -> None:
    """True ang sad, predicted ang hap."""
    table = prediction.predictions_table(
        ["u1", "u2"], np.array([0, 1]), np.eye(3)[[0, 2]], ["ang", "sad", "hap"], fold=1, seed=0
    )
    by_class = metrics.by_class(table, ["ang", "sad", "hap"])
    assert by_class["utterances"].tolist() == [1, 1, 0]
    assert by_class["recall"].tolist() == pytest.approx([1, 0, np.nan], nan_ok=True)
    assert by_class["precision"].tolist() == [1, 0, 0]


def of_seeds() -> pd.DataFrame:
    """Two folds of four utterances and two seeds; 4, 2, 2 and 1 of four are right."""
    tables = []
    for fold, seed, right in ((1, 0, 4), (1, 7, 2), (2, 0, 2), (2, 7, 1)):
        truth = np.array([0, 0, 1, 1])
        predicted = np.where(np.arange(4) < right, truth, 1 - truth)
        names = [f"u{4 * fold + k}" for k in range(4)]
        tables.append(
            prediction.predictions_table(
                names, truth, np.eye(2)[predicted], ["ang", "sad"], fold=fold, seed=seed
            )
        )
    return pd.concat(tables, ignore_index=True)


def test_deviations_over_folds_and_seeds_are_told_apart() -> None:
    folds = metrics.by_fold(of_seeds())
    assert folds[["fold", "seed"]].values.tolist() == [[1, 0], [1, 7], [2, 0], [2, 7]]
    assert folds["utterances"].tolist() == [4, 4, 4, 4]
    assert folds["weighted_accuracy"].tolist() == [1, 0.5, 0.5, 0.25]
    figure = metrics.summary(folds)["weighted_accuracy"]
    # means of the folds 0.75 and 0.375, of the seeds 0.75 and 0.375
    assert figure["mean"] == 0.5625
    assert figure["deviation"] == pytest.approx(0.375 / np.sqrt(2), abs=1e-6)
    assert figure["deviation_seeds"] == pytest.approx(0.375 / np.sqrt(2), abs=1e-6)
    # fold 2 as good as fold 1: no deviation over folds is left
    same = folds.assign(weighted_accuracy=[1, 0.5, 1, 0.5])
    figure = metrics.summary(same)["weighted_accuracy"]
    assert figure["deviation"] == 0
    assert figure["deviation_seeds"] == 0.353553  # 0.5 / sqrt(2), with six decimals
    assert metrics.summary(same[:3])["weighted_accuracy"]["mean"] == 0.833333


def test_an_ensemble_classifies_by_the_mean_probabilities_over_seeds() -> None:
    probabilities = {0: [[0.6, 0.4], [0.1, 0.9]], 7: [[0.1, 0.9], [0.2, 0.8]]}
    truth, classes = np.array([1, 0]), ["ang", "sad"]
    table = pd.concat(
        prediction.predictions_table(["a", "b"], truth, np.array(p), classes, fold=1, seed=seed)
        for seed, p in probabilities.items()
    )
    together = metrics.ensemble(table)
    assert together["utterance"].tolist() == ["a", "b"]
    assert together["p_ang"].tolist() == pytest.approx([0.35, 0.15])
    assert together["predicted"].tolist() == ["sad", "sad"]
    assert metrics.summary(metrics.by_fold(together))["weighted_accuracy"]["mean"] == 0.5


def test_one_seed_has_no_deviation_over_seeds_and_one_fold_none_over_folds() -> None:
    folds = metrics.by_fold(predictions())
    assert set(metrics.summary(folds)["f1_macro"]) == {"mean", "deviation"}
    assert metrics.summary(folds[:1])["f1_macro"]["deviation"] == 0


def test_groups_are_evaluated_over_all_folds_and_seeds() -> None:
    about = pd.DataFrame(
        {
            "utterance": [f"u{k}" for k in range(4, 12)],
            "speaker": ["M", "F", "M", "F", "M", "F", "M", "F"],
        }
    )
    table = metrics.by_group(of_seeds(), about, "speaker")
    assert table[["speaker", "utterances"]].values.tolist() == [["F", 4], ["M", 4]]
    # F has the second and fourth of each four: 2 + 1 + 1 + 0 of 8 are right; M 2 + 1 + 1 + 1
    assert table["weighted_accuracy"].tolist() == [4 / 8, 5 / 8]
    assert set(metrics.METRICS) < set(table.columns)


def confident(confidences: list[float], right: list[bool]) -> pd.DataFrame:
    """Predictions of `ang` with some confidences, of four classes."""
    rows = [[c, *[(1 - c) / 3] * 3] for c in confidences]
    truth = np.where(right, 0, 1)
    names = [f"u{k:02d}" for k in range(len(rows))]
    classes = ["ang", "sad", "hap", "neu"]
    return prediction.predictions_table(names, truth, np.array(rows), classes, fold=1, seed=0)


def test_calibration_by_hand() -> None:
    """An upper edge belongs to its bin: 0.75 to the third of four."""
    table = calibration.calibration(confident([0.6, 0.75, 0.9, 1.0], [False, True, True, True]), 4)
    assert table["lower"].tolist() == [0, 0.25, 0.5, 0.75]
    assert table["upper"].tolist() == [0.25, 0.5, 0.75, 1]
    assert table["utterances"].tolist() == [0, 0, 2, 2]
    assert table["confidence"].tolist()[2:] == pytest.approx([0.675, 0.95])
    assert table["accuracy"].tolist()[2:] == [0.5, 1]
    assert table[["confidence", "accuracy"]][:2].isna().all(axis=None)
    # half of the utterances are 0.175 off, half 0.05
    assert calibration.expected_calibration_error(table) == pytest.approx(0.1125)


@given(
    st.lists(st.tuples(st.integers(26, 100), st.booleans()), min_size=1, max_size=50),
    st.integers(1, 20),
)
def test_calibration_agrees_with_scikit_learns_curve(
    rows: list[tuple[int, bool]], bins: int
) -> None:
    confidences, right = [share / 100 for share, _ in rows], [ok for _, ok in rows]
    table = calibration.calibration(confident(confidences, right), bins)
    used = table[table["utterances"] > 0]
    accuracy, confidence = calibration_curve(right, confidences, n_bins=bins)
    assert table["utterances"].sum() == len(rows)
    np.testing.assert_allclose(used["accuracy"], accuracy)
    np.testing.assert_allclose(used["confidence"], confidence)


def test_the_hardest_have_the_least_mean_probability_of_the_truth() -> None:
    """u00 to u03 are right with 0.6, wrong with 0.7 twice, right with 0.4; ties go by id."""
    first = confident([0.6, 0.7, 0.7, 0.4], [True, False, False, True])
    assert prediction.hardest(first[::-1], 3) == ["u01", "u02", "u03"]
    # another seed is sure of u03 and not of u00: means 0.3, 0.1, 0.1 and 0.7
    second = confident([1.0, 0.7, 0.7, 1.0], [False, False, False, True]).assign(seed=1)
    both = pd.concat([first, second])
    assert prediction.hardest(both, 9) == ["u01", "u02", "u00", "u03"]
    assert prediction.hardest(both, 0) == []


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    with FeatureStore(make_store(tmp_path_factory.mktemp("evaluation"))) as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of random weights that join prosody to the audio, of two seeds."""
    path = tmp_path_factory.mktemp("models")
    return make_models(store, path, seeds=(10, 9), prosody="prosody", hops=2)


def test_scenarios_apart_by_hand() -> None:
    rows = pd.DataFrame(
        [("a", 1, "x", "x"), ("b", 1, "x", "y"), ("c", 2, "y", "y"), ("d", 2, "y", "x")],
        columns=["utterance", "fold", "true", "predicted"],
    ).assign(seed=0)
    scenarios = {"a": "scripted", "b": "improvised", "c": "scripted", "d": "", "e": "other"}
    found = metrics.by_scenario(rows, scenarios)
    assert list(found) == ["improvised", "scripted"]
    # the second fold tests nothing improvised
    assert found["improvised"]["weighted_accuracy"] == {"mean": 0.0, "deviation": 0.0}
    assert found["scripted"]["weighted_accuracy"] == {"mean": 1.0, "deviation": 0.0}
    assert metrics.by_scenario(rows, dict.fromkeys("abcd", "improvised")) == {}
    assert metrics.by_scenario(rows, dict.fromkeys("abcd", "")) == {}


def test_models_are_found_by_fold_and_seed(
    store: FeatureStore, folder: Path, tmp_path: Path
) -> None:
    found = trained.models(folder)
    assert [model[:2] for model in found] == [(f, s) for f in range(1, 6) for s in (9, 10)]
    assert found[1].path == folder / "fold-1-seed-10.safetensors"
    # with one seed, names do not tell it
    of_one = trained.models(make_models(store, tmp_path, seeds=(4,), name="mdre"))
    assert [model[:2] for model in of_one] == [(fold, 4) for fold in range(1, 6)]
    assert of_one[0].path.name == "fold-1.safetensors"


def test_no_model_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"contains no fold-.*run `dvc repro train`"):
        trained.models(tmp_path)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A folder that says that its models were trained with :func:`settings`."""
    parameters = settings().model_dump(include=trained.TRAINED_WITH) | {"label": "AMH-3"}
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "parameters.json").write_text(json.dumps(parameters), encoding="utf-8")
    return folder


def present(group: str, **values: Any) -> params.Params:
    raw = settings().model_dump()
    raw[group] |= values
    return params.parse(raw)


def test_models_of_the_present_parameters_are_evaluated(recorded: Path) -> None:
    trained.check_parameters(recorded, settings())
    # what decides no model
    trained.check_parameters(recorded, present("report", hardest=1))
    trained.check_parameters(recorded, present("compute", workers=1))


@pytest.mark.parametrize(
    ("group", "values", "message"),
    [
        ("model", {"hops": 5}, "model.hops was 3, is 5; `dvc repro train`"),
        ("model", {"options": {"heads": 2}}, "model.options.heads was absent, is 2; `dvc repro"),
        ("train", {"learning_rate": 0.5}, "train.learning_rate was 0.01, is 0.5; `dvc repro"),
        ("train", {"seeds": [0, 1]}, "train.seeds was [0], is [0, 1]; `dvc repro"),
        ("split", {"protocol": "random"}, 'split.protocol was "session", is "random"; `dvc repro'),
        ("labels", {"scheme": "four"}, 'labels.scheme was "seven", is "four"; `dvc repro'),
        (
            "train",
            {"epochs": 1, "patience": 1, "batch_size": 1, "clip_norm": 2.0},
            "batch_size was 8, is 1; train.clip_norm was 1.0, is 2.0; train.epochs was 40, is 1; "
            "and 1 more; `dvc repro train`",
        ),
    ],
)
def test_models_of_other_parameters_are_refused(
    recorded: Path, group: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        trained.check_parameters(recorded, present(group, **values))


@pytest.mark.parametrize("text", [None, "{", "[]", '{"model": {}}'])
def test_models_of_unknown_parameters_are_refused(recorded: Path, text: str | None) -> None:
    path = recorded / "parameters.json"
    path.unlink()
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"parameters.json: does not contain .*`dvc repro train`"):
        trained.check_parameters(recorded, settings())


def test_the_stage_refuses_models_of_other_parameters(
    recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recorded.parent)
    Path("params.yaml").write_text(params.as_yaml(present("model", hops=5).model_dump()))
    with pytest.raises(SystemExit, match="error: models: the models were .*model.hops was 3, is 5"):
        run(evaluate_stage.main)
    assert not Path("results").exists()


def asked(
    store: FeatureStore, folder: Path, rows: pd.DataFrame, *, absent: Mapping[str, int]
) -> np.ndarray:
    """[rows, classes] probabilities, one utterance at a time; `absent` streams have no step."""
    found = []
    places = {name: row for row, name in enumerate(store.utterances["utterance"])}
    for utterance, fold, seed in rows[["utterance", "fold", "seed"]].itertuples(index=False):
        classifier = Classifier.load(folder / f"fold-{fold}-seed-{seed}.safetensors")
        dataset = classifier.dataset(store)
        batch = dataset.batch([places[utterance]])
        lengths = {name: n * absent.get(name, 1) for name, n in batch.lengths.items()}
        joined = batch.joined
        if "mfcc" in absent:  # prosody is of no account without audio
            joined = {name: values + 99 for name, values in joined.items()}
        with torch.inference_mode():
            logits = classifier(dataclasses.replace(batch, lengths=lengths, joined=joined))
        found.append(logits[0].double().softmax(dim=0).numpy())
    return np.array(found)


def test_a_class_may_be_called_na(store: FeatureStore, folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "models")
    parts = pd.read_csv(copied / "folds.csv")
    for path in copied.glob("*.safetensors"):
        classifier = Classifier.load(path)
        parts["emotion"] = parts["emotion"].replace(classifier.classes[0], "NA")
        classifier.classes[0] = "NA"
        classifier.save(path)
    parts.to_csv(copied / "folds.csv", index=False)
    tested = prediction.test_folds(store, copied, CPU)
    expected = parts["emotion"][parts["part"] == "test"].tolist()
    assert sorted(tested["true"]) == sorted(2 * expected) and "NA" in expected  # of two seeds


@pytest.mark.parametrize(
    ("without", "stream"), [(None, ""), ("audio", "mfcc"), ("text", "glove"), ("video", "resnet")]
)
def test_each_model_is_asked_about_its_test_part(
    store: FeatureStore, folder: Path, without: str | None, stream: str
) -> None:
    table = prediction.test_folds(store, folder, CPU, without)
    assert table.index.is_unique
    parts = pd.read_csv(folder / "folds.csv")
    test = parts[parts["part"] == "test"]
    for seed in (9, 10):
        rows = table[table["seed"] == seed]
        assert (
            rows[["utterance", "fold"]].values.tolist()
            == test[["utterance", "fold"]].values.tolist()
        )
        assert rows["true"].tolist() == test["emotion"].tolist()
    columns = [str(name) for name in table if str(name).startswith("p_")]
    expected = asked(store, folder, table, absent={stream: 0} if stream else {})
    np.testing.assert_allclose(table[columns], expected, atol=2e-5)
    predicted = np.array([name.removeprefix("p_") for name in columns])[expected.argmax(axis=1)]
    assert table["predicted"].tolist() == predicted.tolist()


def test_what_each_modality_is_worth(store: FeatureStore, folder: Path) -> None:
    figures = prediction.missing(store, folder, CPU)
    assert list(figures) == ["without_audio", "without_text", "without_video"]
    table = prediction.test_folds(store, folder, CPU, "text")
    assert figures["without_text"] == metrics.summary(metrics.by_fold(table))
    assert figures["without_text"] != figures["without_audio"]


def test_of_one_modality_nothing_can_be_missing(store: FeatureStore, tmp_path: Path) -> None:
    make_models(store, tmp_path, name="mdre", modalities=["text"])
    assert prediction.missing(store, tmp_path, CPU) == {}


def test_a_modality_of_several_streams_goes_as_a_whole(store: FeatureStore, tmp_path: Path) -> None:
    """Without its words and frames a model of text knows nothing: all predictions are alike."""
    streams = {"audio": "unused", "text": ["glove", "resnet"], "video": "unused"}
    make_models(store, tmp_path, modalities=["text"], streams=streams, hops=1)
    columns = ["fold", "p_ang", "p_neu"]
    with_all = prediction.test_folds(store, tmp_path, CPU)[columns]
    without = prediction.test_folds(store, tmp_path, CPU, "text")[columns]
    assert len(with_all.drop_duplicates()) > 5
    assert len(without.drop_duplicates()) == 5  # one per fold
