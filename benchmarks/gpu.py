"""Speed and exactness on a GPU: extraction with decoding, training, and the share of its time used.

``bash benchmarks/gpu.sh`` runs it, in at most eight minutes on a GPU. It works in a temporary
folder and prints JSON and a Markdown table. Films and recordings are noise of IEMOCAP's form, and
networks have random weights, which are as fast as pretrained ones.

- Frames per second of ResNet-101 and of CLIP ViT-L/14, decoded from films and embedded as by the
  stage `visual`, against the bare network on batches that are already on the device.
- Utterances per second of WavLM-large, as by the stage `audio`, against the bare network likewise.
- Utterances per second of an epoch of AMH-7 (``recipes/iemocap.yaml``).
- Whether training gives the same bytes when repeated, and when killed and resumed.
- ``% busy``: mean utilisation of the GPU during each, as nvidia-smi reports it.

``--quick`` uses small networks and sizes, to check on any machine that all of it runs.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch

from benchmarks import memory, results
from benchmarks import store as store_benchmark
from benchmarks.extraction import extracted, race
from benchmarks.speech import RATE, recorded, save_network
from benchmarks.synthetic import table
from benchmarks.training import Runner
from pipeline import params
from pipeline.features.extractor import Context, NetworkExtractor
from pipeline.features.image_encoder import ImageEncoder
from pipeline.features.resnet import headless
from pipeline.features.speech_encoder import SpeechEncoder
from pipeline.features.transformer import library
from pipeline.features.visual import Torchvision
from pipeline.system import compute
from pipeline.system.filesystem import sha256
from pipeline.training import folds

FRAME_RATE, WIDTH, HEIGHT = 30, 720, 480


class Sizes(NamedTuple):
    """What is measured.

    Attributes
    ----------
    films, seconds
        Number of films, and the length of each, with one utterance of 4.5 s after another.
    network
        ResNet.
    clip, wavlm
        Sizes of the encoders; those left out are of their base models.
    utterances, epoch, trained
        Number of utterances of speech, of the epoch, and of the comparison of bytes.
    """

    films: int
    seconds: int
    network: str
    clip: dict[str, Any]
    wavlm: dict[str, Any]
    utterances: int
    epoch: int
    trained: int


LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24} | {
    "num_attention_heads": 16
}
SMALL = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2} | {
    "num_attention_heads": 4
}
FULL = Sizes(
    films=24,
    seconds=60,
    network="resnet101",
    clip={**LARGE, "patch_size": 14, "projection_dim": 768},
    wavlm={**LARGE, "do_stable_layer_norm": True, "feat_extract_norm": "layer"},
    utterances=512,
    epoch=6000,
    trained=500,
)
QUICK = Sizes(
    films=1,
    seconds=5,
    network="resnet18",
    clip=SMALL,
    wavlm={**SMALL, "num_conv_pos_embedding_groups": 4},
    utterances=2,
    epoch=32,
    trained=15,
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bash benchmarks/gpu.sh", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small networks, on any machine")
    parser.add_argument("--device", default="auto", help="(default: cuda if there is one)")
    options = parser.parse_args(arguments)
    device = str(compute.device(options.device))
    sizes = QUICK if options.quick else FULL
    compute.large_pages()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with torch.inference_mode():
            rows = [*frames(folder, sizes, device), speech(folder, sizes, device)]
        rows += [epoch(folder, sizes, device), *same_bytes(folder, sizes, device)]
    name = torch.cuda.get_device_name() if device.startswith("cuda") else "no GPU"
    results.show([{"device": name, **row} for row in rows])


# --- extraction -----------------------------------------------------------------------------------


def frames(folder: Path, sizes: Sizes, device: str) -> Iterator[dict[str, Any]]:
    """Frames per second of the visual networks."""
    rows = filmed(folder, sizes)
    clip = save_network(folder / "clip", "CLIPVisionConfig", sizes.clip)
    library().CLIPImageProcessor().save_pretrained(clip)
    visual = params.Visual(frames_per_second=3.0, max_frames=32, streams={})
    context = Context(folder, device, visual)
    resnet = Torchvision(network=sizes.network, weights="random")  # type: ignore[arg-type]
    encoder = ImageEncoder(model=clip, pooling="class")
    pixels = torch.zeros(resnet.batch_size, 3, 224, 224, device=device)
    last = torch.channels_last
    network = headless(sizes.network, "random")[0].to(device, memory_format=last)  # type: ignore[call-overload]
    bare = partial(network, pixels.contiguous(memory_format=last))
    yield measured("visual", resnet, rows, context, bare)
    yield measured("visual", encoder, rows, context, partial(encoder.net(device), pixels))


def speech(folder: Path, sizes: Sizes, device: str) -> dict[str, Any]:
    """Utterances per second of the speech encoder."""
    sounds = folder / "sounds"
    sounds.mkdir()
    rows = recorded(
        sounds, np.full((max(1, sizes.utterances // 32), min(32, sizes.utterances)), 4.5)
    )
    model = save_network(folder / "wavlm", "WavLMConfig", sizes.wavlm)
    library().Wav2Vec2FeatureExtractor().save_pretrained(model)
    extractor = SpeechEncoder(model=model)
    context = Context(sounds, device, params.Audio(sampling_rate=RATE, streams={}))
    network = library().AutoModel.from_pretrained(model).to(device).eval()
    bare = partial(network, torch.randn(extractor.batch_size, round(4.5 * RATE), device=device))
    return measured("audio", extractor, rows, context, bare)


def measured(
    modality: str,
    extractor: NetworkExtractor,
    rows: pd.DataFrame,
    context: Context,
    bare: partial[Any],
) -> dict[str, Any]:
    """Steps or utterances per second, extracted and by the bare network in full batches."""
    cuda = context.device.startswith("cuda")

    def batch() -> None:
        bare()
        if cuda:
            torch.cuda.synchronize()

    batch()  # allocates memory
    alone, _ = race({"batch": batch}, 5)
    workers = compute.processes(0) if cuda else 1
    with busy() as share:
        start = time.perf_counter()
        values = extracted(modality, {"stream": extractor}, rows, context, workers=workers)
        taken = time.perf_counter() - start
    number = len(values[0]) if modality == "visual" else len(rows)
    unit = "frames" if modality == "visual" else "utterances of 4.5 s"
    extracted_per_s, bare_per_s = number / taken, extractor.batch_size / alone["batch"]
    return {
        "measured": f"{type(extractor).__name__}, {unit}",
        "per s": round(extracted_per_s, 1),
        "bare per s": round(bare_per_s, 1),
        "% of bare": round(100 * extracted_per_s / bare_per_s, 1),
        **share(),
    }


def filmed(folder: Path, sizes: Sizes) -> pd.DataFrame:
    """Films of noise with two speakers side by side; return the table of their utterances."""
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT // 20, WIDTH // 20, 3), np.uint8)
    picture = cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    fourcc = cv2.VideoWriter.fourcc(*"XVID")
    path = folder / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, FRAME_RATE, (WIDTH, HEIGHT))
    for number in range(sizes.seconds * FRAME_RATE):
        writer.write(np.roll(picture, 7 * number, axis=1))
    writer.release()
    turns = int(sizes.seconds / 4.5)
    rows = table(turns, sessions=sizes.films)
    names = [f"film{number}.avi" for number in range(sizes.films)]
    for name in names:
        shutil.copy(path, folder / name)
    starts = np.tile(np.arange(turns) * 4.5, sizes.films)
    places = np.tile(["left", "right"], len(rows))[: len(rows)]
    videos = np.repeat(names, turns)
    return rows.assign(start=starts, end=starts + 4.5, video=videos, place=places)


# --- training -------------------------------------------------------------------------------------


def epoch(folder: Path, sizes: Sizes, device: str) -> dict[str, Any]:
    """Utterances per second of training, over one epoch."""
    settings = memory.load(memory.RECIPE, None)
    store = folder / "epoch"
    store_benchmark.make_store(store, store_benchmark.make_utterances(sizes.epoch))
    runner = Runner(store, settings, torch.device(device))
    size = settings.train.batch_size
    batches = list(runner.dataset.shuffled(np.arange(sizes.epoch), size, np.random.default_rng(0)))
    runner.ours(max(batches, key=len))  # allocates memory
    with busy() as share:
        start = time.perf_counter()
        for chosen in batches:
            runner.ours(chosen)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        taken = time.perf_counter() - start
    return {
        "measured": "AMH-7, utterances of an epoch",
        "per s": round(sizes.epoch / taken, 1),
        **share(),
    }


def same_bytes(folder: Path, sizes: Sizes, device: str) -> list[dict[str, Any]]:
    """Whether training gives the same bytes again, and after a kill."""
    raw = memory.load(memory.RECIPE, None).model_dump()
    raw["train"] |= {"epochs": 3, "patience": None, "validate_every": 1.0, "batch_size": 32}
    raw["split"] |= {"protocol": "session"}
    settings = params.parse(raw)
    store = folder / "trained"
    store_benchmark.make_store(store, store_benchmark.make_utterances(sizes.trained))
    hashes = {}
    for way in ("once", "again", "killed and resumed"):
        (job, *_) = folds.plan(
            store,
            settings,
            lists=Path("splits"),
            models=folder / way / "models",
            curves=folder / way / "curves",
            checkpoints=folder / way / "checkpoints",
            device=device,
        )
        if way == "killed and resumed":
            _stop_after_a_validation(job)
        _train(job)
        hashes[way] = sha256(job.weights)
    return [
        {"measured": f"training {way}: same bytes", "result": hashes[way] == hashes["once"]}
        for way in ("again", "killed and resumed")
    ]


def _stop_after_a_validation(job: folds.Job) -> None:
    """Train in a process until the first checkpoint is written, then kill it."""
    process = get_context("spawn").Process(target=_train, args=(job,))
    process.start()
    while process.is_alive() and job.checkpoint.load() is None:
        time.sleep(0.01)
    process.kill()
    process.join()


def _train(job: folds.Job) -> None:
    torch.set_num_threads(1)  # as in training; another number changes the last digits
    folds.train_fold(job)


@contextmanager
def busy() -> Iterator[Callable[[], dict[str, float]]]:
    """Yield a function that afterwards returns the mean use of the GPU; empty if unknown."""
    if not shutil.which("nvidia-smi"):
        yield dict
        return
    query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200"]
    with subprocess.Popen(["nvidia-smi", *query], stdout=subprocess.PIPE, text=True) as process:
        found: list[float] = []
        yield lambda: {"% busy": round(sum(found) / len(found), 1)} if found else {}
        process.terminate()
        found += [float(line) for line in process.communicate()[0].split() if line.isdigit()]


if __name__ == "__main__":
    main()
