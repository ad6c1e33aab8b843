"""Speed of a training epoch against a plain padded loop and the bare GRUs, utterances per second.

``python -m benchmarks.training`` makes a store of random numbers with IEMOCAP's lengths in a
temporary folder and prints JSON and a Markdown table. The epoch has as many utterances as the
training part of a fold of IEMOCAP; some of its batches, evenly spaced, are timed. The three loops
run on one thread, as in training, and alternate batch by batch, so that other load on the machine
affects them equally:

- ``ours``: batches and training step of the stage `train`;
- ``plain``: the same step of the same model on batches as in the authors' code, drawn with
  replacement and padded to the maximum length (750 MFCC frames, 128 words, 25 video frames), in a
  process without our memory settings;
- ``bare``, the lower bound: the forward and backward passes of the encoders' GRUs alone, on ready
  tensors with as many frames as are valid in our batch, without padding.

Padding is the share of invalid frames in all batches of the epoch. All three run on the CPU, or on
a GPU with ``--device cuda``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks import memory, results
from benchmarks import store as store_benchmark
from pipeline import params
from pipeline.corpus import labels
from pipeline.store import FeatureStore
from pipeline.store.batches import Batch
from pipeline.store.dataset import StoreDataset
from pipeline.store.inputs import of_model
from pipeline.system import compute
from pipeline.training import folds
from pipeline.training.fitting import Run


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--utterances", type=int, default=6000, help="of the epoch (%(default)s)")
    parser.add_argument("--batches", type=int, default=12, help="timed batches (%(default)s)")
    parser.add_argument("--batch-size", type=int, help="utterances; default: the recipe's")
    parser.add_argument("--recipe", type=Path, default=memory.RECIPE, help=memory.RECIPE_HELP)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="(%(default)s)")
    parser.add_argument("--folder", type=Path, help="for the store; default: temporary")
    options = parser.parse_args(arguments)
    settings = memory.load(options.recipe, options.batch_size)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = Path(folder) / "store"
        store_benchmark.make_store(store, store_benchmark.make_utterances(options.utterances))
        results.show(measure(store, settings, options.batches, options.device))


class Runner:
    """The three loops on one store, for use in a process of its own.

    Parameters
    ----------
    path
        The store.
    settings
        All parameters.
    device
        The device to train on.
    """

    def __init__(self, path: Path, settings: params.Params, device: torch.device) -> None:
        self.settings = settings
        self.store = FeatureStore(path)
        scheme = labels.scheme(settings.labels.scheme, self.store.description)
        self.dataset = of_model(self.store, settings.model, settings.train.max_steps)
        self.targets = torch.from_numpy(scheme.apply(self.store.utterances["emotion"]))
        torch.manual_seed(0)
        some = np.arange(min(256, len(self.store)))  # enough to normalise random numbers
        classes = list(scheme.classes)
        classifier = folds.build(
            self.dataset, settings.model, settings.train.max_steps, classes, some
        )
        encoders: Any = classifier.model.encoders
        self.grus: dict[str, nn.GRU] = {name: coder.gru for name, coder in encoders.items()}
        self.run = Run(classifier, settings.train, device, np.random.default_rng(0))

    def ours(self, chosen: np.ndarray) -> float:
        """Seconds of a training step of the stage."""
        start = time.perf_counter()
        self._learn(self.dataset.batch(chosen), chosen)
        return time.perf_counter() - start

    def plain(self, chosen: np.ndarray) -> float:
        """Seconds of the same step on a batch padded to the maximum length."""
        start = time.perf_counter()
        self._learn(padded(self.dataset.batch(chosen), self.settings), chosen)
        return time.perf_counter() - start

    def bare(self, chosen: np.ndarray) -> float:
        """Seconds of the forward and backward passes of the GRUs alone."""
        frames = valid_only(self.grus, self.dataset, self.settings.model, chosen)
        ready = {name: values.to(self.run.device) for name, values in frames.items()}
        start = time.perf_counter()
        forward_and_backward(self.grus, ready)
        return time.perf_counter() - start

    def _learn(self, batch: Batch, chosen: np.ndarray) -> None:
        rate = self.settings.train.learning_rate
        self.run.learn(batch, self.targets[chosen], torch.ones(1), rate)


_runners: list[Runner] = []  # the runner of a worker process


def _start(path: Path, settings: params.Params, device: str, worker: bool) -> None:
    if worker:  # as in the processes that train folds
        compute.large_pages()
        compute.start_worker()
    else:
        os.environ.pop("THP_MEM_ALLOC_ENABLE", None)
    torch.set_num_threads(1)
    _runners.append(Runner(path, settings, torch.device(device)))


def _timed(loop: str, chosen: np.ndarray) -> float:
    return getattr(_runners[0], loop)(chosen)


def measure(
    path: Path, settings: params.Params, number: int, device: str
) -> list[dict[str, str | float]]:
    """Train on `number` batches of an epoch of the store at `path`; return one row per loop."""
    random = np.random.default_rng(0)
    size = settings.train.batch_size
    with FeatureStore(path) as opened:
        dataset = of_model(opened, settings.model, settings.train.max_steps)
        indices = np.arange(len(opened))
        start = time.perf_counter()
        batches = list(dataset.shuffled(indices, size, random))
        ordering = (time.perf_counter() - start) / len(batches)
        lengths = dataset.lengths
    most = {
        name: settings.train.max_steps[modality]
        for modality in settings.model.modalities
        for name in settings.model.streams.names(modality)
    }
    valid = {name: int(n.sum()) for name, n in lengths.items()}
    frames = {
        "ours": {
            name: sum(len(chosen) * int(n[chosen].max()) for chosen in batches)
            for name, n in lengths.items()
        },
        "plain": {name: len(indices) * steps for name, steps in most.items()},
        "bare": valid,
    }

    # sorted by length, so that the timed batches represent all lengths of the epoch
    longest = np.max(list(lengths.values()), axis=0)
    batches.sort(key=lambda chosen: longest[chosen].sum())
    every = np.linspace(0, len(batches) - 1, min(number, len(batches))).round().astype(int)
    utterances: Counter[str] = Counter()
    taken = dict.fromkeys(frames, 0.0)  # seconds
    context = get_context("spawn")
    with (
        ProcessPoolExecutor(1, context, _start, (path, settings, device, True)) as ours,
        ProcessPoolExecutor(1, context, _start, (path, settings, device, False)) as plain,
    ):
        # first the longest batch, untimed, to allocate memory and the optimiser's state
        for process, loop in ((ours, "ours"), (plain, "plain"), (ours, "bare")):
            process.submit(_timed, loop, batches[-1]).result()
        for chosen in tqdm([batches[i] for i in every], desc="training", unit="batch"):
            utterances.update(ours=len(chosen), plain=size, bare=len(chosen))
            taken["ours"] += ordering + ours.submit(_timed, "ours", chosen).result()
            drawn = random.choice(indices, size)
            taken["plain"] += plain.submit(_timed, "plain", drawn).result()
            taken["bare"] += ours.submit(_timed, "bare", chosen).result()
    speeds = {name: utterances[name] / seconds for name, seconds in taken.items()}
    return [
        {
            "loop": name,
            "utterances a second": round(speed, 1),
            "times plain": round(speed / speeds["plain"], 2),
            "% of bare": round(100 * speed / speeds["bare"], 1),
            **_padding(frames[name], valid),
        }
        for name, speed in speeds.items()
    ]


def _padding(frames: dict[str, int], valid: dict[str, int]) -> dict[str, float]:
    """Percentage of `frames` that are padding, over all streams and for each."""
    shares = {name: 100 * (1 - valid[name] / frames[name]) for name in frames}
    whole = 100 * (1 - sum(valid.values()) / sum(frames.values()))
    rounded = {f"% padding {name}": round(share, 1) for name, share in shares.items()}
    return {"% padding": round(whole, 1), **rounded}


def padded(batch: Batch, settings: params.Params) -> Batch:
    """Pad every sequence of a batch to the maximum length of its modality."""
    sequences = {}
    for modality in settings.model.modalities:
        for name in settings.model.streams.names(modality):
            values = batch.sequences[name]
            missing = settings.train.max_steps[modality] - values.shape[1]
            sequences[name] = nn.functional.pad(values, (0, 0) * (values.dim() - 2) + (0, missing))
    return replace(batch, sequences=sequences)


def valid_only(
    grus: dict[str, nn.GRU], dataset: StoreDataset, settings: params.Model, chosen: np.ndarray
) -> dict[str, Tensor]:
    """Random numbers [B, T, D] by modality, where B * T is the number of valid frames (rounded)."""
    ready = {}
    for modality, gru in grus.items():
        names = settings.streams.names(modality)
        frames = sum(int(dataset.lengths[name][chosen].sum()) for name in names)
        steps = max(1, round(frames / len(chosen)))
        ready[modality] = torch.randn(len(chosen), steps, gru.input_size)
    return ready


def forward_and_backward(grus: dict[str, nn.GRU], ready: dict[str, Tensor]) -> None:
    """Compute all states and the gradients of all weights; on a GPU, wait for them."""
    for modality, values in ready.items():
        gru = grus[modality]
        torch.autograd.grad(gru(values)[0].sum(), list(gru.parameters()))[0].sum().item()


if __name__ == "__main__":
    main()
