"""Training: one model per fold and seed, in a pool of processes with one thread each.

With one thread, a model does not depend on the number of cores; the cores are used by training
several models at once.

Each finished model is kept outside the outputs of the stage, under a key of everything that decides
it: parameters, code, and the features and labels of its training and development parts. A later run
reuses every model whose key is the same, so adding a stream or repairing a recording in the test
part of a fold trains no model again.
"""

from __future__ import annotations

import json
import math
import shutil
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dvclive import Live
from torch import nn
from tqdm import tqdm

from pipeline import InputError, params
from pipeline.corpus import labels
from pipeline.evaluation.trained import TRAINED_WITH
from pipeline.models.classifier import Classifier
from pipeline.models.standardise import Standardise
from pipeline.store import FeatureStore, StoreError
from pipeline.store.dataset import FEWEST_UTTERANCES, StoreDataset, standardisation
from pipeline.store.inputs import of_model, rows_read
from pipeline.system import compute
from pipeline.system.cluster import Cluster
from pipeline.system.filesystem import write_csv, write_text
from pipeline.system.kept import Kept
from pipeline.training import fitting, linear, splits
from pipeline.training.checkpoints import Checkpoint, digest
from pipeline.training.fitting import DivergedError


@dataclass(frozen=True)
class Job:
    """Everything that is needed to train one model.

    Attributes
    ----------
    store
        The feature store.
    fold
        Ids of the utterances for training, development and testing; the last are not used.
    seed
        One of ``train.seeds``.
    truth
        [N] class of each utterance of the store, -1 for none.
    targets
        Training targets: `truth`, or [N, classes] float32 shares of the raters' votes.
    classes
        Names of the classes.
    model, train
        Parameters.
    parameters
        Number of ``trained`` parameters of the model, and of ``all``.
    speakers
        Number of ``all`` speakers, and of those with too ``few`` utterances for statistics of their
        own.
    weights, curves
        Outputs: the file of the model and the folder of its learning curves (DVCLive).
    checkpoint
        Checkpoint of this model; of a finished run, its result.
    device
        Name of a torch device.
    """

    store: Path
    fold: splits.Fold
    seed: int
    truth: np.ndarray
    targets: np.ndarray
    classes: list[str]
    model: params.Model
    train: params.Train
    parameters: dict[str, int]
    speakers: dict[str, int]
    weights: Path
    curves: Path
    checkpoint: Checkpoint
    device: str


