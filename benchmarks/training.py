"""Utterances a second of a training epoch, against a plain padded loop and the bare GRUs.

``python -m benchmarks.training`` makes a store of random numbers with IEMOCAP's lengths in a
temporary folder and prints JSON and a Markdown table. The three loops run on one thread, as folds
are trained, and take turns batch by batch, so that whatever else the machine does falls on all:
``ours``, the batches and the step of the training stage; ``plain``, the same step of the same model
on batches in the shape of the authors' code, drawn with replacement and each padded to the most
steps (750 MFCC frames, 128 words, 25 video frames); ``bare``, the limit: nothing but the forward
and backward passes of the encoders' GRUs, on ready tensors of as many frames as are valid in our
batch, with no padding. Padding is the share of the frames in the batches that are not valid. The
defaults are one epoch of 1,024 utterances and end within two minutes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import memory
from pipeline import params, training
from pipeline.batches import Batch, Examples
from pipeline.corpus import labels
from pipeline.fitting import _Run
from pipeline.store import FeatureStore


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--utterances", type=int, default=1024, help="of the epoch (%(default)s)")
    parser.add_argument("--batch-size", type=int, help="utterances; default: the recipe's")
    parser.add_argument("--recipe", type=Path, default=memory.RECIPE, help=memory.RECIPE_HELP)
    parser.add_argument("--folder", type=Path, help="for the store; default: temporary")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings = memory.load(options.recipe, options.batch_size)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        memory.make_features(Path(folder), options.utterances)
        memory.assemble(Path(folder), options.utterances)
        rows = measure(Path(folder) / memory.STORE, settings)
    print(json.dumps(rows, indent=2))
    memory.print_table(rows)


@dataclass
class Loop:
    """What a loop has done.

    Attributes
    ----------
    utterances, seconds
        Trained on, and the time it took.
    frames, valid
        Frames of its batches by stream, all and those that are no padding.
    """

    utterances: int = 0
    seconds: float = 0.0
    frames: Counter[str] = field(default_factory=Counter)
    valid: Counter[str] = field(default_factory=Counter)

    @property
    def speed(self) -> float:
        """Utterances a second."""
        return self.utterances / self.seconds

    def run(self, task: Callable[..., Batch | None], utterances: int, *arguments: Any) -> None:
        """Time `task`, and count the frames of the batch that it returns."""
        start = time.perf_counter()
        batch = task(*arguments)
        self.seconds += time.perf_counter() - start
        self.utterances += utterances
        if batch is not None:
            for name, values in batch.sequences.items():
                self.frames[name] += values.shape[0] * values.shape[1]
                self.valid[name] += int(batch.lengths[name].sum())

    def padding(self, *streams: str) -> float:
        """Percent of the frames of some streams."""
        frames = sum(self.frames[name] for name in streams)
        valid = sum(self.valid[name] for name in streams)
        return round(100 * (1 - valid / frames), 1) if frames else 0.0


def measure(path: Path, settings: params.Params) -> list[dict[str, str | float]]:
    """Train one epoch on the store at `path`; return a row a loop."""
    random = np.random.default_rng(0)
    scheme = labels.scheme(settings.labels.scheme)
    size, most = settings.train.batch_size, settings.train.max_steps
    with FeatureStore(path) as opened:
        examples = Examples(opened, settings.model, most)
        indices = np.arange(len(opened))
        targets = torch.from_numpy(scheme.apply(opened.utterances["emotion"]))
        torch.manual_seed(0)
        classes = list(scheme.classes)
        classifier = training.build(examples, settings.model, most, classes, indices)
        encoders: Any = classifier.model.encoders
        grus = {modality: encoder.gru for modality, encoder in encoders.items()}
        run = _Run(classifier, settings.train, torch.device("cpu"), random)

        def learn(batch: Batch, chosen: np.ndarray) -> Batch:
            run.learn(batch, targets[chosen], torch.ones(1), settings.train.learning_rate)
            return batch

        def ours(chosen: np.ndarray) -> Batch:
            return learn(examples.batch(chosen), chosen)

        def plain() -> Batch:
            chosen = random.choice(indices, size)
            return learn(padded(examples.batch(chosen), settings), chosen)

        ours(indices[:8])  # what is done once, such as the optimiser's state, is not timed
        loops = {"ours": Loop(), "plain": Loop(), "bare": Loop()}
        start = time.perf_counter()
        batches = list(examples.shuffled(indices, size, random))
        loops["ours"].seconds = time.perf_counter() - start
        for chosen in batches:
            loops["ours"].run(ours, len(chosen), chosen)
            loops["plain"].run(plain, size)
            ready = valid_only(grus, examples, settings.model, chosen)
            loops["bare"].run(forward_and_backward, len(chosen), grus, ready)
    return [_row(name, loop, loops) for name, loop in loops.items()]


def _row(name: str, loop: Loop, loops: dict[str, Loop]) -> dict[str, str | float]:
    streams = list(loops["ours"].frames)
    return {
        "loop": name,
        "utterances a second": round(loop.speed, 1),
        "times plain": round(loop.speed / loops["plain"].speed, 2),
        "% of bare": round(100 * loop.speed / loops["bare"].speed, 1),
        "% padding": loop.padding(*streams),
        **{f"% padding {stream}": loop.padding(stream) for stream in streams},
    }


def padded(batch: Batch, settings: params.Params) -> Batch:
    """The batch with every sequence padded to the most steps of its modality."""
    sequences = {}
    for modality in settings.model.modalities:
        for name in settings.model.streams.names(modality):
            values = batch.sequences[name]
            missing = settings.train.max_steps[modality] - values.shape[1]
            sequences[name] = nn.functional.pad(values, (0, 0) * (values.dim() - 2) + (0, missing))
    return Batch(sequences, batch.lengths, batch.joined)


def valid_only(
    grus: dict[str, nn.GRU], examples: Examples, settings: params.Model, chosen: np.ndarray
) -> dict[str, Tensor]:
    """By modality [B, T, D] of random numbers; B T is the number of valid frames, to within B."""
    ready = {}
    for modality, gru in grus.items():
        names = settings.streams.names(modality)
        frames = sum(int(examples.lengths[name][chosen].sum()) for name in names)
        steps = max(1, round(frames / len(chosen)))
        ready[modality] = torch.randn(len(chosen), steps, gru.input_size)
    return ready


def forward_and_backward(grus: dict[str, nn.GRU], ready: dict[str, Tensor]) -> None:
    """The states at all steps, and the gradients of all weights."""
    for modality, values in ready.items():
        gru = grus[modality]
        torch.autograd.grad(gru(values)[0].sum(), list(gru.parameters()))


if __name__ == "__main__":
    main()
