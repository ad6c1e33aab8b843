"""Time from the start of ``python -m pipeline.predict`` to a prediction, and of further clips.

``python -m benchmarks.predicting`` needs trained models (``dvc repro train``), and prints JSON and
a Markdown table. A clip is five seconds of the first embedded film with the sound of its dialog.
The command is run with one clip and with several, each time in a new process.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import soundfile

from benchmarks import clips, results
from benchmarks.extraction import RELEASE

SECONDS = 5.0
TEXT = "What was I supposed to say?"


def measure(release: Path, models: Path, more: int, repeat: int) -> dict[str, float]:
    """The medians over runs, in seconds.

    Parameters
    ----------
    more
        The number of further clips.
    """
    film = min(path for path in release.rglob("*.avi") if not path.name.startswith("."))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clip = cut(film, film.parents[2] / "wav" / f"{film.stem}.wav", folder / "clip.mp4")
        one, several = (_listed(folder / f"{n}.csv", clip, n) for n in (1, 1 + more))
        first, further = [], []
        for _ in range(repeat):
            first.append(_predicted(one, models))
            further.append((_predicted(several, models) - first[-1]) / more)
    return {
        "models": len(list(models.glob("*.safetensors"))),
        "first_s": round(statistics.median(first), 2),
        "further_s": round(statistics.median(further), 2),
    }


def cut(film: Path, sound: Path, path: Path) -> Path:
    """Write the first seconds of a film and of its sound into one file."""
    pictures, times = [], []
    with av.open(str(film)) as container:
        for frame in container.decode(video=0):
            if frame.time is None or frame.time >= SECONDS:
                break
            pictures.append(frame.to_ndarray(format="bgr24"))
            times.append(frame.time)
    samples, rate = soundfile.read(sound, dtype="float32")
    samples = np.resize(samples if samples.ndim == 1 else samples[:, 0], round(SECONDS * rate))
    return clips.write(path, samples, pictures, rate=rate, times=times)


def _listed(path: Path, clip: Path, count: int) -> Path:
    """A list for ``--list`` that has the clip so many times."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("clip", "text"), *[(clip.name, TEXT)] * count])
    return path


def _predicted(listed: Path, models: Path) -> float:
    """Seconds until the command has printed all predictions."""
    module = [sys.executable, "-m", "pipeline.predict"]
    command = [*module, "--models", str(models), "--list", str(listed)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        found = process.stdout.read()  # closed at the end of the process
        seconds = time.perf_counter() - start
    assert not any(one["missing"] for one in json.loads(found))
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predicting", description=__doc__)
    default = "default: %(default)s"
    parser.add_argument("--clips", type=int, default=5, help=f"number of further clips; {default}")
    parser.add_argument("--repeat", type=int, default=3, help=f"number of runs; {default}")
    parser.add_argument("--corpus", type=Path, default=Path("data/raw/embedded"), help=default)
    parser.add_argument("--models", type=Path, default=Path("models"), help=default)
    options = parser.parse_args(arguments)
    if not (options.models / "folds.csv").exists():
        parser.error(f"{options.models} has no models; run `dvc repro train`")
    release = options.corpus / RELEASE
    results.show(measure(release, options.models, options.clips, options.repeat))


if __name__ == "__main__":
    main()
