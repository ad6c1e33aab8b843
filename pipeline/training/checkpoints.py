"""Checkpoints of training: what a killed run needs to go on and end with the same result.

The last one, of a finished run, is its result, which later runs take over. They are kept results
(:mod:`pipeline.system.kept`): a checkpoint of another key, or one that the disk has damaged, is
ignored.
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

# what decides a result; how a store is read does not, since checksums of its values are in the key
_CODE = (
    "models/*.py",
    "store/batches.py",
    "evaluation/metrics.py",
    "evaluation/prediction.py",
    "training/checkpoints.py",
    "training/fitting.py",
    "training/folds.py",
)


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of one training run.

    Attributes
    ----------
    kept
        The folder where it is.
    name
        That of the run.
    key
        Digest of all that decides the result.
    """

    kept: Kept
    name: str
    key: str

    def save(self, state: dict[str, Any]) -> None:
        """Replace what was kept by `state`: tensors and plain values in dicts and lists.

        Raises
        ------
        FullDiskError
            If there is no room for it; what was kept before stays.
        """
        content = io.BytesIO()
        torch.save(state, content)
        self.kept.save(self.name, self.key, content.getbuffer())

    @property
    def is_finished(self) -> bool:
        """Whether it holds the result of a run that went to its end."""
        state = self.load()
        return state is not None and bool(state["progress"]["finished"])

    def load(self) -> dict[str, Any] | None:
        """What was kept; None where there is nothing, or something damaged or of another key.

        Raises
        ------
        InputError
            If the system does not let read it, since what it holds is not to be trained again.
        """
        content = self.kept.load(self.name, self.key)
        if content is None:
            return None
        return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")


def digest(values: Any, arrays: Iterable[bytes] = ()) -> str:
    """A key of plain values, of bytes, and of the code and library that train."""
    found = hashlib.sha256(json.dumps([values, torch.__version__], sort_keys=True).encode())
    package = Path(__file__).parents[1]
    code = [path.read_bytes() for pattern in _CODE for path in sorted(package.glob(pattern))]
    for content in (*arrays, *code):
        found.update(len(content).to_bytes(8, "little") + content)
    return found.hexdigest()
