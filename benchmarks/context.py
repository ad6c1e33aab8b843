"""Time of a training epoch with the dialog as context, against the same model without.

``python -m benchmarks.context`` makes a store of random numbers with IEMOCAP's lengths in a
temporary folder: 91 dialogs of 66 utterances. Some batches of an epoch of each model are timed, in
turn, on one thread, and give the time per utterance that is trained on. ``% labelled`` is the
share of such utterances; the others are context alone, which a model without context never reads.
It prints JSON and a Markdown table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import memory, results, synthetic
from benchmarks import store as store_benchmark
from pipeline import params
from pipeline.store import FeatureStore
from pipeline.store.inputs import of_model
from pipeline.system import compute
from pipeline.training import folds
from pipeline.training.fitting import Run

DIALOGS, TURNS, CLASSES = 91, 66, 7


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.context", description=__doc__)
    parser.add_argument("--batches", type=int, default=8, help="timed (default: %(default)s)")
    parser.add_argument("--recipe", type=Path, default=memory.RECIPE, help=memory.RECIPE_HELP)
    parser.add_argument("--folder", type=Path, help="for the store; default: temporary")
    options = parser.parse_args(arguments)
    compute.large_pages()
    compute.start_worker()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = Path(folder) / "store"
        store_benchmark.make_store(store, synthetic.table(TURNS, DIALOGS))
        rows: list[dict[str, Any]] = []
        for share in (1.0, 0.74):  # IEMOCAP's seven classes are 74 % of its utterances
            rows += measure(store, params.load(options.recipe), options.batches, share)
        results.show(rows)


def measure(path: Path, settings: params.Params, number: int, share: float) -> list[dict[str, Any]]:
    """One row per context, for a random `share` of labelled utterances."""
    with FeatureStore(path) as store:
        labelled = np.random.default_rng(0).random(len(store)) < share
        epochs = {
            context: _Epoch(store, settings, context, np.flatnonzero(labelled), number)
            for context in ("none", "past", "both")
        }
        for step in range(number + 1):  # the first is not counted
            for epoch in epochs.values():
                epoch.step(counted=step > 0)
    alone = epochs["none"].per_utterance
    return [
        {
            "context": context,
            "% labelled": round(100 * share),
            "utterances per s": round(1 / epoch.per_utterance, 1),
            "times none": round(epoch.per_utterance / alone, 2),
        }
        for context, epoch in epochs.items()
    ]


class _Epoch:
    """Training steps of a model on batches of an epoch."""

    def __init__(
        self,
        store: FeatureStore,
        settings: params.Params,
        context: str,
        indices: np.ndarray,
        number: int,
    ) -> None:
        model = settings.model.model_copy(update={"context": context})
        self.dataset = of_model(store, model, settings.train.max_steps)
        torch.manual_seed(0)
        names = [str(place) for place in range(CLASSES)]
        some = indices[:256]  # enough to standardise random numbers
        classifier = folds.build(self.dataset, model, settings.train.max_steps, names, some)
        random = np.random.default_rng(0)
        self.run = Run(classifier, settings.train, torch.device("cpu"), random)
        self.rate = settings.train.learning_rate
        batches = list(self.dataset.shuffled(indices, settings.train.batch_size, random))
        self.batches = iter([batches[0], *batches[:: max(1, len(batches) // number)]])
        self.seconds, self.utterances = 0.0, 0

    def step(self, *, counted: bool) -> None:
        chosen = next(self.batches)
        start = time.thread_time()
        targets = torch.from_numpy(chosen % CLASSES)
        self.run.learn(self.dataset.input(chosen), targets, torch.ones(1), self.rate)
        if counted:
            self.seconds += time.thread_time() - start
            self.utterances += len(chosen)

    @property
    def per_utterance(self) -> float:
        return self.seconds / self.utterances


if __name__ == "__main__":
    main()