def plan(
    store: Path,
    settings: params.Params,
    *,
    lists: Path,
    models: Path,
    curves: Path,
    checkpoints: Path,
    device: str,
) -> list[Job]:
    """Split the utterances of a store into folds; returns one job per fold and seed.

    Writes ``folds.csv`` (utterance, fold, part, emotion: the class) and ``parameters.json`` into
    `models`, so that evaluation and report need neither the split nor the parameter file. Models
    are named ``fold-K.safetensors``, with several seeds ``fold-K-seed-S.safetensors``. Existing
    models and curves are deleted, so that the folders never mix two sets of parameters.

    Parameters
    ----------
    store
        The feature store.
    settings
        All parameters.
    lists
        The folder of fixed splits.
    models, curves
        Folders for the models and the learning curves.
    checkpoints
        Folder of checkpoints and finished models, see :mod:`pipeline.training.checkpoints`.
    device
        Name of a torch device.

    Raises
    ------
    SplitError, LabelError, StoreError
        If the parameters do not fit the utterances, labels or streams of the store.
    InputError
        If the corpus lacks a modality of the model, or the model refuses ``model.options``.
    """
    with FeatureStore(store) as opened:
        table, word = opened.utterances, opened.description.group
        if lacking := opened.description.lacks(settings.model.modalities):
            raise InputError(lacking)
        chosen = settings.labels
        scheme = labels.scheme(chosen.scheme, opened.description, chosen.scenarios)
        classes = scheme.of(table)
        targets = classes
        if settings.train.targets == "votes":
            targets = _shares_of_votes(opened, scheme, classes)
        dataset = of_model(opened, settings.model, settings.train.max_steps)
        counts = Classifier(
            settings.model,
            dataset.sizes,
            list(scheme.classes),
            settings.train.max_steps,
        ).parameter_counts
        identities, checksums = dataset.identities, dataset.checksums
    folds = splits.folds(table, classes, settings.split, lists, word)
    if settings.model.context != "none":
        splits.check_dialogs(folds, table)

    for former in models.glob("fold-*.safetensors"):  # of a killed run
        former.unlink()
    for former in curves.glob("fold-*"):
        shutil.rmtree(former)
    assignments = splits.assignments(folds)
    names = dict(zip(table["utterance"], classes, strict=True))
    assignments["emotion"] = [scheme.classes[names[name]] for name in assignments["utterance"]]
    write_csv(models / "folds.csv", assignments)
    parameters = settings.model_dump(include=TRAINED_WITH)
    parameters |= {"classes": list(scheme.classes), "label": settings.model.label}
    parameters["parameters"] = counts
    sizes = table["speaker"].value_counts()
    speakers_counted = {"few": int((sizes < FEWEST_UTTERANCES).sum()), "all": len(sizes)}
    parameters["speakers"] = speakers_counted
    write_text(models / "parameters.json", json.dumps(parameters, indent=2) + "\n")

    decisive = [
        settings.model.model_dump(),
        settings.train.model_dump(exclude={"seeds"}),
        list(scheme.classes),
        identities,
        device,
    ]
    row_of = {utterance: row for row, utterance in enumerate(table["utterance"])}
    jobs = []
    for fold in folds:
        for seed in settings.train.seeds:
            name = f"fold-{fold.number}"
            if len(settings.train.seeds) > 1:
                name += f"-seed-{seed}"
            parts = [fold.train, fold.development]
            rows = np.array([row_of[utterance] for part in parts for utterance in part])
            read, others = rows_read(settings.model, table, rows)
            data = [array[rows] for array in (classes, targets)]
            data += [checksums[stream][read] for stream in sorted(checksums)]
            key = digest(
                [decisive, fold.number, seed, parts, others], [array.tobytes() for array in data]
            )
            jobs.append(
                Job(
                    store=store,
                    fold=fold,
                    seed=seed,
                    truth=classes,
                    targets=targets,
                    classes=list(scheme.classes),
                    model=settings.model,
                    train=settings.train,
                    parameters=counts,
                    speakers=speakers_counted,
                    weights=models / f"{name}.safetensors",
                    curves=curves / name,
                    checkpoint=Checkpoint(Kept(checkpoints), name, key),
                    device=device,
                )
            )
    return jobs


def _shares_of_votes(store: FeatureStore, scheme: labels.Scheme, classes: np.ndarray) -> np.ndarray:
    """Shares of the classes among the raters' votes, [N, classes] float32."""
    if not store.categories:
        raise StoreError(
            f"{store.path}: train.targets votes needs raters' votes, which this corpus does not "
            "have; set train.targets to majority"
        )
    return scheme.distribution(store.votes, store.categories, classes)


def describe(jobs: list[Job]) -> str:
    """Describe what is trained: model and size, folds, seeds, utterances used and not used."""
    folds = {job.fold.number: job.fold for job in jobs}
    used = {
        name for fold in folds.values() for part in splits.PARTS for name in getattr(fold, part)
    }
    unused = int((jobs[0].truth >= 0).sum()) - len(used)
    seeds = len(jobs) // len(folds)
    trained, total = jobs[0].parameters["trained"], jobs[0].parameters["all"]
    text = f"{jobs[0].model.label}, {total:,} parameters"
    text += f" ({trained:,} trained)" if trained < total else ""
    text += f": {len(folds)} {'folds' if len(folds) > 1 else 'fold'}"
    text += f" with {seeds} seeds each" if seeds > 1 else ""
    text += f" of {len(used)} labelled utterances"
    text += f"; {unused} more are not in the list" if unused else ""
    if jobs[0].model.normalise == "speaker":
        text += f"; {standardisation(jobs[0].model.normalise, jobs[0].speakers)}"
    return text


def train_folds(jobs: list[Job], parallel: int, cluster: Cluster | None = None) -> None:
    """Train all models, `parallel` at a time, in a pool of processes; each has a progress bar.

    On a `cluster`, its workers decide how many are trained at a time.

    Finished models are reused, others resume from their checkpoints. At the end, checkpoints that
    belong to no job are deleted.

    Raises
    ------
    InputError
        The first error of a model. No further model is started, those in training are finished,
        and all checkpoints are kept.
    """
    left = []
    for job in jobs:
        if job.checkpoint.is_finished:
            train_fold(job)  # only writes the outputs
        else:
            left.append(job)
    if left and cluster:
        _train_on(cluster, left)
    elif left:
        _train(left, parallel)
    print(f"computed {len(left)}, kept {len(jobs) - len(left)} models")
    jobs[0].checkpoint.kept.forget([job.checkpoint.name for job in jobs])


