"""The weights that models learned for the layers of a stream of several layers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pipeline.evaluation.trained import models
from pipeline.models.classifier import Classifier


def weights(folder: Path) -> pd.DataFrame:
    """One row per stream and layer: mean weight and its standard deviation over all models.

    The weights of a stream sum to 1. The table is empty if no stream has several layers.

    Parameters
    ----------
    folder
        The models.
    """
    rows = [
        {"stream": stream, "layer": layer, "weight": weight}
        for trained in models(folder)
        for stream, weights in Classifier.load(trained.path).layer_weights().items()
        for layer, weight in weights.items()
    ]
    table = pd.DataFrame(rows, columns=["stream", "layer", "weight"])
    of_layer = table.groupby(["stream", "layer"], sort=False)["weight"]
    return of_layer.agg(weight="mean", deviation="std").fillna(0.0).reset_index()
