"""Peak memory of each stage as the corpus grows: 1x, 4x and 16x.

``python -m benchmarks.memory`` works in a temporary folder and prints JSON and a Markdown table.

``embedded`` (which makes the corpus), ``weights``, ``audio``, ``text`` and ``visual`` are the real
stages, run one after another on embedded corpora of one, four and sixteen dialogs per session:
about 76, 316 and 1,276 utterances. The smallest corpus fills a batch and has more dialogs than
there are processes, which are always two. All parameters are those of ``params.yaml``, except a
crop of 112 pixels, which makes ``visual`` four times as fast, and one more audio stream, of a small
speech encoder of random weights. ``parse`` is the real stage too, on a
sixteenth, a fourth and all dialogs of a tree of the full release's size.

The other stages run on random numbers with IEMOCAP's lengths, 0.33 MB per utterance. ``store``
compares the streams with the utterance table and writes ``store.h5``. ``train`` builds the folds,
prepares a model on the training part of one, takes steps on its longest batches and classifies the
development part. ``evaluate`` classifies the test part, also with each modality removed, and writes
the attention of all hops, without the report. With the 320 utterances of 1x, the test part is one
batch of 32; with fewer, memory would grow until they fill a batch. ``--utterances 630`` makes 16x
as large as IEMOCAP.

Each task runs in a process of its own. Its memory and that of its child processes is sampled every
0.01 s. ``peak`` is the maximum of their resident memory, including code and mapped pages of files
such as the store, which the system can reclaim. ``own`` excludes those. ``times 1x`` compares
``own`` with the smallest corpus; it varies by 0.02 between runs. The benchmark takes about six
minutes, on Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks import release, results, speech
from benchmarks import store as store_benchmark
from pipeline import params
from pipeline.store import FeatureStore
from pipeline.store.describing import describe
from pipeline.system import compute

GROWTH = (1, 4, 16)
RECIPE = Path("recipes/iemocap.yaml")
RECIPE_HELP = "parameters of a model of the streams mfcc, glove and resnet (%(default)s)"
REAL = ("embedded", "weights", "parse", "audio", "text", "visual")  # on recordings
RANDOM = ("store", "train", "evaluate")  # on random numbers
STORE, MODELS = "store", "models"
ROOT = Path(__file__).parents[1]
CORPUS = Path("data/raw/embedded")  # output of embedded/dvc.yaml
WORKERS, CROP = 2, 112
SPEECH = {
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "intermediate_size": 384,
    "conv_dim": (96,) * 7,
}

Rows = list[dict[str, str | float]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument(
        "--growth", type=int, nargs="+", default=GROWTH, help="default: 1 4 16; at most 28"
    )
    parser.add_argument(
        "--utterances", type=int, default=320, help="random utterances of 1x (%(default)s)"
    )
    parser.add_argument("--batch-size", type=int, default=32, help="utterances (%(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="training steps (%(default)s)")
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
    rows.sort(key=lambda row: results.STAGES.index(str(row["stage"])))  # stable: sizes stay sorted
    least = {row["stage"]: float(row["own MB"]) for row in reversed(rows)}
    for row in rows:
        row["times 1x"] = round(float(row["own MB"]) / least[row["stage"]], 2)
    results.show(rows)


def embedded(folder: Path, times: int, options: argparse.Namespace) -> Rows:
    """Return one row per stage up to the features, on 5 * `times` embedded dialogs."""
    corpus = {"name": params.EMBEDDED, "root": str(CORPUS / "IEMOCAP_full_release")}
    _parameters(folder, corpus, dialogs=times)
    peaks = {stage: _stage(stage, folder, times) for stage in REAL}
    del peaks["parse"]  # measured on a larger corpus by `parsed`
    utterances = _utterances(folder)
    return [_row(stage, times, utterances, *peak) for stage, peak in peaks.items()]


def parsed(folder: Path, times: int, options: argparse.Namespace) -> Rows:
    """Return a row of ``parse``, on `times` sixteenths of the full release's dialogs."""
    root = release.make_full(folder / "IEMOCAP_full_release")
    _parameters(folder, {"name": params.EMBEDDED, "root": str(root)})
    dialogs = [dialog for session in range(1, 6) for dialog in release.full_dialogs(session)]
    for number, dialog in enumerate(dialogs):
        if number % max(GROWTH) >= times:
            _remove(root, dialog)
    peak = _stage("parse", folder, times)
    return [_row("parse", times, _utterances(folder), *peak)]


def random(folder: Path, times: int, options: argparse.Namespace) -> Rows:
    """Return one row per stage from ``store`` on, on random features."""
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
    raw["audio"]["streams"]["speech"] = {
        "extractor": "transformers",
        "model": speech.save_model(folder / "speech", **SPEECH),
        "batch_size": 4,
    }
    for stream in raw["visual"]["streams"].values():
        stream["crop"] = CROP
    raw["compute"]["workers"] = WORKERS
    (folder / "params.yaml").write_text(params.as_yaml(raw), encoding="utf-8")
    (folder / "data/interim").mkdir(parents=True)  # DVC makes it otherwise


def _remove(root: Path, dialog: str) -> None:
    """Delete a dialog from a tree of the full release's size."""
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
    """Run a module in `folder`; return its peak memory in bytes, with and without mapped files."""
    print(f"memory: {progress}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", *module]
    environment = {**os.environ, "TQDM_DISABLE": "1", "PYTHONPATH": str(ROOT)}
    peak = own = 0
    with psutil.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, env=environment) as process:
        while process.poll() is None:
            resident = shared = 0
            with contextlib.suppress(psutil.NoSuchProcess):  # a process may end meanwhile
                for each in (process, *process.children(recursive=True)):
                    memory = each.memory_info()
                    resident, shared = resident + memory.rss, shared + memory.shared
            peak, own = max(peak, resident), max(own, resident - shared)
            time.sleep(0.01)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak, own


def _task(options: argparse.Namespace) -> None:
    """Run one task of :func:`random`."""
    folder, table = options.folder, store_benchmark.make_utterances(options.utterances)
    if options.task == "features":
        store_benchmark.make_streams(folder / STORE, table)
    elif options.task == "store":
        store_benchmark.make_table(folder / STORE, table)
        describe(folder / STORE)
    elif options.task == "train":
        train(folder, load(options.recipe, options.batch_size), options.steps)
    else:
        evaluate(folder)


def load(recipe: Path, batch_size: int | None) -> params.Params:
    """The parameters of a recipe; `batch_size` replaces its own unless None."""
    settings = params.load(recipe)
    if batch_size is not None:
        changed = settings.train.model_copy(update={"batch_size": batch_size})
        settings = settings.model_copy(update={"train": changed})
    return settings


def train(folder: Path, settings: params.Params, steps: int) -> None:
    """Plan all folds, train the model of the first for `steps` steps, validate and save it."""
    import numpy as np
    import torch

    from pipeline.evaluation.prediction import predict
    from pipeline.store.inputs import of_model
    from pipeline.training import folds
    from pipeline.training.fitting import Run

    compute.start_worker()  # as in the stage's worker processes
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
    """Classify the test part of the trained fold and write the attention, as the stage does."""
    import torch

    from pipeline.evaluation import attention, prediction

    device, models = torch.device("cpu"), folder / MODELS
    with FeatureStore(folder / STORE) as opened:
        predictions = prediction.test_folds(opened, models, device)
        prediction.missing(opened, models, device)
        attention.write(opened, models, predictions, folder / "attention.h5", device)


if __name__ == "__main__":
    main()
