"""Checkpoints of training: what a killed run needs to go on and end with the same result.

The last one, of a finished run, is its result, which later runs take over.

A checkpoint is written beside its final name and renamed, so that a kill never leaves half of one.
It carries a key, the digest of all that decides the result; one with another key is ignored.
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

from pipeline import InputError
from pipeline.filesystem import replacing, unreadable
from pipeline.space import full_disk_reported

# what decides a result; how a store is read does not, since checksums of its values are in the key
_CODE = (
    "models/*.py",
    "batches.py",
    "checkpoints.py",
    "evaluation.py",
    "fitting.py",
    "training.py",
)


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of one training run.

    Attributes
    ----------
    path
        Its file; it may not exist yet.
    key
        Digest of all that decides the result.
    """

    path: Path
    key: str

    def save(self, state: dict[str, Any]) -> None:
        """Replace what was kept by `state`: tensors and plain values in dicts and lists.

        Raises
        ------
        FullDiskError
            If there is no room for it; what was kept before stays.
        """
        content = io.BytesIO()  # torch hides the reason where it cannot write a file itself
        torch.save({"key": self.key, **state}, content)
        remedy = "make room and run the stage again: it goes on from its last checkpoint"
        with (
            full_disk_reported(self.path, content.tell(), remedy),
            replacing(self.path) as partial,
        ):
            partial.write_bytes(content.getbuffer())

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
        try:
            state = torch.load(self.path, weights_only=True, map_location="cpu")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(
                f"{unreadable(self.path, error)}; or delete it, and training starts anew"
            ) from error
        except Exception:  # torch raises many kinds for a damaged file
            return None  # not one of ours, or from a disk that lost it: train from the start
        return state if isinstance(state, dict) and state.get("key") == self.key else None


def digest(values: Any, arrays: Iterable[bytes] = ()) -> str:
    """A key of plain values, of bytes, and of the code and library that train."""
    found = hashlib.sha256(json.dumps([values, torch.__version__], sort_keys=True).encode())
    package = Path(__file__).parent
    code = [path.read_bytes() for pattern in _CODE for path in sorted(package.glob(pattern))]
    for content in (*arrays, *code):
        found.update(len(content).to_bytes(8, "little") + content)
    return found.hexdigest()
