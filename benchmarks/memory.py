"""Peak memory of each stage as the corpus grows: 1x, 4x and 16x.

``python -m benchmarks.memory`` works in a temporary folder and prints JSON and a Markdown table.

``embedded`` (which makes the corpus), ``weights``, ``audio``, ``text`` and ``visual`` are the real
stages, run in a row on embedded corpora of one, four and sixteen dialogs a session: about 76, 316
and 1,276 utterances. The smallest has more utterances and frames than a batch, and more dialogs
than there are processes, which are two on any machine. All parameters are those of ``params.yaml``
but the crop of frames, 112 pixels, which makes it four times as fast. ``parse`` is the real stage
too, on a sixteenth, a fourth and all dialogs of a tree of the full release's size.

The rest work on random numbers with IEMOCAP's lengths, 0.33 MB an utterance: ``store`` compares the
streams with the utterance table and writes ``store.h5``; ``train`` divides it into folds, prepares
a model on the whole training part of one, takes steps on its longest batches, and classifies the
development part; ``evaluate`` classifies the fold's test part, also with each modality taken away,
and writes the attention of all hops, without the report. With the 320 utterances of 1x, the test
part is one batch of 32; fewer would grow until they fill it. With 630, 16x is IEMOCAP's size.

Each task runs in a process of its own. With all processes that it starts, it is looked at every
hundredth of a second. ``peak`` is the most resident memory of all of them together, code included.
In that are pages of files, such as the store, which is mapped to memory: the system takes them back
when it needs them. ``own`` is without them. The last column compares ``own`` with that of the
smallest corpus; it varies by 0.02 from run to run. It takes about six minutes. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import psutil

from benchmarks import release, synthetic
from benchmarks import store as store_benchmark
from benchmarks.results import STAGES, table
from pipeline import params
from pipeline.store import FeatureStore
from pipeline.store.describing import describe
from pipeline.system import compute

GROWTH = (1, 4, 16)
RECIPE = Path("recipes/iemocap.yaml")
RECIPE_HELP = "parameters, of a model of the streams mfcc, glove and resnet (%(default)s)"
REAL = ("embedded", "weights", "parse", "audio", "text", "visual")
RANDOM = ("store", "train", "evaluate")
STORE, MODELS = "store", "models"
ROOT = Path(__file__).parents[1]
CORPUS = Path("data/raw/embedded")  # where the stage of embedded/dvc.yaml makes it
WORKERS, CROP = 2, 112

Rows = list[dict[str, str | float]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument(
        "--growth", type=int, nargs="+", default=GROWTH, help="default: 1 4 16; at most 28"
    )
    parser.add_argument("--utterances", type=int, default=320, help="random, of 1x (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="utterances (%(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="of training (%(default)s)")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help=RECIPE_HELP)
    parser.add_argument("--folder", type=Path, help="for the corpora; default: temporary")
    parser.add_argument("--task", choices=["features", *RANDOM], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.task:
        _task(options)
        return
    rows: Rows = []
    for times in options.growth:
        for part in (embedded, parsed, random):
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                rows += part(Path(folder), times, options)
    rows.sort(key=lambda row: STAGES.index(str(row["stage"])))  # by size within a stage, as before
    least = {row["stage"]: float(row["own MB"]) for row in reversed(rows)}
    for row in rows:
        row["times 1x"] = round(float(row["own MB"]) / least[row["stage"]], 2)
    print(json.dumps(rows, indent=2))
    print_table(rows)


def embedded(folder: Path, times: int, options: argparse.Namespace) -> Rows:
    """Return one row per stage up to the features, on an embedded corpus of `times` 5 dialogs."""
    corpus = {"name": params.EMBEDDED, "root": str(CORPUS / "IEMOCAP_full_release")}
    _parameters(folder, corpus, dialogs=times)
    peaks = {stage: _stage(stage, folder, times) for stage in REAL}
    del peaks["parse"]  # too small a corpus to see it grow
    utterances = _utterances(folder)
    return [_row(stage, times, utterances, *peak) for stage, peak in peaks.items()]


def parsed(folder: Path, times: int, options: argparse.Namespace) -> Rows:
    """Return a row of ``parse``, on `times` a sixteenth of the full release's dialogs."""
    root = release.make_full(folder / "IEMOCAP_full_release")
    _parameters(folder, {"name": params.EMBEDDED, "root": str(root)})
    dialogs = [dialog for session in range(1, 6) for dialog in release.full_dialogs(session)]
    for number, dialog in enumerate(dialogs):
        if number % max(GROWTH) >= times:
            _remove(root, dialog)
    peak = _stage("parse", folder, times)
    return [_row("parse", times, _utterances(folder), *peak)]


def random(folder: Path, times: int, options: argparse.Namespace) -> Rows:
    """Return one row per stage from the store on, on random features."""
    utterances = times * options.utterances
    rows = []
    for task in ("features", *RANDOM):
        command = ["benchmarks.memory", f"--task={task}", f"--folder={folder}"]
        command += [f"--utterances={utterances}", f"--batch-size={options.batch_size}"]
        command += [f"--steps={options.steps}", f"--recipe={options.recipe}"]
        peak = _watched(command, Path(), f"{times}x {task}")
        if task in RANDOM:
            rows.append(_row(task, times, utterances, *peak))
    return rows


def _row(stage: str, times: int, utterances: int, peak: int, own: int) -> dict[str, str | float]:
    return {
        "stage": stage,
        "corpus": f"{times}x",
        "utterances": utterances,
        "peak MB": round(peak / 1e6),
        "own MB": round(own / 1e6),
    }


