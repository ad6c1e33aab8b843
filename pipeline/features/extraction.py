"""Extraction of the streams of one modality: incremental, and resumable after a kill.

Work is a list of tasks, each a dialog, or a fixed group of dialogs that are read together, with all
streams that lack it. A task keeps what it has computed as one file per stream and dialog. Once all
are there, they are joined with what the last stream file holds already, in the order of the table.
So the bytes are those of an uninterrupted run, whatever was kept, in any order, in any number of
processes.

What has the same key (:mod:`pipeline.features.planning`) is taken over once its checksums have been
compared, and the rest is computed.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline import InputError
from pipeline.corpus.utterance import Utterance
from pipeline.features.extractor import Context, Extractor, Steps
from pipeline.features.former import Former
from pipeline.features.planning import Dialogs, Plan, dialogs_of, plan
from pipeline.features.pretrained import of_stream
from pipeline.features.stream import Stream
from pipeline.features.streamfile import Arrays, Header, write
from pipeline.system.compute import start_worker
from pipeline.system.disk import FullDiskError, readable
from pipeline.system.hdf5 import reading
from pipeline.system.kept import Kept, locked, publish


@dataclass(frozen=True)
class Task:
    """Some dialogs that are read together, and the streams that lack them."""

    dialogs: Dialogs
    plans: Sequence[Plan]
    context: Context
    kept: Path

    @property
    def utterances(self) -> int:
        """How many."""
        return sum(map(len, self.dialogs.values()))


def extract(
    modality: str,
    streams: Mapping[str, Extractor],
    utterances: Sequence[Utterance],
    context: Context,
    *,
    kept: Path,
    output: Path,
    workers: int = 1,
    include_text: bool = True,
) -> None:
    """Write one file per stream into a folder.

    Parameters
    ----------
    modality
        The group of ``params.yaml``, for messages.
    streams
        The extractors, by stream.
    utterances
        All of the corpus, those of a dialog one after the other.
    context
        Where they run.
    kept
        Folder of what outlives the run: the last file of each stream, and finished dialogs.
    output
        The folder ``data/features/<corpus>/<modality>``.
    workers
        Processes; with 1 everything runs in this one.
    include_text
        Whether files spell words.

    Raises
    ------
    InputError
        If the utterances of a dialog are not consecutive, or there are none; if another run writes
        the same; if the disk is full, with what is needed. All finished dialogs are kept.
    """
    dialogs = dialogs_of(utterances)
    with locked(kept):
        plans = [
            plan(modality, name, extractor, dialogs, context, include_text=include_text)
            for name, extractor in streams.items()
        ]
        with ExitStack() as stack:
            formers = {
                each.name: stack.enter_context(Former(kept / f"{each.name}.h5", each))
                for each in plans
            }
            missing = {each.name: _missing(each, formers[each.name], kept) for each in plans}
            _check_room(formers, missing, dialogs, kept)
            _run(_tasks(plans, missing, dialogs, context, kept), modality, workers)
            for each in plans:
                former = formers[each.name]
                if not former.is_whole:
                    _join(each, former, dialogs, kept)
        output.mkdir(parents=True, exist_ok=True)
        publish([f"{each.name}.h5" for each in plans], kept, output)
        for each in plans:
            count = len(missing[each.name])
            print(f"{each.name}: computed {count}, kept {len(dialogs) - count} dialogs")
            _report_problems(output / f"{each.name}.h5", len(utterances))


def _missing(plan: Plan, former: Former, kept: Path) -> list[str]:
    """The dialogs of a stream that neither its last file nor a killed run has."""
    done = Kept(kept / plan.name)
    return [
        dialog
        for dialog, key in plan.keys.items()
        if dialog not in former.rows and done.load(dialog, key) is None
    ]


def _check_room(
    formers: Mapping[str, Former], missing: Mapping[str, list[str]], dialogs: Dialogs, kept: Path
) -> None:
    """Ask for the room of the files to come before hours of work, where the last ones tell it.

    Raises
    ------
    FullDiskError
        If it is not there: a stream file is written beside the last one, from its finished dialogs.
    """
    total = sum(map(len, dialogs.values()))
    needed = 0
    for name, former in formers.items():
        if not former.is_whole:
            share = sum(len(dialogs[dialog]) for dialog in missing[name]) / total
            needed += int(former.size * (1 + share))
    free = shutil.disk_usage(kept).free
    if needed > free:
        raise FullDiskError(
            f"{kept}: about {readable(needed)} are needed to write the streams anew beside the "
            f"last ones, and {readable(free)} are free; make room and start again"
        )


def _tasks(
    plans: Sequence[Plan],
    missing: Mapping[str, list[str]],
    dialogs: Dialogs,
    context: Context,
    kept: Path,
) -> list[Task]:
    """One task for all streams that lack the same dialogs and read them together."""
    wanted: dict[tuple[str, ...], list[Plan]] = {}
    for each in plans:
        for group in dict.fromkeys(each.groups[dialog] for dialog in missing[each.name]):
            wanted.setdefault(group, []).append(each)
    return [
        Task(
            {dialog: dialogs[dialog] for dialog in group},
            # a task is sent to a process: what it needs of the corpus, and no more
            [each.of(group) for each in lacking],
            context,
            kept,
        )
        for group, lacking in wanted.items()
    ]


def _run(tasks: list[Task], modality: str, workers: int) -> None:
    """Run all tasks, in this process or in several."""
    if not tasks:
        return
    with tqdm(total=sum(task.utterances for task in tasks), desc=modality, unit="utt") as bar:
        for task in _finished(tasks, workers):
            bar.update(task.utterances)


def _finished(tasks: list[Task], workers: int) -> Iterator[Task]:
    if workers == 1 or len(tasks) < 2:
        for task in tasks:
            run(task)
            yield task
        return
    # spawned, not forked: a child of a process with OpenMP threads can hang
    pool = ProcessPoolExecutor(
        min(workers, len(tasks)), get_context("spawn"), initializer=start_worker
    )
    # longest first, so that the last one does not hold up the end
    ordered = sorted(tasks, key=lambda task: -task.utterances)
    try:
        futures = {pool.submit(run, task): task for task in ordered}
        for future in as_completed(list(futures)):
            future.result()
            yield futures.pop(future)
    finally:
        pool.shutdown(cancel_futures=True)


def run(task: Task) -> None:
    """Compute the dialogs of a task and keep them, one file per stream and dialog.

    Raises
    ------
    InputError
        If a recording or video is gone that was there when the corpus was parsed.
    """
    together = [utterance for members in task.dialogs.values() for utterance in members]
    for source in {source for one in together for source in (one.audio, one.video) if source}:
        if source.sha256 and not (task.context.root / source.path).exists():
            raise InputError(
                f"{task.context.root / source.path}: was there when the corpus was parsed, and is "
                "gone; bring it back, or run `dvc repro parse`, which notes that it is missing"
            )
    for each in task.plans:
        with of_stream(each.modality, each.name):
            steps = iter(each.extractor.extract(together, each.state, task.context))
        done = Kept(task.kept / each.name)
        for dialog, members in task.dialogs.items():
            content = _packed(each.extractor, [next(steps) for _ in members])
            done.save(dialog, each.keys[dialog], content)


def _packed(extractor: Extractor, steps: Sequence[Steps]) -> memoryview:
    """The features of a dialog as the bytes of an NPZ file."""
    sequence = extractor.kind != "utterance"
    join = np.concatenate if sequence else np.stack
    columns = {"values": join([step.values for step in steps])}
    for name in ("times", "tokens"):
        given = [array for step in steps if (array := getattr(step, name)) is not None]
        if given:
            columns[name] = np.concatenate(given)
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


def _join(plan: Plan, former: Former, dialogs: Dialogs, kept: Path) -> None:
    """Write a stream's file from what its last file and the finished dialogs hold."""
    done = Kept(kept / plan.name)
    lengths: list[np.ndarray] = []
    problems: list[tuple[int, str]] = []
    columns: dict[str, Any] = {}
    first = 0
    for dialog, members in dialogs.items():
        if dialog in former.rows:
            own, its = former.facts(dialog)
            arrays = former.read(dialog) if not columns else {}
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
            if dialog in former.rows:
                yield former.read(dialog)
            else:
                yield _unpacked(done, dialog, plan.keys[dialog])
        former.close()  # its successor takes its name next, which Windows allows closed files only

    write(former.path, header, parts())


def _unpacked(done: Kept, dialog: str, key: str) -> dict[str, np.ndarray]:
    content = done.load(dialog, key)
    if content is None:
        raise InputError(
            f"{done.path(dialog)}: the disk has damaged or lost it since it was written; start "
            "again, which computes this dialog anew and keeps the others"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def _report_problems(path: Path, total: int) -> None:
    with reading(path) as file:
        found = len(Stream(path.stem, file).problems)
    if found:
        print(
            f"{path.stem}: {found} of {total} utterances have problems; `python -m pipeline.store "
            f"problems {path}` lists them"
        )
