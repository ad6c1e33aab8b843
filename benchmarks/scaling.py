"""How a cluster grows: two workers against one, the cost of a task, and k workers by simulation.

``python -m benchmarks.scaling`` runs on an embedded corpus and prints JSON and a Markdown table. It
needs the extra ``cluster``. Workers of one thread each, in processes of this machine, extract MFCC
and prosody, and the states of a speech encoder of base size and random weights; they have started
and loaded the model before. ``overhead_ms`` is the time that a task takes which does nothing.

The simulation hands tasks to k workers, the longest first or in the order of the table, as soon as
one is free. A task takes as long as its dialog at the measured speed of the encoder, and the
overhead. ``% of ideal`` compares with a division of all work into k equal parts. IEMOCAP's 151
dialogs have the lengths of the simulated release (:mod:`benchmarks.release`), in which those of a
session have equal numbers of utterances; podcasts are 1,000 hours in episodes of 5 to 120 minutes.
"""

from __future__ import annotations

import heapq
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import release, results, speech
from benchmarks.extraction import RELEASE, command, extracted, race
from pipeline import params
from pipeline.corpus.iemocap import totals
from pipeline.features.extractor import Context
from pipeline.features.speech_encoder import SpeechEncoder
from pipeline.params.cluster import Address
from pipeline.system.cluster import Cluster

WORKERS = (4, 16, 64, 256)
EMPTY = 200  # tasks that do nothing


def measure(rows: pd.DataFrame, corpus: Path, repeat: int) -> list[dict[str, Any]]:
    """The rows of the measurement; prints the simulation."""
    settings = params.load().audio
    overhead = _overhead()
    measured: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        lengths = np.clip(np.random.default_rng(0).lognormal(1.2, 0.77, (16, 8)), 0.5, 34)
        recorded = speech.recorded(folder, lengths)
        encoder = SpeechEncoder(model=speech.save_model(folder / "model"), batch_size=2)
        cases = {
            "mfcc, prosody": (rows, Context(corpus / RELEASE, "cpu", settings), settings.streams),
            "speech encoder": (recorded, Context(folder, "cpu", settings), {"speech": encoder}),
        }
        for name, (table, context, streams) in cases.items():
            extraction = partial(extracted, "audio", streams, context=context)
            seconds = _on_workers(extraction, table, repeat)
            spoken = float((table["end"] - table["start"]).sum())
            measured.append(
                {
                    "case": name,
                    "one_s": round(seconds["one"], 1),
                    "two_s": round(seconds["two"], 1),
                    "times_one": round(seconds["one"] / seconds["two"], 2),
                    "speech_s_per_s": round(spoken / seconds["one"], 1),
                    "overhead_ms": round(1000 * overhead, 1),
                }
            )
    results.show(simulated(measured[-1]["speech_s_per_s"], overhead))
    return measured


def _on_workers(extraction: Any, table: pd.DataFrame, repeat: int) -> dict[str, float]:
    """The least seconds on one worker and on two; both give the same values."""
    from distributed import LocalCluster

    seconds: dict[str, float] = {}
    values: dict[str, list[np.ndarray]] = {}
    for name, number in (("one", 1), ("two", 2)):
        with (
            LocalCluster(n_workers=number, threads_per_worker=1, dashboard_address=None) as started,
            Cluster(Address(kind="address", scheduler=started.scheduler_address)) as cluster,
        ):
            first = table[table["dialog"].isin(table["dialog"].unique()[:4])]
            extraction(rows=first, cluster=cluster)  # workers import, and load the model
            taken, found = race({name: partial(extraction, rows=table, cluster=cluster)}, repeat)
        seconds |= taken
        values |= found
    for one, two in zip(values["one"], values["two"], strict=True):
        np.testing.assert_array_equal(one, two)
    return seconds


def _overhead() -> float:
    """Seconds per task on one worker."""
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as started,
        Cluster(Address(kind="address", scheduler=started.scheduler_address)) as cluster,
    ):
        run = partial(cluster.completed, nothing, name=str, size=lambda _: 1)
        list(run([0]))
        start = time.perf_counter()
        list(run(range(EMPTY)))
        return (time.perf_counter() - start) / EMPTY


def nothing(number: int) -> int:
    return number


def simulated(speed: float, overhead: float) -> list[dict[str, Any]]:
    """The simulation; `speed` in seconds of speech per second, `overhead` in seconds."""
    rng = np.random.default_rng(0)
    dialogs = [
        release.durations(rng, len(part)).sum()
        for session, count in totals.DIALOGS_BY_SESSION.items()
        for part in np.array_split(range(totals.BY_SESSION[session]), count)
    ]
    episodes: list[float] = []
    while sum(episodes) < 3_600_000:
        episodes.append(60 * rng.uniform(5, 120))
    rows = []
    for corpus, seconds in (("IEMOCAP", dialogs), ("1,000 hours of podcasts", episodes)):
        tasks = np.array(seconds) / speed + overhead
        for workers in WORKERS:
            ideal = np.array(seconds).sum() / speed / workers
            shares = {
                order: round(100 * ideal / makespan(own, workers))
                for order, own in (
                    ("longest first", sorted(tasks.tolist(), reverse=True)),
                    ("table's order", tasks.tolist()),
                )
            }
            rows.append(
                {
                    "case": corpus,
                    "workers": workers,
                    **{f"% of ideal, {order}": share for order, share in shares.items()},
                    "limit by the longest": min(100, round(100 * ideal / tasks.max())),
                }
            )
    return rows


def makespan(tasks: Sequence[float], workers: int) -> float:
    """Seconds until all tasks are done, each begun by the first worker that is free."""
    free = [0.0] * workers
    for task in tasks:
        heapq.heappush(free, heapq.heappop(free) + task)
    return max(free)


main = partial(command, "scaling", __doc__, measure, dialogs=20, table="audio")

if __name__ == "__main__":
    main()
