"""Size and reading time of the feature store, on random numbers of IEMOCAP's size.

``python -m benchmarks.store`` makes stores in a temporary folder (15 GB at full scale) and
prints JSON and a Markdown table: bytes, also as a share of padded float32 arrays (750, 128 and 32
steps), and seconds in which a new process reads a shuffled epoch in batches of 32, from the disk
(its pages dropped from the cache before) and from the cache. For comparison: a file with a group an
utterance. Random numbers hardly compress; real values compress a little better.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from benchmarks import results
from pipeline import store
from pipeline.features.extractor import Extractor
from pipeline.features.glove import Glove
from pipeline.features.mfcc import Mfcc
from pipeline.features.visual import Torchvision
from pipeline.hdf5 import SCHEMA_VERSION, reading, write_strings, writing
from pipeline.store.writing import Storage, assemble
from tests import synthetic

UTTERANCES, SECONDS = 10_039, 4.5  # of the release, and their mean duration
STREAMS = ("mfcc", "glove", "resnet")
WIDTHS = {"mfcc": 120, "resnet": 2048}
PADDED = 750 * 120 + 128 + 32 * 2048  # values an utterance of 4 bytes
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
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of IEMOCAP's utterances")
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: temporary")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.read:
        print(json.dumps(read(options.read)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = measure(Path(folder), round(UTTERANCES * options.scale), options.layouts)
    results.show(rows)


def measure(folder: Path, utterances: int, layouts: Sequence[str]) -> list[dict[str, str | float]]:
    """Return a row a layout, the group an utterance first."""
    table = synthetic.table(-(-utterances // 5)).iloc[:utterances]
    features = folder / "features.h5"
    make_features(features, table["utterance"].tolist())
    grouped = folder / "grouped.h5"
    make_grouped(features, grouped)
    padded = utterances * PADDED * 4
    rows = [_row("a group an utterance", grouped, padded)]
    grouped.unlink()
    for name in layouts:
        output = folder / "store.h5"
        assemble(
            table,
            synthetic.votes(table),
            [features],
            output,
            corpus="random",
            parameters={},
            storage=_storage(*LAYOUTS[name]),
        )
        rows.append(_row(name, output, padded))
        output.unlink()
    return rows


def _storage(dtype: str, compression: str) -> Storage:
    """All streams in one type and with one compression; nothing is extracted."""
    stored = {"dtype": dtype, "compression": compression}
    streams: dict[str, Extractor] = {
        "mfcc": Mfcc.model_validate(stored),
        "glove": Glove.model_validate({"vectors": "none", **stored}),
        "resnet": Torchvision.model_validate(
            {"network": "resnet101", "weights": "random", **stored}
        ),
    }
    return Storage(streams=streams)


def _row(name: str, path: Path, padded: int) -> dict[str, str | float]:
    size = path.stat().st_size
    cold = min(_seconds(path, from_disk=True) for _ in range(2))
    warm = min(_seconds(path, from_disk=False) for _ in range(2))
    return {
        "layout": name,
        "MB": round(size / 1e6, 1),
        "% of padded": round(100 * size / padded, 1),
        "s from disk": round(cold, 2),
        "s from cache": round(warm, 2),
    }


def _seconds(path: Path, *, from_disk: bool) -> float:
    """Seconds in which a new process reads all of `path`."""
    with path.open("rb") as file:
        if from_disk:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            while file.read(1 << 24):
                pass
    command = [sys.executable, "-m", "benchmarks.store", "--read", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["seconds"]


def read(path: Path) -> dict[str, float]:
    """Read a shuffled epoch in batches and return its seconds and the number of values."""
    start = time.perf_counter()
    batches = _grouped(path) if path.stem == "grouped" else _ragged(path)
    values = sum(array.size for batch in batches for array in batch)
    return {"seconds": time.perf_counter() - start, "values": values}


def _shuffled(number: int) -> Iterator[np.ndarray]:
    order = np.random.default_rng(0).permutation(number)
    for start in range(0, number, BATCH):
        yield order[start : start + BATCH]


def _ragged(path: Path) -> Iterator[list[np.ndarray]]:
    with store.FeatureStore(path) as opened:
        streams = [opened.stream(name) for name in STREAMS]
        for batch in _shuffled(len(opened)):
            yield [stream[index] for index in batch for stream in streams]


def _grouped(path: Path) -> Iterator[list[np.ndarray]]:
    with reading(path) as file:
        ids = sorted(file)
        for batch in _shuffled(len(ids)):
            yield [file[f"{ids[index]}/{name}"][:] for index in batch for name in STREAMS]


def make_features(path: Path, ids: list[str]) -> None:
    """Write the three streams as a modality's file, with durations of a gamma distribution."""
    random = np.random.default_rng(0)
    # of IEMOCAP's kind: at least half a second, mostly short, a few beyond 20 s
    seconds = 0.5 + random.gamma(1.9, (SECONDS - 0.5) / 1.9, len(ids))
    lengths = {
        "mfcc": (seconds * 100).astype(int) + 1,
        "glove": (seconds * 2.6).astype(int) + 1,
        "resnet": np.minimum((seconds * 3).astype(int) + 1, 32),
    }
    with writing(path) as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["extractor"] = json.dumps({"random": 0})
        write_strings(file, "utterances/id", ids)
        file["glove/values"] = random.integers(2, WORDS, lengths["glove"].sum(), np.int32)
        file["glove/vectors"] = random.standard_normal((WORDS, 300), np.float32)
        write_strings(file, "glove/vocabulary", [f"w{number:04d}" for number in range(WORDS)])
        for name, n in lengths.items():
            file[f"{name}/offsets"] = np.concatenate([[0], np.cumsum(n)]).astype(np.int64)
        for name, width in WIDTHS.items():
            rows = int(lengths[name].sum())
            values = file.create_dataset(f"{name}/values", (rows, width), np.float32)
            for start in range(0, rows, 1 << 15):
                size = min(1 << 15, rows - start)
                values[start : start + size] = random.standard_normal((size, width), np.float32)


def make_grouped(features: Path, path: Path) -> None:
    """Write the same streams as a group an utterance with a dataset a stream."""
    with reading(features) as source, h5py.File(path, "w", locking=False) as file:
        streams = [store.Stream(name, source[name]) for name in STREAMS]
        for index, utterance in enumerate(source["utterances/id"].asstr()[:]):
            for stream in streams:
                file[f"{utterance}/{stream.name}"] = stream[index]


if __name__ == "__main__":
    main()