def _train(jobs: list[Job], parallel: int) -> None:
    tqdm.set_lock(get_context("spawn").RLock())
    pool = compute.pool(min(parallel, len(jobs)), jobs[0].device, _start, tqdm.get_lock())
    try:
        left = iter(jobs)
        # submit one job per process at a time: after an error, the pool would still run its queue
        running = {pool.submit(train_fold, job) for job in islice(left, parallel)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            running |= {pool.submit(train_fold, job) for job in islice(left, len(done))}
    except InputError as error:
        if running:
            tqdm.write(f"{error}\nThis run ends when the models in training are finished.")
        raise
    finally:
        pool.shutdown()


def _train_on(cluster: Cluster, jobs: list[Job]) -> None:
    named, size = (lambda job: job.curves.name), (lambda job: len(job.fold.train))
    with tqdm(total=len(jobs), desc="train", unit="model") as bar:
        for _ in cluster.completed(train_remotely, jobs, name=named, size=size):
            bar.update()


def train_remotely(job: Job) -> None:
    """As :func:`train_fold`, on a worker of a cluster."""
    torch.set_num_threads(1)
    train_fold(job)


def _start(lock: object) -> None:
    """Initialise a worker process."""
    tqdm.set_lock(lock)
    torch.set_num_threads(1)


def train_fold(job: Job) -> None:
    """Train one model; write it and its learning curves.

    Raises
    ------
    DivergedError
        If a loss or a parameter is not finite; the message names the fold, and the seed if there
        are several.
    """
    name = job.curves.name.replace("-", " ")
    with FeatureStore(job.store) as store:
        dataset = of_model(store, job.model, job.train.max_steps)
        train = np.array([store.row_of[utterance] for utterance in job.fold.train])
        development = np.array([store.row_of[utterance] for utterance in job.fold.development])
        if job.train.with_development and not job.model.is_pooled:
            train = np.concatenate([train, development])

        # independent seeds for each fold, for the weights and for the order of the batches
        initial, order = np.random.SeedSequence([job.seed, job.fold.number]).generate_state(2)
        torch.manual_seed(int(initial))
        classifier = build(dataset, job.model, job.train.max_steps, job.classes, train)
        with (
            Live(str(job.curves), save_dvc_exp=False, dvcyaml=None) as live,
            tqdm(
                total=len(linear.STRENGTHS)
                if job.model.is_pooled
                else math.ceil(job.train.epochs / job.train.validate_every),
                desc=name,
                unit="validation",
            ) as bar,
        ):

            def log(figures: dict[str, float]) -> None:
                for name, value in figures.items():
                    live.log_metric(name, value)
                live.next_step()
                bar.set_postfix(WA=f"{figures['development/weighted_accuracy']:.3f}", refresh=False)
                bar.update()

            arguments: dict[str, Any] = {
                "truth": job.truth,
                "targets": job.targets,
                "settings": job.train,
                "log": log,
                "checkpoint": job.checkpoint,
            }
            if not job.model.is_pooled:
                arguments["device"] = torch.device(job.device)
                arguments["random"] = np.random.default_rng(int(order))
            fit = linear.fit if job.model.is_pooled else fitting.fit
            try:
                fit(classifier, dataset, train, development, **arguments)
            except DivergedError as error:
                raise DivergedError(f"{name}: {error}") from error
    classifier.save(job.weights)


def build(
    dataset: StoreDataset,
    settings: params.Model,
    max_steps: params.MaxSteps,
    classes: list[str],
    train: np.ndarray,
) -> Classifier:
    """Make an untrained classifier; its input layers get statistics and word vectors.

    Means and standard deviations are those of the utterances at the indices `train`.
    """
    classifier = Classifier(settings, dataset.sizes, classes, max_steps)
    classifier.identities, classifier.extractors = dataset.identities, dataset.extractors
    for name, layer in classifier.inputs.items():  # by stream
        if isinstance(layer, Standardise):
            mean, deviation = dataset.statistics(name, train)
            layer.mean.copy_(torch.from_numpy(mean))
            layer.deviation.copy_(torch.from_numpy(deviation))
        elif isinstance(layer, nn.Embedding):
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(dataset.stream(name).vectors))
    return classifier
