"""Peak memory of the stages' work as the corpus grows: 1x, 4x and 16x.

``python -m benchmarks.memory`` makes corpora of random numbers with IEMOCAP's lengths in a
temporary folder and prints JSON and a Markdown table. Each task runs in a process of its own:
``store`` assembles and verifies the feature store; ``train`` divides it into folds, prepares a
model on the whole training part of one, takes steps on its longest batches, and classifies the
development part; ``evaluate`` classifies the fold's test part, also with each modality taken away,
and writes the attention of all hops. ``peak`` is the most resident memory, as the system counts it.
In that are pages of the store, which is mapped to memory and which the system takes back when it
needs them; ``own``, sampled every few milliseconds, is without them. The last column compares
``own`` with that of the smallest corpus. The defaults are 160, 640 and 2,560 utterances; with
630, 16x is IEMOCAP's size. Below 320 the test part of 1x is less than one batch of 32, so that
``evaluate`` grows until it fills one. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import store as store_benchmark
from pipeline import params, store
from tests import synthetic

GROWTH = (1, 4, 16)
RECIPE = Path("recipes/iemocap.yaml")
RECIPE_HELP = "parameters, of a model of the streams mfcc, glove and resnet (%(default)s)"
MEASURED = ("store", "train", "evaluate")
FEATURES, STORE, MODELS = "features.h5", "store.h5", "models"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--utterances", type=int, default=160, help="of 1x (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="utterances (%(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="of training (%(default)s)")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help=RECIPE_HELP)
    parser.add_argument("--folder", type=Path, help="for the corpora; default: temporary")
    parser.add_argument("--task", choices=["features", *MEASURED], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.task:
        _task(options)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    rows: list[dict[str, str | float]] = []
    for times in GROWTH:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            rows += measure(Path(folder), times, options)
    rows.sort(key=lambda row: MEASURED.index(str(row["task"])))  # by size within a task, as before
    least = {row["task"]: float(row["own MB"]) for row in reversed(rows)}
    for row in rows:
        row["times 1x"] = round(float(row["own MB"]) / least[row["task"]], 2)
    print(json.dumps(rows, indent=2))
    print_table(rows)


def measure(folder: Path, times: int, options: argparse.Namespace) -> list[dict[str, str | float]]:
    """Return a row a task, on a corpus that is made in `folder`."""
    utterances = times * options.utterances
    # never in this process: the system counts a parent's peak as the start of its child's
    _child("features", folder, utterances, options)
    size = (folder / FEATURES).stat().st_size
    rows: list[dict[str, str | float]] = []
    for task in MEASURED:
        peak, own = _child(task, folder, utterances, options)
        rows.append(
            {
                "task": task,
                "corpus": f"{times}x",
                "utterances": utterances,
                "features MB": round(size / 1e6),
                "peak MB": round(peak / 1e6),
                "own MB": round(own / 1e6),
            }
        )
    return rows


def _child(
    task: str, folder: Path, utterances: int, options: argparse.Namespace
) -> tuple[int, int]:
    """Run a task in a new process; bytes of its peak, and of its peak without pages of files."""
    command = [sys.executable, "-m", "benchmarks.memory", f"--task={task}", f"--folder={folder}"]
    command += [f"--utterances={utterances}", f"--batch-size={options.batch_size}"]
    command += [f"--steps={options.steps}", f"--recipe={options.recipe}"]
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    own = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            found = re.search(r"RssAnon:\s+(\d+)", status.read_text("ascii"))
            own = max(own, int(found[1]) if found else 0)  # nothing of one that has just ended
            time.sleep(0.003)
        output = process.communicate()[0]
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return int(output) * 1024, own * 1024


def _task(options: argparse.Namespace) -> None:
    settings = load(options.recipe, options.batch_size)
    tasks: Mapping[str, Callable[[], None]] = {
        "features": lambda: make_features(options.folder, options.utterances),
        "store": lambda: assemble(options.folder, options.utterances),
        "train": lambda: train(options.folder, settings, options.steps),
        "evaluate": lambda: evaluate(options.folder),
    }
    tasks[options.task]()


def load(recipe: Path, batch_size: int | None) -> params.Params:
    """The parameters of a recipe, with another batch size if there is one."""
    settings = params.load(recipe)
    if batch_size is None:
        return settings
    changed = settings.train.model_copy(update={"batch_size": batch_size})
    return settings.model_copy(update={"train": changed})


def make_features(folder: Path, utterances: int) -> None:
    """Write the file of features of random numbers."""
    names = synthetic.table(-(-utterances // 5))["utterance"].tolist()[:utterances]
    store_benchmark.make_features(folder / FEATURES, names)


def assemble(folder: Path, utterances: int) -> None:
    """Make the store of the features."""
    table = synthetic.table(-(-utterances // 5)).iloc[:utterances]
    store.assemble(
        table,
        synthetic.votes(table),
        [folder / FEATURES],
        folder / STORE,
        corpus="random",
        parameters={},
        settings=synthetic.STORED,
    )


def train(folder: Path, settings: params.Params, steps: int) -> None:
    """Plan all folds, train the model of the first for some steps, validate and save it."""
    import numpy as np
    import torch

    from pipeline import training
    from pipeline.batches import Examples
    from pipeline.evaluation import predict
    from pipeline.fitting import _Run

    torch.set_num_threads(1)  # as in a worker of the stage
    device = torch.device("cpu")
    job = training.plan(
        folder / STORE,
        settings,
        lists=Path("splits"),
        models=folder / MODELS,
        curves=folder / "curves",
        checkpoints=folder / "parts",
        device=device.type,
    )[0]
    with store.FeatureStore(job.store) as opened:
        names = opened.utterances["utterance"]
        examples = Examples(opened, job.model, job.train.max_steps)
        chosen = np.flatnonzero(names.isin(job.fold.train))
        classifier = training.build(examples, job.model, job.train.max_steps, job.classes, chosen)
        run = _Run(classifier, job.train, device, np.random.default_rng(0))
        for indices in list(examples.in_order(chosen, job.train.batch_size))[-steps:]:
            targets = torch.from_numpy(job.targets[indices])
            batch = examples.batch(indices)
            run.learn(batch, targets, torch.ones(1), job.train.learning_rate)
        development = np.flatnonzero(names.isin(job.fold.development))
        predict(classifier, examples, development, job.train.batch_size, device)
    classifier.save(job.weights)


def evaluate(folder: Path) -> None:
    """Classify the test part of the trained fold and write attention, as the stage does."""
    import torch

    from pipeline import attention, evaluation

    device, models = torch.device("cpu"), folder / MODELS
    with store.FeatureStore(folder / STORE) as opened:
        predictions = evaluation.test_folds(opened, models, device)
        evaluation.missing(opened, models, device)
        attention.write(opened, models, predictions, folder / "attention.h5", device)


def print_table(rows: Sequence[Mapping[str, str | float]]) -> None:
    """Print rows of the same columns as a Markdown table."""
    print(f"\n| {' | '.join(rows[0])} |\n|---|{'---:|' * (len(rows[0]) - 1)}")
    for row in rows:
        print(f"| {' | '.join(str(value) for value in row.values())} |")


if __name__ == "__main__":
    main()
