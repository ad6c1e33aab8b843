"""Folders of models as the stage `train` leaves them, but of random weights: made in a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import params
from pipeline.store import FeatureStore
from pipeline.store.inputs import of_model
from pipeline.system import compute
from pipeline.training import folds
from tests.test_training import settings

STEPS = {"audio": 6, "text": 5, "video": 6}  # cuts some sequences of the synthetic store


class _Here(Executor):
    """Calls at once, in this process."""

    def submit(self, call: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(call(*given, **named))
        return future


@contextmanager
def in_this_process() -> Iterator[None]:
    """Folds are trained here: starting a process takes longer than training such models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compute, "pool", lambda *_: _Here())
        yield


def jobs_of(store: Path, chosen: params.Params, folder: Path) -> list[folds.Job]:
    """The training of all folds and seeds; everything is written into the folder of the models."""
    return folds.plan(
        store,
        chosen,
        lists=folder / "splits",
        models=folder,
        curves=folder / "curves",
        checkpoints=folder / "parts",
        device="cpu",
    )


def make_models(
    store: FeatureStore, folder: Path, *, seeds: tuple[int, ...] = (0,), **model
) -> Path:
    """A model for each fold and seed, of the parameters `model`; returns the folder.

    Weights are far from zero, so that classes and steps are told apart.
    """
    raw = settings(**model).model_dump()
    raw["train"] |= {"seeds": list(seeds), "max_steps": STEPS}
    chosen = params.parse(raw)
    jobs = jobs_of(store.path, chosen, folder)
    dataset = of_model(store, chosen.model, chosen.train.max_steps)
    for job in jobs:
        torch.manual_seed(100 * job.seed + job.fold.number)
        train = np.flatnonzero(store.utterances["utterance"].isin(job.fold.train))
        classifier = folds.build(dataset, job.model, job.train.max_steps, job.classes, train)
        with torch.no_grad():
            for layer in (classifier.model.classifier, *classifier.model.hops):
                for value in layer.parameters():
                    value.mul_(6)
        classifier.save(job.weights)
    return folder
