"""Incremental extraction of the streams of one modality, which can be resumed after a kill.

A task is one dialog, or a fixed group of dialogs, with all streams that have no features of it yet.
It writes one file per stream and dialog. When all tasks are done, these files are joined with the
dialogs that are reused from the previous stream file, in the order of the utterance table. So the
bytes are the same as of an uninterrupted run, for any order of tasks and any number of processes.

A dialog is reused if its key is the same (:mod:`pipeline.features.planning`) and its checksums
match.
"""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline import InputError
from pipeline.corpus.utterance import Utterance
from pipeline.features.extractor import Context, Extractor, NetworkExtractor, Steps, extracted
from pipeline.features.planning import Dialogs, Plan, dialogs_of, plan
from pipeline.features.previous import PreviousFile
from pipeline.features.stream import Stream
from pipeline.features.streamfile import Arrays, Header, write
from pipeline.system import compute
from pipeline.system.cluster import Cluster
from pipeline.system.disk import FullDiskError, readable
from pipeline.system.hdf5 import reading
from pipeline.system.kept import Kept, locked, publish

_EVERY = 5.0  # seconds between two looks at what runs where


@dataclass(frozen=True)
class Task:
    """Dialogs that are extracted together, and the streams to extract."""

    dialogs: Dialogs
    plans: Sequence[Plan]
    context: Context
    kept: Path

    @property
    def utterances(self) -> int:
        return sum(map(len, self.dialogs.values()))

    @property
    def seconds(self) -> float:
        """Of speech, as an estimate of the time that the task takes."""
        return sum(one.end - one.start for own in self.dialogs.values() for one in own)

    @property
    def has_network(self) -> bool:
        return _has_network(self.plans[0])


def extract(
    modality: str,
    streams: Mapping[str, Extractor],
    utterances: Sequence[Utterance],
    context: Context,
    *,
    kept: Path,
    output: Path,
    workers: int = 1,
    network_workers: int | None = None,
    cluster: Cluster | None = None,
    include_text: bool = True,
) -> None:
    """Extract streams, and write one file per stream into a folder.

    Parameters
    ----------
    modality
        The group of ``params.yaml``, for messages.
    streams
        The extractors, by stream.
    utterances
        All utterances of the corpus; those of a dialog are consecutive.
    context
        The environment of the extractors.
    kept
        Folder of the results that are kept between runs: the previous file of each stream, and
        finished dialogs.
    output
        The folder ``data/features/<corpus>/<modality>``.
    workers
        Number of processes; 1 for this process only.
    network_workers
        Number of processes for streams of networks; None for `workers`.
    cluster
        Where tasks run instead of processes of this machine.
    include_text
        Whether tokens and vocabularies are written.

    Raises
    ------
    InputError
        If there are no utterances, if those of a dialog are not consecutive, if another run is
        writing the same streams, or if the disk is full. Finished dialogs are kept.
    """
    dialogs = dialogs_of(utterances)
    with locked(kept):
        planned = partial(cluster.call, plan) if cluster else plan
        plans = [
            planned(modality, name, extractor, dialogs, context, include_text=include_text)
            for name, extractor in streams.items()
        ]
        for each in plans:
            asked, fits = (
                getattr(one, "batch_size", None) for one in (streams[each.name], each.extractor)
            )
            if fits != asked:
                print(f"{each.name}: batch_size {fits}, since {asked} needs more memory")
        with ExitStack() as stack:
            previous = {
                each.name: stack.enter_context(
                    closing(PreviousFile(kept / f"{each.name}.h5", each))
                )
                for each in plans
            }
            missing = {each.name: _missing(each, kept, previous[each.name].rows) for each in plans}
            _check_disk_space(previous, missing, dialogs, kept)
            tasks = _tasks(plans, missing, dialogs, context, kept)
            total = sum(task.utterances for task in tasks)
            with tqdm(total=total, desc=modality, unit="utt", disable=not tasks) as bar:
                if cluster and tasks:
                    finished = _on(cluster, tasks, bar)
                else:
                    finished = _finished(tasks, workers, network_workers or workers)
                for task in finished:
                    bar.update(task.utterances)
            for each in plans:
                if not previous[each.name].is_current:
                    _join(each, previous[each.name], dialogs, kept)
        output.mkdir(parents=True, exist_ok=True)
        publish([f"{each.name}.h5" for each in plans], kept, output)
        for each in plans:
            count = len(missing[each.name])
            print(f"{each.name}: computed {count}, kept {len(dialogs) - count} dialogs")
            path = output / f"{each.name}.h5"
            with reading(path) as file:
                problems = len(Stream(each.name, file).problems)
            if problems:
                print(
                    f"{each.name}: {problems} of {len(utterances)} utterances have problems; "
                    f"`python -m pipeline.store problems {path}` lists them"
                )


