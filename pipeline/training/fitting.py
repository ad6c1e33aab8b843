"""The training loop of one model: class balance, learning rate, mixed precision, early stopping.

It writes a checkpoint after each validation. A run that was killed resumes from its last checkpoint
and ends with the same result as one that was not.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline import InputError, params
from pipeline.evaluation.metrics import unweighted_accuracy, weighted_accuracy
from pipeline.evaluation.prediction import predict
from pipeline.models.classifier import Classifier
from pipeline.store.batches import Batch, DialogBatch
from pipeline.store.dataset import StoreDataset
from pipeline.system import compute
from pipeline.training.checkpoints import Checkpoint

# the one-cycle schedule (Smith and Topin, 2018), with torch's values: the share of the steps in
# which the rate rises, and the share of the learning rate that it starts at
_RISE, _FIRST = 0.3, 0.04


class DivergedError(InputError):
    """The loss or a parameter is not finite; the message names step, learning rate and remedy."""


@dataclass
class Progress:
    """The state of training after a validation.

    Attributes
    ----------
    order
        State of the random generator at the start of the epoch, before it draws the order of the
        batches.
    step
        Number of batches trained on.
    waited
        Validations since the best one.
    halvings
        How often the learning rate was halved.
    best
        Weighted accuracy and negative loss of the best validation.
    best_weights
        The weights of the best validation, on the CPU.
    rows
        The figures of each validation.
    finished
        Whether training has ended.
    """

    order: Mapping[str, Any]
    step: int = 0
    waited: int = 0
    halvings: int = 0
    best: tuple[float, float] = (-1.0, 0.0)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)
    finished: bool = False


def fit(
    classifier: Classifier,
    dataset: StoreDataset,
    train: np.ndarray,
    development: np.ndarray,
    *,
    truth: np.ndarray,
    targets: np.ndarray,
    settings: params.Train,
    device: torch.device,
    random: np.random.Generator,
    log: Callable[[dict[str, float]], None],
    checkpoint: Checkpoint | None = None,
) -> None:
    """Train with early stopping on the development part, then restore the best weights.

    Without `settings.patience` all epochs are trained and the last weights are kept; otherwise the
    best weights are those with the highest weighted accuracy on the development part; among
    equals, those with the lowest loss. Validation takes place every `settings.validate_every`
    epochs, rounded to a batch, and at the end.

    Parameters
    ----------
    classifier
        Trained in place; ends on the CPU with its best weights.
    dataset
        The features of all utterances of the store.
    train, development
        Indices of utterances in the store.
    truth
        [N] class of each utterance of the store, -1 for none; used for validation.
    targets
        Training targets: `truth`, or [N, classes] float32 class probabilities.
    settings
        Parameters `train`.
    device
        Where to compute.
    random
        Generator for the order of the batches.
    log
        Called after each validation, also for those of a loaded checkpoint, with the figures: the
        number of epochs trained, ``epoch``; the mean training loss since the last validation and
        the learning rate; the loss and the accuracies on the development part.
    checkpoint
        Written after each validation; if it exists, training resumes from it.

    Raises
    ------
    DivergedError
        If a training loss is not finite, or at a validation the development loss or a parameter.
        That validation is neither logged nor saved as a checkpoint.
    """
    run = Run(classifier, settings, device, random)
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        run.restore(state)
        for row in run.progress.rows:
            log(row)
    progress = run.progress
    epoch_steps = dataset.steps(train, settings.batch_size)
    total_steps = settings.epochs * epoch_steps
    weights = np.ones(len(classifier.classes))
    if settings.balance == "weights":
        weights = class_weights(truth[train])
    batches: Iterator[tuple[np.ndarray, Batch | DialogBatch]] | None = None
    loss_sum, seen = 0.0, 0
    while not progress.finished:
        if progress.step % epoch_steps == 0 or batches is None:
            progress.order = random.bit_generator.state
            drawn = train
            if settings.balance == "sampling":
                drawn = balanced(train, truth[train], random)
            order = list(dataset.shuffled(drawn, settings.batch_size, random))
            left = order[progress.step % epoch_steps :]
            batches = compute.ahead((indices, dataset.input(indices)) for indices in left)
        indices, batch = next(batches)
        rate = learning_rate(settings, progress.step / total_steps, progress.halvings)
        loss = run.learn(
            batch,
            torch.from_numpy(targets[indices]),
            torch.from_numpy(weights[truth[indices]]).float(),
            rate,
        )
        loss_sum += loss * len(indices)
        seen += len(indices)
        progress.step += 1
        if not math.isfinite(loss):
            raise _diverged(f"the training loss is {loss}", progress.step, rate)
        due = round((len(progress.rows) + 1) * settings.validate_every * epoch_steps)
        if progress.step < min(due, total_steps):
            continue

        probabilities = predict(classifier, dataset, development, settings.batch_size, device)
        figures = {
            "epoch": progress.step / epoch_steps,
            "train/loss": loss_sum / seen,
            "train/learning_rate": rate,
            **development_figures(probabilities, truth[development]),
        }
        if not math.isfinite(loss := figures["development/loss"]):
            raise _diverged(f"the development loss is {loss}", progress.step, rate)
        if name := run.not_finite():  # such as the vector of a word in no batch since its update
            raise _diverged(f"{name} is not finite", progress.step, rate)
        log(figures)
        loss_sum, seen = 0.0, 0
        run.record(figures)
        progress.finished = progress.waited == settings.patience or progress.step == total_steps
        if progress.step % epoch_steps == 0:  # a resumed run starts with the next epoch
            progress.order = random.bit_generator.state
        if checkpoint is not None:
            checkpoint.save(run.state())
    classifier.cpu().load_state_dict(progress.best_weights)


class Run:
    """A classifier in training, with its optimiser, gradient scaler and progress."""

    def __init__(
        self,
        classifier: Classifier,
        settings: params.Train,
        device: torch.device,
        random: np.random.Generator,
    ) -> None:
        # required by cuBLAS for deterministic results
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        self.classifier = classifier.to(device)
        self.settings = settings
        self.device = device
        # random numbers of the device, in addition to those of the CPU
        self.device_random = {"cuda": torch.cuda, "mps": torch.mps}.get(device.type)
        self.random = random
        self.progress = Progress(order=random.bit_generator.state)
        self.trained = [value for value in classifier.parameters() if value.requires_grad]
        self.optimiser = torch.optim.AdamW(  # Adam where the weight decay is 0
            self.trained, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.mixed = settings.mixed_precision and device.type == "cuda"
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.mixed)

    def learn(
        self, batch: Batch | DialogBatch, targets: Tensor, weights: Tensor, rate: float
    ) -> float:
        """Take one step on [B] or [B, classes] targets with [B] weights; returns the mean loss."""
        self.classifier.train()
        with torch.autocast(self.device.type, torch.float16, enabled=self.mixed):
            logits = self.classifier(batch.to(self.device))
        losses = nn.functional.cross_entropy(
            logits.float(), targets.to(self.device), reduction="none"
        )
        loss = (losses * weights.to(self.device)).mean()
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser)  # before clipping
        for parameter in self.trained:
            nn.utils.clip_grad_norm_(parameter, self.settings.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return loss.item()

    def not_finite(self) -> str | None:
        """Return the name of a parameter that is not finite, or None."""
        parameters = self.classifier.named_parameters()
        return next((name for name, value in parameters if not value.isfinite().all()), None)

    def record(self, figures: dict[str, float]) -> None:
        """Add a validation; keep the weights if they are the best, else count towards a plateau."""
        progress = self.progress
        progress.rows.append(figures)
        score = (figures["development/weighted_accuracy"], -figures["development/loss"])
        if score > progress.best or self.settings.patience is None:
            progress.best, progress.waited = score, 0
            weights = self.classifier.state_dict()
            progress.best_weights = {k: v.detach().cpu().clone() for k, v in weights.items()}
            return
        progress.waited += 1
        if progress.waited % max(1, self.settings.patience // 3) == 0:
            progress.halvings += 1

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` needs; of a finished run only the result."""
        if self.progress.finished:
            return {"progress": vars(self.progress)}
        return {
            "progress": vars(self.progress),
            "weights": self.classifier.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "device": self.device_random.get_rng_state() if self.device_random else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a state."""
        self.progress = Progress(**state["progress"])
        if self.progress.finished:
            return
        self.classifier.load_state_dict(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        if self.device_random:
            self.device_random.set_rng_state(state["device"])
        self.random.bit_generator.state = self.progress.order


def class_weights(classes: np.ndarray) -> np.ndarray:
    """Weight N / (C n_c) of each class c, from the classes of [N] training utterances.

    C is the number of classes that occur; the others have weight 0. The mean weight of the
    utterances is 1.
    """
    counts = np.bincount(classes)
    occurring = np.count_nonzero(counts)
    return np.divide(len(classes), occurring * counts, where=counts > 0, out=np.zeros(len(counts)))


def balanced(indices: np.ndarray, classes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Resample `indices` with replacement to the same number, with each class equally likely."""
    weights = class_weights(classes)[classes]
    return random.choice(indices, len(indices), p=weights / weights.sum())


def learning_rate(settings: params.Train, done: float, halvings: int) -> float:
    """The learning rate of a step, according to ``train.schedule``.

    Parameters
    ----------
    settings
        Parameters `train`.
    done
        Fraction of all steps that are done, from 0 to 1.
    halvings
        How often a third of ``train.patience`` passed without improvement.
    """
    if settings.schedule == "one_cycle":
        if done < _RISE:
            risen = (1 - math.cos(math.pi * done / _RISE)) / 2
            return settings.learning_rate * (_FIRST + (1 - _FIRST) * risen)
        done = (done - _RISE) / (1 - _RISE)
    if settings.schedule in ("cosine", "one_cycle"):
        return settings.learning_rate * (1 + math.cos(math.pi * done)) / 2
    if settings.schedule == "plateau":
        return settings.learning_rate * 0.5**halvings
    return settings.learning_rate


def _diverged(problem: str, step: int, rate: float) -> DivergedError:
    return DivergedError(
        f"{problem} at step {step} (learning rate {rate:g}), so training has diverged; lower "
        "train.learning_rate, or, if it is one of the first steps, check the streams for extreme "
        "values"
    )


def development_figures(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Loss and accuracies of [n, classes] probabilities, given [n] true classes."""
    predicted = probabilities.argmax(axis=1)
    chosen = probabilities[np.arange(len(truth)), truth]
    return {
        "development/loss": float(-np.log(np.maximum(chosen, 1e-12)).mean()),
        "development/weighted_accuracy": weighted_accuracy(truth, predicted),
        "development/unweighted_accuracy": unweighted_accuracy(truth, predicted),
    }
