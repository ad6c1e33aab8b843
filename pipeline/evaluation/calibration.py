"""Calibration: how well the confidence of predictions matches their accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd


def calibration(predictions: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """The accuracy of predictions by confidence: one row per bin of equal width.

    Confidence is the probability of the predicted class (Guo et al., ICML 2017). Columns: lower
    edge, exclusive, and upper edge, inclusive; number of utterances; their mean confidence; their
    accuracy, from 0 to 1. The last two are NaN for a bin without utterances.
    """
    confidence = predictions.filter(regex="^p_").max(axis=1).to_numpy()
    right = (predictions["true"] == predictions["predicted"]).to_numpy()
    edges = np.linspace(0, 1, bins + 1).round(6)  # rounded like the probabilities
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
    """Mean difference of confidence and accuracy over the bins, weighted by utterances (ECE)."""
    distance = (table["confidence"] - table["accuracy"]).abs().fillna(0.0)
    return float((distance * table["utterances"]).sum() / table["utterances"].sum())
