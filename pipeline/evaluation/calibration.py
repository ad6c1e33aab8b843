"""How far confidences can be believed: the reliability of predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd


def calibration(predictions: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """How often predictions of a confidence are right: a row a bin of equal width.

    Confidence is the probability of the predicted class (Guo et al., ICML 2017). Columns: lower and
    upper edge, the upper one belonging to the bin; utterances; their mean confidence; their
    accuracy, a share. The last two are empty for a bin without utterances.
    """
    confidence = predictions.filter(regex="^p_").max(axis=1).to_numpy()
    right = (predictions["true"] == predictions["predicted"]).to_numpy()
    edges = np.linspace(0, 1, bins + 1).round(6)  # as the probabilities, so that ties are exact
    places = np.clip(np.searchsorted(edges, confidence) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = np.bincount(places, confidence, bins) / counts
        accuracies = np.bincount(places, right, bins) / counts
    return pd.DataFrame(
        {
            "lower": edges[:-1],
            "upper": edges[1:],
            "utterances": counts,
            "confidence": means,
            "accuracy": accuracies,
        }
    )


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Mean distance of confidence and accuracy over the bins, weighted by utterances (ECE)."""
    distance = (table["confidence"] - table["accuracy"]).abs().fillna(0.0)
    return float((distance * table["utterances"]).sum() / table["utterances"].sum())
