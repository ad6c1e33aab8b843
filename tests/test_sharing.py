"""Feature stores that travel through DVC remotes, and what of a licensed corpus never does."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pipeline.torchvision_shim import torchvision_operators
from tests import release
from tests.test_pipeline import Clone, stages_run

SENTENCE = "The quokka borrowed my theodolite before breakfast."
WORDS = ("quokka", "theodolite", "borrowed")  # in no file of the project
STORE = Path("data/features/licensed.h5")
CODES = ("ang", "hap", "sad", "neu")

pytestmark = pytest.mark.slow


def change(folder: Path, **groups: dict[str, Any]) -> None:
    """Set keys of groups in params.yaml."""
    path = folder / "params.yaml"
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    for group, values in groups.items():
        raw[group] |= values
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")


def commit(clone: Clone) -> None:
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "state")


def make_corpus(folder: Path) -> Path:
    """A copy of another corpus in the release's layout, and the weights and vectors it needs."""
    root = folder / "release"
    for session in range(1, 6):
        dialog = f"Ses0{session}F_impro01"
        release.add_dialog(
            root,
            dialog,
            [
                release.Utterance(
                    f"{dialog}_{'FM'[i % 2]}{i // 2:03d}", 2.0 * i, 2.0 * i + 1.5, code, SENTENCE
                )
                for i, code in enumerate(CODES)
            ],
        )
    torchvision_operators()
    import torchvision  # only after the declarations

    torch.save(torchvision.models.resnet18().state_dict(), folder / "resnet18.pt")
    vectors = np.random.default_rng(0).normal(size=(len(WORDS), 300)).round(3)
    with (folder / "glove.txt").open("w", encoding="utf-8") as file:
        for word, vector in zip(WORDS, vectors, strict=True):
            print(word, *vector, file=file)
    return root


class Owner(Clone):
    """Machine A: it holds the corpus, and has extracted, trained and committed."""

    def __init__(self, folder: Path, corpus: Path) -> None:
        super().__init__(folder)
        outside = corpus.parent
        change(
            folder,
            corpus={"name": "licensed", "root": str(corpus)},
            text={"glove": str(outside / "glove.txt")},
            visual={"weights": str(outside / "resnet18.pt")},
            labels={"scheme": "four"},
            model={"streams": {"audio": "mfcc", "text": "glove", "video": "resnet"}, "hops": 1},
            split={"protocol": "random", "folds": 3},
            train={"epochs": 1},
        )
        # without the embedded corpus, which nothing here reads
        self.printed = self.run("dvc", "repro", "evaluate")
        commit(self)
