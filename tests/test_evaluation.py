"""Figures against scikit-learn on random predictions, and against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, classification_report

from pipeline import evaluation

pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


@given(pairs)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_figures_agree_with_scikit_learns_report(rows: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(rows).T
    report = classification_report(truth, predicted, output_dict=True, zero_division=0)
    figures = evaluation.metrics(truth, predicted)
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
    figures = evaluation.metrics(truth, predicted)
    assert figures["weighted_accuracy"] == pytest.approx(4 / 6)
    assert figures["unweighted_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert figures["precision_weighted"] == pytest.approx((3 * 1 + 2 * 0.5 + 1 * 0) / 6)
    assert figures["precision_macro"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert figures["f1_macro"] == pytest.approx((0.8 + 2 / 3 + 0) / 3)
    assert figures["f1_weighted"] == pytest.approx((3 * 0.8 + 2 * 2 / 3) / 6)


def test_no_utterance_is_an_error() -> None:
    with pytest.raises(ValueError, match="no utterance"):
        evaluation.metrics(np.array([]), np.array([]))


def predictions() -> pd.DataFrame:
    """Two folds of two utterances; fold 1 all right, fold 2 half."""
    probabilities = np.array([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4], [0.9, 0.1]])
    first = evaluation.predictions_table(
        ["u1", "u2"], np.array([0, 1]), probabilities[:2], ["ang", "sad"], fold=1, seed=0
    )
    second = evaluation.predictions_table(
        ["u3", "u4"], np.array([0, 1]), probabilities[2:], ["ang", "sad"], fold=2, seed=0
    )
    return pd.concat([first, second], ignore_index=True)


def test_predictions_name_classes_and_probabilities() -> None:
    assert predictions().columns.tolist() == [
        *("utterance", "fold", "seed", "true", "predicted"),
        *("p_ang", "p_sad"),
    ]
    assert predictions()["predicted"].tolist() == ["ang", "sad", "ang", "ang"]


def test_summary_is_mean_and_sample_deviation_over_folds() -> None:
    folds = evaluation.by_fold(predictions())
    assert folds["weighted_accuracy"].tolist() == [1.0, 0.5]
    summary = evaluation.summary(folds)
    assert list(summary) == list(evaluation.METRICS)
    assert summary["weighted_accuracy"]["mean"] == pytest.approx(0.75)
    assert summary["weighted_accuracy"]["deviation"] == pytest.approx(0.5 / np.sqrt(2), abs=1e-6)


def test_classes_and_confusion_count_all_test_parts() -> None:
    assert evaluation.confusion(predictions(), ["ang", "sad"]).tolist() == [[2, 0], [1, 1]]
    by_class = evaluation.by_class(predictions(), ["ang", "sad"])
    assert by_class["recall"].tolist() == [1.0, 0.5]
    assert by_class["precision"].tolist() == pytest.approx([2 / 3, 1.0], abs=1e-6)
