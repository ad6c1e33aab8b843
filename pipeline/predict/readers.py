"""The streams that a model reads, and what extracts them from a clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from pipeline import InputError
from pipeline.features.extractor import Context, Extractor, State
from pipeline.features.pretrained import of_stream
from pipeline.params.types import own_paths
from pipeline.registry import EXTRACTORS
from pipeline.system.values import differences

WEIGHTS = Path("data/weights")
"""Where files are looked up of which models record the name only."""


@dataclass(frozen=True)
class Reader:
    """One stream that the models read, and what extracts it."""

    name: str
    modality: str
    extractor: Extractor
    shared: Any
    vocabulary: list[str] | None

    def context(self, root: Path, device: str) -> Context:
        return Context(root, device, self.shared)

    @cached_property
    def state(self) -> State:
        """The state of the extractor: that of training, or one that depends on no corpus."""
        if self.vocabulary is not None:
            return {"vocabulary": np.array(self.vocabulary)}
        return self.extractor.prepare([], self.context(Path(), "cpu"))

    def check(self, trained: Mapping[str, Any], device: str) -> None:
        """Check that the stream has the identity that the models were trained on.

        Raises
        ------
        InputError
            If it has not; the message names the differences.
        """
        if self.vocabulary is not None:  # its vectors are in the model
            here = dict(trained) | {"version": self.extractor.version}
        else:
            with of_stream(self.modality, self.name):
                here = self.extractor.identity(self.context(Path(), device))
        if differing := differences(dict(trained), here):
            lines = [f"{key}: {old} / {new}" for key, old, new in differing]
            raise InputError(
                f"the stream {self.name} would not be the one that the model was trained on: "
                f"{'; '.join(lines)} (training / here)"
            )


def reader_of(name: str, specified: Mapping[str, Any], replaced: dict[str, Any]) -> Reader:
    """The extractor of a stream, from what a model records of it.

    Raises
    ------
    InputError
        If a parameter is invalid.
    """
    modality = specified["modality"]
    entry = EXTRACTORS[modality][specified["extractor"]].load()
    parameters = specified["parameters"] | replaced
    own = {key: value for key, value in parameters.items() if key in entry.model_fields}
    for key in own_paths(entry):
        if key not in replaced and not Path(own[key]).exists() and (WEIGHTS / own[key]).exists():
            own[key] = str(WEIGHTS / own[key])
    try:
        extractor = entry.model_validate(own)
    except ValueError as error:
        raise InputError(f"the stream {name} cannot be extracted here: {error}") from error
    shared = SimpleNamespace(**{key: value for key, value in parameters.items() if key not in own})
    return Reader(name, modality, extractor, shared, specified.get("vocabulary"))
