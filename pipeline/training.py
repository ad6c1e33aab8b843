"""Training of the folds: one model each, in its own process, on one thread.

One thread, so that a model is the same on a machine of any number of cores; cores are used by
training folds side by side.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from dvclive import Live
from torch import nn
from tqdm import tqdm

from pipeline import params
from pipeline.batches import Examples
from pipeline.corpus import labels, splits
from pipeline.evaluation import predict, unweighted_accuracy, weighted_accuracy
from pipeline.models.classifier import Classifier, Standardise
from pipeline.store import FeatureStore, StoreError


@dataclass(frozen=True)
class Job:
    """Everything that trains one fold.

    Attributes
    ----------
    store
        The feature store.
    fold
        Its utterances for training, development and testing, by id; the last are not touched.
    truth
        [N] class of each utterance of the store, -1 for none.
    targets
        What is trained towards: `truth`, or [N, classes] float32 shares of the raters' votes.
    classes
        The classes' names.
    model, train
        Parameters.
    weights, curves
        Where the model (a file) and its learning curves (a folder, DVCLive's) are written.
    device
        A torch device's name.
    """

    store: Path
    fold: splits.Fold
    truth: np.ndarray
    targets: np.ndarray
    classes: list[str]
    model: params.Model
    train: params.Train
    weights: Path
    curves: Path
    device: str


def plan(
    store: Path, settings: params.Params, *, lists: Path, models: Path, curves: Path, device: str
) -> list[Job]:
    """Divide a store into folds; a job each.

    Writes ``folds.csv`` (utterance, fold, part, emotion: the class) and ``parameters.json`` into
    `models`, so that evaluation and report need neither the split nor the parameter file.

    Parameters
    ----------
    store
        The feature store.
    settings
        All parameters.
    lists
        The folder of fixed splits.
    models, curves
        Where models and learning curves go.
    device
        A torch device's name.

    Raises
    ------
    SplitError, LabelError, StoreError
        If the store's utterances cannot be divided or labelled as the parameters ask.
    """
    scheme = labels.scheme(settings.labels.scheme)
    with FeatureStore(store) as opened:
        table = opened.utterances
        classes = scheme.apply(table["emotion"])
        targets = classes
        if settings.train.targets == "votes":
            targets = _shares_of_votes(opened, scheme, classes)
    folds = splits.folds(table, classes, settings.split, lists)

    models.mkdir(parents=True, exist_ok=True)
    assignments = splits.assignments(folds)
    names = dict(zip(table["utterance"], classes, strict=True))
    assignments["emotion"] = [scheme.classes[names[name]] for name in assignments["utterance"]]
    assignments.to_csv(models / "folds.csv", index=False, lineterminator="\n")
    parameters = settings.model_dump(include={"labels", "split", "model", "train"})
    parameters["classes"] = list(scheme.classes)
    text = json.dumps(parameters, indent=2) + "\n"
    (models / "parameters.json").write_text(text, encoding="utf-8")

    return [
        Job(
            store=store,
            fold=fold,
            truth=classes,
            targets=targets,
            classes=list(scheme.classes),
            model=settings.model,
            train=settings.train,
            weights=models / f"fold-{fold.number}.safetensors",
            curves=curves / f"fold-{fold.number}",
            device=device,
        )
        for fold in folds
    ]


def _shares_of_votes(store: FeatureStore, scheme: labels.Scheme, classes: np.ndarray) -> np.ndarray:
    """[N, classes] float32 from the store's votes."""
    if "votes" not in store.streams:
        raise StoreError(
            f"{store.path}: holds no votes, which train.targets votes needs; make it again with "
            "`dvc repro store`, or set train.targets to majority"
        )
    stream = store.stream("votes")
    return scheme.distribution(stream.group["values"][:], stream.names, classes)


def describe(jobs: list[Job]) -> str:
    """Say how many utterances the folds have, and how many labelled ones are in none."""
    used = {name for job in jobs for part in splits.PARTS for name in getattr(job.fold, part)}
    unused = int((jobs[0].truth >= 0).sum()) - len(used)
    text = f"{len(jobs)} {'folds' if len(jobs) > 1 else 'fold'} of {len(used)} labelled utterances"
    return f"{text}; {unused} more are not in the list" if unused else text


def train_folds(jobs: list[Job], workers: int) -> None:
    """Train all folds, `workers` at a time; each in a process of its own with a progress bar.

    A GPU is used by one fold at a time.
    """
    if jobs[0].device != "cpu":
        workers = 1
    context = get_context("spawn")
    tqdm.set_lock(context.RLock())
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), context, initializer=_start, initargs=(tqdm.get_lock(),)
    )
    try:
        for _ in pool.map(train_fold, jobs):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def _start(lock: object) -> None:
    """Prepare a worker process."""
    tqdm.set_lock(lock)
    torch.set_num_threads(1)


