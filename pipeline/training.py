"""Training of the folds: one model each, in its own process, on one thread.

One thread, so that a model is the same on a machine of any number of cores; cores are used by
training folds side by side.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
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
from pipeline.store import FeatureStore


@dataclass(frozen=True)
class Job:
    """Everything that trains one fold.

    Attributes
    ----------
    store
        The feature store.
    fold
        Its utterances for training, development and testing, by id; the last are not touched.
    targets
        [N] class of each utterance of the store, -1 for none.
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
    targets: np.ndarray
    classes: list[str]
    model: params.Model
    train: params.Train
    weights: Path
    curves: Path
    device: str


def plan(
    store: Path, settings: params.Params, *, models: Path, curves: Path, device: str
) -> list[Job]:
    """Divide a store into folds; a job each.

    Writes ``folds.csv`` (utterance, fold, part, emotion: the class) and ``parameters.json`` into
    `models`, so that evaluation and report need neither the split nor the parameter file.

    Raises
    ------
    ValueError
        If the store's utterances cannot be divided as the parameters ask.
    """
    with FeatureStore(store) as opened:
        table = opened.utterances
    scheme = labels.scheme(settings.labels.scheme)
    classes = scheme.apply(table["emotion"])
    folds = splits.folds(table, classes, settings.split)

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
            targets=classes,
            classes=list(scheme.classes),
            model=settings.model,
            train=settings.train,
            weights=models / f"fold-{fold.number}.safetensors",
            curves=curves / f"fold-{fold.number}",
            device=device,
        )
        for fold in folds
    ]


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
            bar = tqdm(total=job.train.epochs, desc=f"fold {job.fold.number}", unit="epoch")

            def log(figures: dict[str, float]) -> None:
                for name, value in figures.items():
                    live.log_metric(name, value)
                live.next_step()
                bar.set_postfix(WA=f"{figures['development/weighted_accuracy']:.3f}", refresh=False)
                bar.update()

            fit(
                classifier,
                examples,
                job.targets,
                train,
                development,
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
    targets: np.ndarray,
    train: np.ndarray,
    development: np.ndarray,
    *,
    settings: params.Train,
    device: torch.device,
    random: np.random.Generator,
    log: Callable[[dict[str, float]], None],
) -> None:
    """Train until the development part no longer gets better; restore the best weights.

    Better is a higher weighted accuracy on the development part, or the same with less loss.

    Parameters
    ----------
    classifier
        Trained in place; ends on the CPU with its best weights.
    examples
        The store's utterances.
    targets
        [N] class of each utterance of the store, -1 for none.
    train, development
        Indices into the store.
    settings
        Parameters `train`.
    device
        Where to compute.
    random
        Source of the batches' order.
    log
        Called after each epoch with its figures.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs it to repeat itself
    torch.use_deterministic_algorithms(True, warn_only=True)
    classifier.to(device)
    trained = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(
        trained, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    best, best_weights, waited = (-1.0, 0.0), {}, 0
    for _ in range(settings.epochs):
        classifier.train()
        loss_sum = 0.0
        for indices in examples.shuffled(train, settings.batch_size, random):
            batch = examples.batch(indices).to(device)
            logits = classifier(batch.sequences, batch.lengths)
            loss = nn.functional.cross_entropy(
                logits, torch.from_numpy(targets[indices]).to(device)
            )
            optimiser.zero_grad()
            loss.backward()
            for parameter in trained:
                nn.utils.clip_grad_norm_(parameter, settings.clip_norm)
            optimiser.step()
            loss_sum += loss.item() * len(indices)

        probabilities = predict(classifier, examples, development, settings.batch_size, device)
        truth, predicted = targets[development], probabilities.argmax(axis=1)
        chosen = probabilities[np.arange(len(truth)), truth]
        figures = {
            "train/loss": loss_sum / len(train),
            "development/loss": float(-np.log(np.maximum(chosen, 1e-12)).mean()),
            "development/weighted_accuracy": weighted_accuracy(truth, predicted),
            "development/unweighted_accuracy": unweighted_accuracy(truth, predicted),
        }
        log(figures)
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
