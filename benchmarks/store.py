"""Size and reading time of the feature store, with random numbers of IEMOCAP's size.

``python -m benchmarks.store`` makes stores in a temporary folder (15 GB at full scale) and prints
JSON and a Markdown table: the size of all files, also relative to padded float32 arrays (750, 128
and 32 steps), and the seconds in which a new process reads a shuffled epoch in batches of 32, from
the disk (after dropping the page cache of its files) and from the page cache. The baseline is a
file with one group per utterance. Random numbers hardly compress; real values compress slightly
better.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from benchmarks import results, synthetic
from pipeline.corpus.iemocap.codes import DESCRIPTION
from pipeline.features.streamfile import Arrays, Header, write
from pipeline.store import FeatureStore
from pipeline.store.writing import write_table
from pipeline.system.hdf5 import reading

UTTERANCES, SECONDS = 10_039, 4.5  # of the release; mean duration
STREAMS = {"mfcc": "audio", "glove": "text", "resnet": "visual"}  # stream: modality
WIDTHS = {"mfcc": 120, "resnet": 2048}
PADDED = 750 * 120 + 128 + 32 * 2048  # 4-byte values per padded utterance
WORDS = 3_000
BATCH = 32
LAYOUTS = {  # type, compression
    "float32": ("float32", "none"),
    "float16": ("float16", "none"),
    "float32 lzf": ("float32", "lzf"),
    "float32 gzip": ("float32", "gzip"),
    "float16 lzf": ("float16", "lzf"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of IEMOCAP's utterances")
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--folder", type=Path, help="folder on the disk to measure (temporary)")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.read:
        print(read(options.read))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = measure(Path(folder), round(UTTERANCES * options.scale), options.layouts)
    results.show(rows)


def measure(folder: Path, utterances: int, layouts: Sequence[str]) -> list[dict[str, str | float]]:
    """Return one row per layout, the baseline first."""
    table = make_utterances(utterances)
    made, grouped = folder / "store", folder / "grouped.h5"
    make_store(made, table)
    make_grouped(made, grouped)
    padded = utterances * PADDED * 4
    rows = [_row("one group per utterance", grouped, padded)]
    grouped.unlink()
    for name in layouts:
        shutil.rmtree(made)
        make_store(made, table, *LAYOUTS[name])
        rows.append(_row(name, made, padded))
    return rows


def _row(name: str, path: Path, padded: int) -> dict[str, str | float]:
    size = sum(file.stat().st_size for file in _files(path))
    cold = min(_seconds(path, from_disk=True) for _ in range(2))
    warm = min(_seconds(path, from_disk=False) for _ in range(2))
    return {
        "layout": name,
        "MB": round(size / 1e6, 1),
        "% of padded": round(100 * size / padded, 1),
        "s from disk": round(cold, 2),
        "s from cache": round(warm, 2),
    }


def _files(path: Path) -> list[Path]:
    """The HDF5 files of a folder, or the file itself."""
    return sorted(path.rglob("*.h5")) if path.is_dir() else [path]


def _seconds(path: Path, *, from_disk: bool) -> float:
    """Seconds in which a new process reads an epoch of `path`."""
    for name in _files(path):
        with name.open("rb") as file:
            if from_disk:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while file.read(1 << 24):
                    pass
    command = [sys.executable, "-m", "benchmarks.store", "--read", str(path)]
    return float(subprocess.run(command, check=True, capture_output=True).stdout)


def read(path: Path) -> float:
    """Read a shuffled epoch in batches; return the seconds."""
    start = time.perf_counter()
    for _ in _grouped(path) if path.stem == "grouped" else _ragged(path):
        pass
    return time.perf_counter() - start


def _shuffled(number: int) -> Iterator[np.ndarray]:
    order = np.random.default_rng(0).permutation(number)
    for start in range(0, number, BATCH):
        yield order[start : start + BATCH]


def _ragged(path: Path) -> Iterator[list[np.ndarray]]:
    with FeatureStore(path) as opened:
        streams = [opened.stream(name) for name in STREAMS]
        for batch in _shuffled(len(opened)):
            yield [stream[index] for index in batch for stream in streams]


def _grouped(path: Path) -> Iterator[list[np.ndarray]]:
    with reading(path) as file:
        ids = sorted(file)
        for batch in _shuffled(len(ids)):
            yield [file[f"{ids[index]}/{name}"][:] for index in batch for name in STREAMS]


def make_utterances(number: int) -> pd.DataFrame:
    """Return a table of `number` utterances in five dialogs."""
    return synthetic.table(-(-number // 5)).iloc[:number]


def make_store(
    folder: Path, table: pd.DataFrame, dtype: str = "float32", compression: str = "none"
) -> None:
    """Write a store of the three streams, all with the same type and compression."""
    make_streams(folder, table, dtype, compression)
    make_table(folder, table)


def make_table(folder: Path, table: pd.DataFrame) -> None:
    """Write ``store.h5`` to a folder of the three streams."""
    streams = {modality: [name] for name, modality in STREAMS.items()}
    votes = synthetic.votes(table.iloc[:1])
    write_table(folder, table, votes, streams, corpus="random", description=DESCRIPTION)


def make_streams(
    folder: Path, table: pd.DataFrame, dtype: str = "float32", compression: str = "none"
) -> None:
    """Write the three streams as random numbers; durations follow a gamma distribution."""
    random = np.random.default_rng(0)
    # like IEMOCAP's: at least half a second, mostly short, a few beyond 20 s
    seconds = 0.5 + random.gamma(1.9, (SECONDS - 0.5) / 1.9, len(table))
    lengths = {
        "mfcc": (seconds * 100).astype(int) + 1,
        "glove": (seconds * 2.6).astype(int) + 1,
        "resnet": np.minimum((seconds * 3).astype(int) + 1, 32),
    }
    words = {
        "vocabulary": np.array([f"w{number:04d}" for number in range(WORDS)]),
        "vectors": random.standard_normal((WORDS, 300), np.float32),
    }
    dialogs = {str(name): int(n) for name, n in table.groupby("dialog").size().items()}
    for name, modality in STREAMS.items():
        row = (np.dtype(np.int32), ()) if name == "glove" else (np.dtype("f4"), (WIDTHS[name],))
        header = Header(
            attributes={
                "extractor": "random",
                "identity": {"random": name},
                "parameters": {},
                "provenance": {"versions": {}},
                "sources": "",
            },
            utterances=table["utterance"].tolist(),
            lengths=lengths[name],
            columns={"values": row},
            dialogs=dialogs,
            keys=[""] * len(dialogs),
            state=words if name == "glove" else {},
            dtype=dtype,
            compression=compression,
        )
        write(folder / modality / f"{name}.h5", header, _parts(name, lengths[name]))


def _parts(name: str, lengths: np.ndarray) -> Iterator[Arrays]:
    """Yield random values of 64 utterances at a time."""
    random = np.random.default_rng(0)
    for first in range(0, len(lengths), 64):
        steps = int(lengths[first : first + 64].sum())
        if name == "glove":
            yield {"values": random.integers(2, WORDS, steps, np.int32)}
        else:
            yield {"values": random.standard_normal((steps, WIDTHS[name]), np.float32)}


def make_grouped(folder: Path, path: Path) -> None:
    """Write the streams of a store as one group per utterance, with one dataset per stream."""
    with FeatureStore(folder) as source, h5py.File(path, "w", locking=False) as file:
        for utterance in source:
            arrays = source[utterance]
            for name in STREAMS:
                file[f"{utterance}/{name}"] = arrays[name]


if __name__ == "__main__":
    main()
