"""Batch sizes that fit a GPU, and networks on it, with a pretended GPU that runs out of memory."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch

from benchmarks.synthetic import CONTEXT, spoken, table
from pipeline.corpus.utterance import Utterance
from pipeline.features import extraction, memory
from pipeline.features.extractor import Context, Extractor, NetworkExtractor, State, Steps
from pipeline.features.pretrained import WeightsError
from pipeline.features.text_encoder import Encoded, TextEncoder
from pipeline.features.visual import Torchvision
from pipeline.system.hdf5 import reading
from tests.extractors import save_bert, text_context
from tests.extractors import spoken as said

GPU = replace(CONTEXT, device="cuda")


def compute(size: int, room: int) -> None:
    """Fail for a batch size above `room`, as torch does."""
    if size > room:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


@pytest.mark.parametrize(
    ("most", "fits", "tries"), [(99, 32, [32]), (9, 8, [32, 16, 8]), (1, 1, [32, 16, 8, 4, 2, 1])]
)
def test_a_batch_size_is_halved_until_it_fits(most: int, fits: int, tries: list[int]) -> None:
    tried: list[int] = []

    def run(size: int) -> None:
        tried.append(size)
        compute(size, most)

    assert memory.fitted(run, 32) == fits
    assert tried == tries


def test_too_little_memory_for_one_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(WeightsError, match=r"^batch_size: .* too small .* precision to float16"):
        memory.fitted(lambda size: compute(size, 0), 4)


def test_other_errors_are_not_taken_for_want_of_memory() -> None:
    def run(size: int) -> None:
        raise RuntimeError("device-side assert")

    with pytest.raises(RuntimeError, match="assert"):
        memory.fitted(run, 4)


class Network(NetworkExtractor):
    """The id of its process as value; a GPU has room for batches of five."""

    kind: ClassVar = "sequence"
    version: ClassVar = 1

    extractor: Literal["network"] = "network"

    def trial(self, utterances: Sequence[Utterance], context: Context) -> None:
        assert len(utterances) == 35
        compute(self.batch_size, 5)

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        return [Steps(np.full((1, 1), os.getpid(), np.float32)) for _ in utterances]


class Plain(Extractor):
    """The id of its process too."""

    kind: ClassVar = "sequence"
    version: ClassVar = 1

    extractor: Literal["plain"] = "plain"

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        return [Steps(np.full((1, 1), os.getpid(), np.float32)) for _ in utterances]


def processes(
    folder: Path, context: Context, networks: int | None = None
) -> dict[str, tuple[set[int], dict[str, object]]]:
    """Of both streams, the ids of processes, and the provenance."""
    extraction.extract(
        "audio",
        {"network": Network(), "plain": Plain()},
        spoken(table()),
        context,
        kept=folder / "kept",
        output=folder / "out",
        workers=2,
        network_workers=networks,
    )
    found = {}
    for name in ("network", "plain"):
        with reading(folder / "out" / f"{name}.h5") as file:
            ids = {int(one) for one in file["values"][:, 0]}
            found[name] = (ids, json.loads(file.attrs["provenance"]))
    return found


def test_networks_may_run_in_this_process_and_others_in_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = processes(tmp_path, GPU, networks=1)
    assert found["network"][0] == {os.getpid()} and os.getpid() not in found["plain"][0]
    assert found["network"][1]["batch_size"] == 4
    assert "network: batch_size 4, since 32 needs more memory" in capsys.readouterr().out


def test_by_default_all_run_in_several_and_on_a_cpu_the_batch_size_is_kept(
    tmp_path: Path,
) -> None:
    found = processes(tmp_path, CONTEXT)
    assert os.getpid() not in found["network"][0] | found["plain"][0]
    assert found["network"][1]["batch_size"] == 32


def test_a_trial_of_pictures_is_a_full_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []

    def embed(self: Torchvision, images: np.ndarray, device: str) -> np.ndarray:
        shapes.append(images.shape)
        compute(len(images), 5)
        return np.zeros((len(images), 512), np.float32)

    monkeypatch.setattr(Torchvision, "embed", embed)
    extractor = Torchvision(network="resnet18", weights="random", crop=64, batch_size=16)
    assert extractor.fitted([], GPU).batch_size == 4
    assert shapes == [(16, 64, 64, 3), (8, 64, 64, 3), (4, 64, 64, 3)]


def test_a_trial_of_texts_needs_as_much_memory_as_any_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In tokens of a padded batch."""
    extractor = TextEncoder(model=save_bert(tmp_path), batch_size=4)
    texts = said("I am sad", *["I do not know ."] * 9, "")
    sizes: list[int] = []
    states = TextEncoder.states

    def counting(self: TextEncoder, encoded: Sequence[Encoded], device: str) -> list[np.ndarray]:
        batches = self.batches(encoded)
        sizes.extend(len(own) * max(len(encoded[i].ids) for i in own) for own in batches)
        return states(self, encoded, device)

    monkeypatch.setattr(TextEncoder, "states", counting)
    extractor.trial(texts, text_context())
    tried = max(sizes)
    sizes.clear()
    extractor.extract(texts, {}, text_context())
    assert tried == max(sizes) == 4 * 7
    sizes.clear()
    extractor.trial([], text_context())
    assert sizes == []
