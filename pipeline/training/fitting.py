"""The training loop of one fold: balance, learning rate, mixed precision, early stopping.

It can be stopped at any moment and go on from its last checkpoint, which it writes after each
validation, with the same result as if it had never stopped.
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
from pipeline.store.batches import Batch, StoreDataset
from pipeline.system import compute
from pipeline.training.checkpoints import Checkpoint

Weights = dict[str, Tensor]


class DivergedError(InputError):
    """Training whose loss or parameters are not finite; names step, learning rate and remedy."""


@dataclass
class Progress:
    """How far training has come, at a validation.

    Attributes
    ----------
    step
        Batches trained on.
    order
        State of the source of the batches' order, at the start of the present epoch.
    waited
        Validations since the best one.
    halvings
        Times the learning rate was halved.
    best
        Weighted accuracy and negative loss of the best validation.
    best_weights
        The weights it was reached with, on the CPU.
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
    best_weights: Weights = field(default_factory=dict)
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
    """Train until the development part no longer gets better; restore the best weights.

    Better is a higher weighted accuracy on the development part, or the same with less loss. That
    part is looked at every `settings.validate_every` epochs, to the nearest batch, and at the end.

    Parameters
    ----------
    classifier
        Trained in place; ends on the CPU with its best weights.
    dataset
        The store's utterances.
    train, development
        Indices into the store.
    truth
        [N] class of each utterance of the store, -1 for none; the development part is measured
        against it.
    targets
        What is trained towards: `truth`, or [N, classes] float32 shares of the classes.
    settings
        Parameters `train`.
    device
        Where to compute.
    random
        Source of the batches' order.
    log
        Called after each validation, and for those of a checkpoint, with its figures: ``epoch``,
        the epochs trained so far; the mean training loss since the last one and the learning rate;
        loss and accuracies of the development part.
    checkpoint
        Written after each validation; training goes on from one that is there.

    Raises
    ------
    DivergedError
        At the first training loss that is not finite, or at a validation where the development
        loss or a parameter is not. Nothing of it is logged or kept as a checkpoint.
    """
    run = Run(classifier, settings, device, random)
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        run.restore(state)
        for row in run.progress.rows:
            log(row)
    progress = run.progress
    an_epoch = math.ceil(len(train) / settings.batch_size)
    last = settings.epochs * an_epoch
    weights = np.ones(len(classifier.classes))
    if settings.balance == "weights":
        weights = class_weights(truth[train])
    batches: Iterator[tuple[np.ndarray, Batch]] | None = None
    loss_sum, seen = 0.0, 0
    while not progress.finished:
        if progress.step % an_epoch == 0 or batches is None:
            progress.order = random.bit_generator.state
            drawn = train
            if settings.balance == "sampling":
                drawn = balanced(train, truth[train], random)
            order = list(dataset.shuffled(drawn, settings.batch_size, random))
            left = order[progress.step % an_epoch :]
            batches = compute.ahead((indices, dataset.batch(indices)) for indices in left)
        indices, batch = next(batches)
        rate = learning_rate(settings, progress.step / last, progress.halvings)
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
        due = round((len(progress.rows) + 1) * settings.validate_every * an_epoch)
        if progress.step < min(due, last):
            continue

        probabilities = predict(classifier, dataset, development, settings.batch_size, device)
        figures = {
            "epoch": progress.step / an_epoch,
            "train/loss": loss_sum / seen,
            "train/learning_rate": rate,
            **_development(probabilities, truth[development]),
        }
        if not math.isfinite(loss := figures["development/loss"]):
            raise _diverged(f"the development loss is {loss}", progress.step, rate)
        if name := run.not_finite():  # those of a rare word may be in no loss since
            raise _diverged(f"{name} is not finite", progress.step, rate)
        log(figures)
        loss_sum, seen = 0.0, 0
        run.judge(figures)
        progress.finished = progress.waited == settings.patience or progress.step == last
        if progress.step % an_epoch == 0:  # the next epoch's order is drawn from here
            progress.order = random.bit_generator.state
        if checkpoint is not None:
            checkpoint.save(run.state())
    classifier.cpu().load_state_dict(progress.best_weights)


