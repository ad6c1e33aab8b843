"""Speed of a speech encoder against one utterance at a time, in seconds of speech per second.

``python -m benchmarks.speech`` works in a temporary folder and prints JSON and a Markdown table.
Recordings are noise with IEMOCAP's lengths, and the encoder has the size of HuBERT-base and random
weights. It times the extraction of the stage `audio` on all cores. The time in which its processes
start and load the model (``start_s``) is measured on one short utterance per process and
subtracted, since a corpus pays it once. The plain loop is a script: it loads the model once, and
reads and computes one recording after the other with torch's default number of threads. The hidden
states of both are compared. ``bound_s_per_s`` is what the processor allows: the speed of the bare
network on full batches of the mean length in one thread, times the number of cores.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import results
from benchmarks.extraction import Task, extracted, race
from benchmarks.synthetic import table
from pipeline import params
from pipeline.features.extractor import Context
from pipeline.features.speech_encoder import SpeechEncoder
from pipeline.features.transformer import library
from pipeline.system import compute

RATE = 16_000


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speech", description=__doc__)
    default = "default: %(default)s"
    parser.add_argument("--dialogs", type=int, default=6, help=f"of 32 utterances; {default}")
    parser.add_argument("--layers", type=int, default=12, help=f"of the encoder; {default}")
    parser.add_argument("--precision", default="float32", help=f"of the extraction; {default}")
    parser.add_argument(
        "--repeat", type=int, default=1, help=f"runs, of which the fastest counts; {default}"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        results.show(measure(Path(folder), options))


def measure(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Return the speed of both ways, and the share of padding."""
    import soundfile
    import torch

    rng = np.random.default_rng(0)
    rows = recorded(folder, np.clip(rng.lognormal(1.2, 0.77, (options.dialogs, 32)), 0.5, 34))
    cores = compute.processes(0)
    few = recorded(folder, np.full((cores, 4), 0.1), "few")
    model = save_model(folder / "model", num_hidden_layers=options.layers)
    extractor = SpeechEncoder(model=model, batch_size=8, precision=options.precision)
    smallest = extractor.model_copy(update={"batch_size": 1})
    device = str(compute.device(params.load().compute.device))
    context = Context(folder, device, params.Audio(sampling_rate=RATE, streams={}))
    network = library().AutoModel.from_pretrained(model).to(device).eval()
    prepare = library().AutoFeatureExtractor.from_pretrained(model)
    compute.large_pages()  # both of the processes that start now, as the stages do
    compute.few_kernels()

    def one_by_one() -> list[np.ndarray]:
        torch.set_num_threads(cores)  # the extraction sets one
        states = []
        for name in rows["audio"]:
            signal, rate = soundfile.read(folder / name, dtype="float32")
            inputs = prepare(signal, sampling_rate=rate, return_tensors="pt").to(device)
            hidden = network(**inputs, output_hidden_states=True).hidden_states[-1]
            states.append(hidden[0].cpu().numpy())
        return [np.concatenate(states)]

    extraction = partial(extracted, "audio", context=context, workers=cores)
    tasks: dict[str, Task] = {
        "one_by_one": one_by_one,
        "start": partial(extraction, {"speech": smallest}, few),
        "extraction": partial(extraction, {"speech": extractor}, rows),
    }
    with torch.inference_mode():
        seconds, states = race(tasks, options.repeat)
    difference = np.abs(states["extraction"][0] - states["one_by_one"][0]).max()
    if options.precision == "float32":
        assert difference < 1e-4, difference
    speech = float((rows["end"] - rows["start"]).sum())
    bound = cores * _bare(network, speech / len(rows), extractor.batch_size, device)
    seconds["extraction"] -= (start := seconds.pop("start"))
    return {
        "cores": cores,
        "speech_s": round(speech),
        "start_s": round(start, 1),
        **{f"{name}_s_per_s": round(speech / taken, 1) for name, taken in seconds.items()},
        "bound_s_per_s": round(bound, 1),
        "times_one_by_one": round(seconds["one_by_one"] / seconds["extraction"], 2),
        "% padding": round(100 * padding(rows, extractor), 1),
    }


def _bare(network: Any, seconds: float, batch_size: int, device: str) -> float:
    """Seconds of speech per second in a batch of recordings of `seconds`, in one thread."""
    import torch

    signals = torch.randn(batch_size, round(seconds * RATE), device=device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        taken, _ = race({"batch": lambda: network(signals)}, 3)
    torch.set_num_threads(threads)
    return batch_size * seconds / taken["batch"]


def recorded(folder: Path, seconds: np.ndarray, name: str = "") -> pd.DataFrame:
    """Write recordings of noise of `seconds` [dialogs, utterances]; return their table."""
    import soundfile

    rows = table(seconds.shape[1], sessions=len(seconds))
    ends = np.round(seconds.ravel() * RATE) / RATE
    names = [f"{name}{number}.wav" for number in range(len(rows))]
    rng = np.random.default_rng(0)
    for path, end in zip(names, ends, strict=True):
        soundfile.write(folder / path, 0.1 * rng.standard_normal(round(end * RATE)), RATE, "FLOAT")
    return rows.assign(start=0.0, end=ends, audio=names, video="")


def save_model(folder: Path, **sizes: Any) -> str:
    """Save a HuBERT of random weights, of base size but for `sizes`; return its folder."""
    library().Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return save_network(folder, "HubertConfig", sizes)


def save_network(folder: Path, config: str, sizes: Mapping[str, Any]) -> str:
    """Save the network of a configuration of transformers, of random weights; return its folder."""
    import torch

    torch.manual_seed(0)
    network = library().AutoModel.from_config(getattr(library(), config)(**sizes))
    network.save_pretrained(folder)
    return str(folder)


def padding(rows: pd.DataFrame, extractor: SpeechEncoder) -> float:
    """The share of steps in batches that is padding; each dialog is a group of the extraction."""
    network = extractor.network_on("cpu")
    steps = in_batches = 0
    for _, own in rows.groupby("dialog"):
        assert len(own) == extractor.group
        lengths = [network.steps(round(end * RATE)) for end in own["end"]]
        for batch in extractor.batches(lengths, network):
            chosen = [lengths[index] for index in batch]
            steps += sum(chosen)
            in_batches += max(chosen) * len(chosen)
    return 1 - steps / in_batches


if __name__ == "__main__":
    main()
