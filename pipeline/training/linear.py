"""Fitting the linear classifier: multinomial logistic regression by scikit-learn.

Its strength, scikit-learn's C, is chosen on the development part. Then it is fitted to the training
and the development part together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from pipeline import params
from pipeline.evaluation.prediction import BATCH
from pipeline.features.stream import Statistics
from pipeline.models.classifier import Classifier
from pipeline.store.batches import Batch
from pipeline.store.dataset import StoreDataset
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.fitting import Progress, class_weights, development_figures

if TYPE_CHECKING:
    from pipeline.models.linear import Linear

STRENGTHS = tuple(10.0**power for power in range(-5, 2))
"""The values of C that are tried."""

_NEVER = -1e4  # bias of a class that the training part lacks: its probability is 0


def fit(
    classifier: Classifier,
    dataset: StoreDataset,
    train: np.ndarray,
    development: np.ndarray,
    *,
    truth: np.ndarray,
    targets: np.ndarray,
    settings: params.Train,
    log: Callable[[dict[str, float]], None],
    checkpoint: Checkpoint | None = None,
) -> None:
    """Fit a linear classifier, with the best C on the development part.

    The best has the highest unweighted accuracy; among equals, the lowest loss. The pooled values
    of both parts are held in memory. Of the parameters `train`, ``targets`` and
    ``balance`` apply; ``sampling`` weighs classes like ``weights``, which it equals on average.

    Parameters
    ----------
    classifier
        Fitted in place.
    dataset, train, development, truth, targets, checkpoint
        As of :func:`pipeline.training.fitting.fit`; the checkpoint has the result.
    settings
        Parameters `train`.
    log
        Called for each C with the figures: ``epoch``, the number of the fit from 1; ``strength``,
        its C; the loss and the accuracies on the development part.
    """
    model: Linear = classifier.model
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        progress = Progress(**state["progress"])
    else:
        progress = Progress(order={}, finished=True)
        parts = [pooled(classifier, dataset, part) for part in (train, development)]
        problem = _Problem(model, parts[0], targets[train], settings.balance)
        scores = []
        for number, strength in enumerate(STRENGTHS, start=1):
            problem.solve(strength)
            with torch.inference_mode():
                logits = model.logits(torch.from_numpy(parts[1]).float())
            probabilities = logits.double().softmax(dim=1).numpy()
            figures = development_figures(probabilities, truth[development])
            scores.append(
                (figures["development/unweighted_accuracy"], -figures["development/loss"])
            )
            progress.rows.append({"epoch": float(number), "strength": strength, **figures})
        best = STRENGTHS[max(range(len(scores)), key=scores.__getitem__)]
        both = np.concatenate([train, development])
        _Problem(model, np.concatenate(parts), targets[both], settings.balance).solve(best)
        progress.best_weights = {k: v.clone() for k, v in classifier.state_dict().items()}
        if checkpoint is not None:
            checkpoint.save({"progress": vars(progress)})
    for row in progress.rows:
        log(row)
    classifier.load_state_dict(progress.best_weights)


@torch.inference_mode()
def pooled(classifier: Classifier, dataset: StoreDataset, indices: np.ndarray) -> np.ndarray:
    """[n, W] float64 pooled values of utterances; NaN for streams that they lack."""
    classifier.eval()

    def values(batch: Batch) -> np.ndarray:
        return classifier.model.pooled(*classifier.standardised(batch)).double().numpy()

    return dataset.by_batch(indices, BATCH, values)


class _Problem:
    """Logistic regression of [n, W] values to [n] classes or [n, classes] shares of classes."""

    def __init__(
        self, model: Linear, values: np.ndarray, targets: np.ndarray, balance: str
    ) -> None:
        counts = np.maximum((~np.isnan(values)).sum(axis=0), 1)
        mean = np.nansum(values, axis=0) / counts
        variance = np.nansum((values - mean) ** 2, axis=0) / counts
        mean, deviation = Statistics.of(mean, np.sqrt(variance))
        self.values = np.nan_to_num((values - mean) / deviation)
        self.basis: np.ndarray | None = None
        if self.values.shape[1] > len(self.values):
            # the coefficients lie in the span of the utterances: solve in fewer coordinates
            left, scale, self.basis = np.linalg.svd(self.values, full_matrices=False)
            self.values = left * scale
        self.model = model
        _copy(model.standardise.mean, mean)
        _copy(model.standardise.deviation, deviation)

        shares = targets if targets.ndim == 2 else np.eye(model.classifier.out_features)[targets]
        self.rows, self.classes = np.nonzero(shares)
        self.weights = shares[self.rows, self.classes].astype(np.float64)
        if balance != "none":
            self.weights *= class_weights(shares.argmax(axis=1))[self.classes]

    def solve(self, strength: float) -> None:
        """Fit the model with one C."""
        solver = LogisticRegression(C=strength, max_iter=2000)
        solver.fit(self.values[self.rows], self.classes, self.weights)
        coefficients, bias = solver.coef_, solver.intercept_
        if len(solver.classes_) == 2:  # scikit-learn has one logit for two classes
            coefficients, bias = np.vstack([0 * coefficients, coefficients]), np.append(0, bias)
        if self.basis is not None:
            coefficients = coefficients @ self.basis
        layer = self.model.classifier
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.fill_(_NEVER)
        _copy(layer.weight, coefficients, solver.classes_)
        _copy(layer.bias, bias, solver.classes_)


def _copy(target: Tensor, array: np.ndarray, rows: Any = ...) -> None:
    with torch.no_grad():
        target[rows] = torch.from_numpy(array).to(target.dtype)