def _missing(plan: Plan, kept: Path, present: Container[str] = ()) -> list[str]:
    """The dialogs of a stream to compute: neither `present` nor kept by a run that was killed."""
    done = Kept(kept / plan.name)
    return [
        dialog
        for dialog, key in plan.keys.items()
        if dialog not in present and done.load(dialog, key) is None
    ]


def _check_disk_space(
    previous: Mapping[str, PreviousFile],
    missing: Mapping[str, list[str]],
    dialogs: Dialogs,
    kept: Path,
) -> None:
    """Check the disk space before hours of work; it is estimated from the previous files.

    Raises
    ------
    FullDiskError
        If there is too little for the new files and the dialogs that are computed for them.
    """
    total = sum(map(len, dialogs.values()))
    needed = 0
    for name, file in previous.items():
        if not file.is_current:
            share = sum(len(dialogs[dialog]) for dialog in missing[name]) / total
            needed += int(file.size * (1 + share))
    free = shutil.disk_usage(kept).free
    if needed > free:
        raise FullDiskError(
            f"{kept}: about {readable(needed)} are needed to write new stream files beside the "
            f"previous ones, and {readable(free)} are free; free disk space and start again"
        )


def _tasks(
    plans: Sequence[Plan],
    missing: Mapping[str, list[str]],
    dialogs: Dialogs,
    context: Context,
    kept: Path,
) -> list[Task]:
    """One task per group of dialogs, for all streams that need this group.

    Streams of networks have tasks of their own, as they may run in fewer processes.
    """
    needed: dict[tuple[tuple[str, ...], bool], list[Plan]] = {}
    for each in plans:
        for group in dict.fromkeys(each.groups[dialog] for dialog in missing[each.name]):
            needed.setdefault((group, _has_network(each)), []).append(each)
    return [
        Task(
            {dialog: dialogs[dialog] for dialog in group},
            # a task is pickled, so it holds its own part of each plan only
            [each.of(group) for each in its],
            context,
            kept,
        )
        for (group, _), its in needed.items()
    ]


def _has_network(plan: Plan) -> bool:
    return isinstance(plan.extractor, NetworkExtractor)


def _finished(tasks: list[Task], workers: int, network_workers: int) -> Iterator[Task]:
    """Run the tasks in as many processes as suit them, and yield each one that is finished."""
    by_processes: dict[int, list[Task]] = {}
    for task in tasks:
        by_processes.setdefault(network_workers if task.has_network else workers, []).append(task)
    for number, own in by_processes.items():
        yield from _in_processes(own, number)


def _in_processes(tasks: list[Task], workers: int) -> Iterator[Task]:
    """Run the tasks in this process or in several, and yield each one that is finished."""
    if workers == 1 or len(tasks) < 2:
        for task in tasks:
            run(task)
            yield task
        return
    pool = compute.pool(min(workers, len(tasks)), tasks[0].context.device)
    # longest first, so that no long task is left at the end
    ordered = sorted(tasks, key=lambda task: -task.seconds)
    try:
        futures = {pool.submit(run, task): task for task in ordered}
        for future in as_completed(list(futures)):
            future.result()
            yield futures.pop(future)
    finally:
        pool.shutdown(cancel_futures=True)


def _on(cluster: Cluster, tasks: list[Task], bar: tqdm) -> Iterator[Task]:
    """Run the tasks on a cluster, and yield each one that is finished."""
    shown = time.monotonic()
    size = attrgetter("seconds")
    for task in cluster.completed(
        run, tasks, name=lambda task: next(iter(task.dialogs)), size=size
    ):
        if time.monotonic() - shown > _EVERY:
            bar.set_postfix_str(cluster.running(), refresh=False)
            shown = time.monotonic()
        yield task