class Run:
    """A classifier with all that changes while it is trained."""

    def __init__(
        self,
        classifier: Classifier,
        settings: params.Train,
        device: torch.device,
        random: np.random.Generator,
    ) -> None:
        # cuBLAS needs it to repeat itself
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        self.classifier = classifier.to(device)
        self.settings = settings
        self.device = device
        # the device's own random numbers; the CPU's are torch's
        self.device_random = {"cuda": torch.cuda, "mps": torch.mps}.get(device.type)
        self.random = random
        self.progress = Progress(order=random.bit_generator.state)
        self.trained = [value for value in classifier.parameters() if value.requires_grad]
        self.optimiser = torch.optim.Adam(
            self.trained, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.mixed = settings.mixed_precision and device.type == "cuda"
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.mixed)

    def learn(self, batch: Batch, targets: Tensor, weights: Tensor, rate: float) -> float:
        """One step towards [B] or [B, classes] targets with [B] weights; the mean loss."""
        self.classifier.train()
        with torch.autocast(self.device.type, torch.float16, enabled=self.mixed):
            logits = self.classifier(batch.to(self.device))
        losses = nn.functional.cross_entropy(
            logits.float(), targets.to(self.device), reduction="none"
        )
        loss = (losses * weights.to(self.device)).mean()
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser)  # gradients are clipped at their true size
        for parameter in self.trained:
            nn.utils.clip_grad_norm_(parameter, self.settings.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return loss.item()

    def not_finite(self) -> str | None:
        """The name of a parameter that is not finite; None if all are."""
        for name, value in self.classifier.named_parameters():
            if not torch.isfinite(value).all():
                return name
        return None

    def judge(self, figures: dict[str, float]) -> None:
        """Keep the weights if they are the best so far; halve the rate on a plateau."""
        progress = self.progress
        progress.rows.append(figures)
        score = (figures["development/weighted_accuracy"], -figures["development/loss"])
        if score > progress.best:
            progress.best, progress.waited = score, 0
            progress.best_weights = _copied(self.classifier)
            return
        progress.waited += 1
        if progress.waited % max(1, self.settings.patience // 3) == 0:
            progress.halvings += 1

    def state(self) -> dict[str, Any]:
        """All that :meth:`restore` needs; of a finished run its result alone."""
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
        """Go on from a state."""
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
    """N / (C n_c) for each class c of [n] training utterances; their mean over those is 1.

    A class that does not occur has no weight; C counts those that do.
    """
    counts = np.bincount(classes)
    occurring = np.count_nonzero(counts)
    return np.divide(len(classes), occurring * counts, where=counts > 0, out=np.zeros(len(counts)))


def balanced(indices: np.ndarray, classes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """As many utterances as `indices` has, drawn with replacement, each class equally likely."""
    weights = class_weights(classes)[classes]
    return random.choice(indices, len(indices), p=weights / weights.sum())


def learning_rate(settings: params.Train, done: float, halvings: int) -> float:
    """The rate of a step, by ``train.schedule``.

    Parameters
    ----------
    settings
        Parameters `train`.
    done
        Share of all steps that are done, from 0 to 1.
    halvings
        Times the development part stopped getting better for a third of the patience.
    """
    if settings.schedule == "cosine":
        return settings.learning_rate * (1 + math.cos(math.pi * done)) / 2
    if settings.schedule == "plateau":
        return settings.learning_rate * 0.5**halvings
    return settings.learning_rate


def _diverged(what: str, step: int, rate: float) -> DivergedError:
    """The error of a step, counted from 1."""
    return DivergedError(
        f"{what} at step {step} (learning rate {rate:g}), so training has diverged; lower "
        "train.learning_rate, or at the first steps look for extreme values in the streams"
    )


def _copied(classifier: Classifier) -> Weights:
    return {name: value.detach().cpu().clone() for name, value in classifier.state_dict().items()}


def _development(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Loss and accuracies of [n, classes] probabilities against [n] true classes."""
    predicted = probabilities.argmax(axis=1)
    chosen = probabilities[np.arange(len(truth)), truth]
    return {
        "development/loss": float(-np.log(np.maximum(chosen, 1e-12)).mean()),
        "development/weighted_accuracy": weighted_accuracy(truth, predicted),
        "development/unweighted_accuracy": unweighted_accuracy(truth, predicted),
    }