def train_fold(job: Job) -> None:
    """Train one fold and write its best model and its curves."""
    with FeatureStore(job.store) as store:
        examples = Examples(store, job.model, job.train.max_steps)
        index = {name: row for row, name in enumerate(store.utterances["utterance"])}
        train = np.array([index[utterance] for utterance in job.fold.train])
        development = np.array([index[utterance] for utterance in job.fold.development])

        seed = job.train.seed + job.fold.number
        torch.manual_seed(seed)
        classifier = build(examples, job.model, job.train.max_steps, job.classes, train)
        with Live(str(job.curves), save_dvc_exp=False, dvcyaml=None) as live:
            bar = tqdm(
                total=math.ceil(job.train.epochs / job.train.validate_every),
                desc=f"fold {job.fold.number}",
                unit="validation",
            )

            def log(figures: dict[str, float]) -> None:
                for name, value in figures.items():
                    live.log_metric(name, value)
                live.next_step()
                bar.set_postfix(WA=f"{figures['development/weighted_accuracy']:.3f}", refresh=False)
                bar.update()

            fit(
                classifier,
                examples,
                train,
                development,
                truth=job.truth,
                targets=job.targets,
                settings=job.train,
                device=torch.device(job.device),
                random=np.random.default_rng(seed),
                log=log,
            )
            bar.close()
    classifier.save(job.weights)


def build(
    examples: Examples,
    settings: params.Model,
    max_steps: params.MaxSteps,
    classes: list[str],
    train: np.ndarray,
) -> Classifier:
    """A fresh classifier whose input layers know the training part's statistics and vectors."""
    classifier = Classifier(settings, examples.widths, examples.vocabularies, classes, max_steps)
    for name, layer in classifier.inputs.items():
        if isinstance(layer, Standardise):
            mean, deviation = examples.statistics(name, train)
            layer.mean.copy_(torch.from_numpy(mean))
            layer.deviation.copy_(torch.from_numpy(deviation))
        elif isinstance(layer, nn.Embedding):
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(examples.streams[name].vectors))
    return classifier


def fit(
    classifier: Classifier,
    examples: Examples,
    train: np.ndarray,
    development: np.ndarray,
    *,
    truth: np.ndarray,
    targets: np.ndarray,
    settings: params.Train,
    device: torch.device,
    random: np.random.Generator,
    log: Callable[[dict[str, float]], None],
) -> None:
    """Train until the development part no longer gets better; restore the best weights.

    Better is a higher weighted accuracy on the development part, or the same with less loss. That
    part is looked at every `settings.validate_every` epochs, to the nearest batch, and at the end.

    Parameters
    ----------
    classifier
        Trained in place; ends on the CPU with its best weights.
    examples
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
        Called after each validation with its figures: ``epoch``, the epochs trained so far; the
        mean training loss since the last one; loss and accuracies of the development part.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs it to repeat itself
    torch.use_deterministic_algorithms(True, warn_only=True)
    classifier.to(device)
    trained = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(
        trained, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    an_epoch = math.ceil(len(train) / settings.batch_size)
    last = settings.epochs * an_epoch
    batches = chain.from_iterable(
        examples.shuffled(train, settings.batch_size, random) for _ in range(settings.epochs)
    )
    best, best_weights, waited = (-1.0, 0.0), {}, 0
    loss_sum, seen, validations = 0.0, 0, 0
    for step, indices in enumerate(batches, start=1):
        classifier.train()
        batch = examples.batch(indices).to(device)
        logits = classifier(batch.sequences, batch.lengths)
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(targets[indices]).to(device))
        optimiser.zero_grad()
        loss.backward()
        for parameter in trained:
            nn.utils.clip_grad_norm_(parameter, settings.clip_norm)
        optimiser.step()
        loss_sum += loss.item() * len(indices)
        seen += len(indices)
        if step < min(round((validations + 1) * settings.validate_every * an_epoch), last):
            continue

        probabilities = predict(classifier, examples, development, settings.batch_size, device)
        figures = {
            "epoch": step / an_epoch,
            "train/loss": loss_sum / seen,
            **_development(probabilities, truth[development]),
        }
        log(figures)
        loss_sum, seen, validations = 0.0, 0, validations + 1
        score = (figures["development/weighted_accuracy"], -figures["development/loss"])
        if score > best:
            best, waited = score, 0
            best_weights = {
                name: value.detach().cpu().clone()
                for name, value in classifier.state_dict().items()
            }
        else:
            waited += 1
            if waited == settings.patience:
                break
    classifier.cpu().load_state_dict(best_weights)


def _development(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Loss and accuracies of [n, classes] probabilities against [n] true classes."""
    predicted = probabilities.argmax(axis=1)
    chosen = probabilities[np.arange(len(truth)), truth]
    return {
        "development/loss": float(-np.log(np.maximum(chosen, 1e-12)).mean()),
        "development/weighted_accuracy": weighted_accuracy(truth, predicted),
        "development/unweighted_accuracy": unweighted_accuracy(truth, predicted),
    }
