"""Checkpoints of training: a killed run resumes from its last one and ends with the same result.

The checkpoint of a finished run is its result, which later runs reuse. Checkpoints are kept results
(:mod:`pipeline.system.kept`): one with another key, or damaged on disk, is ignored.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.system.kept import Kept

# The code that decides the result. Code that reads the store is not in it, since the key contains
# checksums of the data.
_CODE = (
    "models/*.py",
    "store/batches.py",
    "store/dataset.py",
    "store/dialogs.py",
    "store/inputs.py",
    "evaluation/metrics.py",
    "evaluation/prediction.py",
    "training/checkpoints.py",
    "training/fitting.py",
    "training/folds.py",
    "training/linear.py",
)


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of one training run.

    Attributes
    ----------
    kept
        The folder of the checkpoints.
    name
        Name of the run.
    key
        :func:`digest` of everything that decides the result.
    """

    kept: Kept
    name: str
    key: str

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint by `state`: tensors and plain values in dicts and lists.

        Raises
        ------
        FullDiskError
            If the disk is full; the former checkpoint stays.
        """
        content = io.BytesIO()
        torch.save(state, content)
        self.kept.save(self.name, self.key, content.getbuffer())

    @property
    def is_finished(self) -> bool:
        """Whether it is the result of a finished run."""
        state = self.load()
        return state is not None and bool(state["progress"]["finished"])

    def load(self) -> dict[str, Any] | None:
        """Load the state; None if there is none, or it is damaged or has another key.

        Raises
        ------
        InputError
            If the file cannot be read. It is then not ignored, since its model would be trained
            again.
        """
        content = self.kept.load(self.name, self.key)
        if content is None:
            return None
        return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")


def digest(values: Any, arrays: Iterable[bytes] = ()) -> str:
    """Hash plain values, bytes, the training code and the version of PyTorch."""
    result = hashlib.sha256(json.dumps([values, torch.__version__], sort_keys=True).encode())
    package = Path(__file__).parents[1]
    code = [path.read_bytes() for pattern in _CODE for path in sorted(package.glob(pattern))]
    for content in (*arrays, *code):
        result.update(len(content).to_bytes(8, "little") + content)
    return result.hexdigest()