def _parameters(folder: Path, corpus: Mapping[str, object], dialogs: int = 1) -> None:
    """Write the parameters of the real stages for a corpus in `folder`."""
    raw = params.read_yaml(Path("params.yaml"))
    raw["corpus"].update(corpus)
    raw["embedded"]["dialogs_per_session"] = dialogs
    for stream in raw["text"]["streams"].values():
        if "vectors" in stream:
            stream["vectors"] = str(CORPUS / "glove.embedded.300d.txt")
    for stream in raw["visual"]["streams"].values():
        stream["crop"] = CROP
    raw["compute"]["workers"] = WORKERS
    (folder / "params.yaml").write_text(params.as_yaml(raw), encoding="utf-8")
    (folder / "data/interim").mkdir(parents=True)  # as DVC makes it


def _remove(root: Path, dialog: str) -> None:
    """Take a dialog out of a tree of the full release's size."""
    for path in (release.labels_file, release.transcript_file, release.video_file):
        path(root, dialog).unlink()
    shutil.rmtree(release.wav_file(root, f"{dialog}_F000").parent)


def _utterances(folder: Path) -> int:
    report = folder / "data/interim" / params.EMBEDDED / "parse.json"
    return json.loads(report.read_text("utf-8"))["utterances"]


def _stage(stage: str, folder: Path, times: int) -> tuple[int, int]:
    module = stage if stage == "embedded" else f"stages.{stage}"
    return _watched([module], folder, f"{times}x {stage}")


def _watched(module: Sequence[str], folder: Path, progress: str) -> tuple[int, int]:
    """Run a module in `folder`; bytes of its peak, and of its peak without pages of files."""
    print(f"memory: {progress}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", *module]
    environment = {**os.environ, "TQDM_DISABLE": "1", "PYTHONPATH": str(ROOT)}
    peak = own = 0
    with psutil.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, env=environment) as process:
        while process.poll() is None:
            family = [process.pid]
            with contextlib.suppress(psutil.NoSuchProcess):  # if it has ended since
                family += [child.pid for child in process.children(recursive=True)]
            resident = [_resident(pid) for pid in family]
            peak = max(peak, sum(both for both, _ in resident))
            own = max(own, sum(anonymous for _, anonymous in resident))
            time.sleep(0.01)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak, own


def _resident(pid: int) -> tuple[int, int]:
    """Bytes of a process in memory: all, and those that are no pages of files."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except (FileNotFoundError, ProcessLookupError):  # it has ended since
        return 0, 0
    found = dict(re.findall(r"(VmRSS|RssAnon):\s+(\d+) kB", status))  # none of one that is ending
    return 1024 * int(found.get("VmRSS", 0)), 1024 * int(found.get("RssAnon", 0))


def _task(options: argparse.Namespace) -> None:
    settings = load(options.recipe, options.batch_size)
    tasks: Mapping[str, Callable[[], None]] = {
        "features": lambda: make_streams(options.folder, options.utterances),
        "store": lambda: make_table(options.folder, options.utterances),
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


def make_streams(folder: Path, utterances: int) -> None:
    """Write stream files of random numbers."""
    store_benchmark.make_streams(folder / STORE, _table(utterances))


def make_table(folder: Path, utterances: int) -> None:
    """Make a store of them, as the stage does."""
    store_benchmark.make_table(folder / STORE, _table(utterances))
    describe(folder / STORE)


def _table(utterances: int) -> pd.DataFrame:
    return synthetic.table(-(-utterances // 5)).iloc[:utterances]


def train(folder: Path, settings: params.Params, steps: int) -> None:
    """Plan all folds, train the model of the first for some steps, validate and save it."""
    import numpy as np
    import torch

    from pipeline.evaluation.prediction import predict
    from pipeline.store.batches import of_model
    from pipeline.training import folds
    from pipeline.training.fitting import Run

    compute.start_worker()  # as in a worker of the stage
    torch.set_num_threads(1)
    device = torch.device("cpu")
    job = folds.plan(
        folder / STORE,
        settings,
        lists=Path("splits"),
        models=folder / MODELS,
        curves=folder / "curves",
        checkpoints=folder / "parts",
        device=device.type,
    )[0]
    with FeatureStore(job.store) as opened:
        names = opened.utterances["utterance"]
        dataset = of_model(opened, job.model, job.train.max_steps)
        chosen = np.flatnonzero(names.isin(job.fold.train))
        classifier = folds.build(dataset, job.model, job.train.max_steps, job.classes, chosen)
        run = Run(classifier, job.train, device, np.random.default_rng(0))
        for indices in list(dataset.in_order(chosen, job.train.batch_size))[-steps:]:
            targets = torch.from_numpy(job.targets[indices])
            batch = dataset.batch(indices)
            run.learn(batch, targets, torch.ones(1), job.train.learning_rate)
        development = np.flatnonzero(names.isin(job.fold.development))
        predict(classifier, dataset, development, job.train.batch_size, device)
    classifier.save(job.weights)


def evaluate(folder: Path) -> None:
    """Classify the test part of the trained fold and write attention, as the stage does."""
    import torch

    from pipeline.evaluation import attention, prediction

    device, models = torch.device("cpu"), folder / MODELS
    with FeatureStore(folder / STORE) as opened:
        predictions = prediction.test_folds(opened, models, device)
        prediction.missing(opened, models, device)
        attention.write(opened, models, predictions, folder / "attention.h5", device)


def print_table(rows: Sequence[Mapping[str, str | float]]) -> None:
    """Print rows of the same columns as a Markdown table."""
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    main()