def run_once(task: Task) -> None:
    """As :func:`run`, unless a worker that was lost afterwards has finished the task."""
    if any(_missing(each, task.kept) for each in task.plans):
        run(task)


def run(task: Task) -> None:
    """Compute the dialogs of a task, and write one file per stream and dialog.

    Raises
    ------
    InputError
        If a recording or video is missing that existed when the corpus was parsed.
    """
    together = [utterance for members in task.dialogs.values() for utterance in members]
    for source in {source for one in together for source in (one.audio, one.video) if source}:
        if source.sha256 and not (task.context.root / source.path).exists():
            raise InputError(
                f"{task.context.root / source.path}: existed when the corpus was parsed and is "
                "missing now; restore it, or run `dvc repro parse` to record it as missing"
            )
    for each, steps in extracted(task.plans, together, task.context):
        done, rest = Kept(task.kept / each.name), iter(steps)
        for dialog, members in task.dialogs.items():
            content = _packed(each.extractor, [next(rest) for _ in members])
            done.save(dialog, each.keys[dialog], content)


def _packed(extractor: Extractor, steps: Sequence[Steps]) -> memoryview:
    """The features of a dialog as an NPZ file."""
    sequence = extractor.kind != "utterance"
    join = np.concatenate if sequence else np.stack
    columns = {"values": join([step.values for step in steps])}
    for name in ("times", "tokens"):
        arrays = [array for step in steps if (array := getattr(step, name)) is not None]
        if arrays:
            columns[name] = np.concatenate(arrays)
    lengths = [len(step.values) if sequence else 1 for step in steps]
    problems = [(position, step.problem) for position, step in enumerate(steps) if step.problem]
    content = io.BytesIO()
    np.savez(
        content,
        allow_pickle=False,
        lengths=np.array(lengths, np.int64),
        problem_rows=np.array([position for position, _ in problems], np.int64),
        problems=np.array([reason for _, reason in problems], np.str_),
        **columns,
    )
    return content.getbuffer()


def _join(plan: Plan, previous: PreviousFile, dialogs: Dialogs, kept: Path) -> None:
    """Write the file of a stream from its previous file and the finished dialogs."""
    done = Kept(kept / plan.name)
    lengths: list[np.ndarray] = []
    problems: list[tuple[int, str]] = []
    columns: dict[str, Any] = {}
    first = 0
    for dialog, members in dialogs.items():
        if dialog in previous.rows:
            own, its = previous.lengths_and_problems(dialog)
            arrays = previous.read(dialog) if not columns else {}
        else:
            arrays = _unpacked(done, dialog, plan.keys[dialog])
            own = arrays.pop("lengths")
            reasons = arrays.pop("problems").tolist()
            its = list(zip(arrays.pop("problem_rows").tolist(), reasons, strict=True))
        lengths.append(own)
        problems += [(first + position, reason) for position, reason in its]
        columns = columns or {name: (a.dtype, a.shape[1:]) for name, a in arrays.items()}
        first += len(members)
    header = Header(
        attributes=plan.attributes,
        utterances=[utterance.id for members in dialogs.values() for utterance in members],
        lengths=np.concatenate(lengths),
        columns=columns,
        dialogs={dialog: len(members) for dialog, members in dialogs.items()},
        keys=list(plan.keys.values()),
        problems=problems,
        state=plan.state,
        is_sequence=plan.extractor.kind != "utterance",
        dtype=plan.extractor.dtype,
        compression=plan.extractor.compression,
        include_text=plan.include_text,
    )

    def parts() -> Iterator[Arrays]:
        for dialog in dialogs:
            if dialog in previous.rows:
                yield previous.read(dialog)
            else:
                yield _unpacked(done, dialog, plan.keys[dialog])
        previous.close()  # it is replaced next, and Windows cannot replace an open file

    write(previous.path, header, parts())


def _unpacked(done: Kept, dialog: str, key: str) -> dict[str, np.ndarray]:
    content = done.load(dialog, key)
    if content is None:
        raise InputError(
            f"{done.path(dialog)}: was damaged or deleted during this run; start "
            "again, to compute this dialog again and keep the others"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)
