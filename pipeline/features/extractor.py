"""An extractor: what turns utterances into one stream of features.

Each is one small class in one file, named in :data:`pipeline.registry.EXTRACTORS`. Its fields are
the parameters of the stream, so ``params.yaml`` describes it fully and the same object serves the
stage, the prediction of a clip, and tests. It can be sent to another process; networks and other
heavy state are built there on first use.

**Identity** decides whether two streams hold the same features, and so whether a model may read
one: parameters, hashes of weights, and the extractor's version, which is raised when its values
change. **Provenance** is recorded beside it: versions of libraries and the kind of device, which
change the last digits only. Features are reused where both agree.
"""

from __future__ import annotations

import platform
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.corpus.utterance import Utterance
from pipeline.params.types import Group, own_paths

State = Mapping[str, np.ndarray]
"""What an extractor learns from a whole corpus, such as a vocabulary; by name."""


@dataclass(frozen=True)
class Context:
    """Where an extractor runs, and what its modality's streams share.

    Attributes
    ----------
    root
        The corpus's folder, which :attr:`Source.path` is below.
    device
        A torch device's name.
    shared
        The parameters of the modality: ``audio``, ``text`` or ``visual``.
    """

    root: Path
    device: str
    shared: Any


@dataclass(frozen=True)
class Steps:
    """The features of one utterance in one stream.

    Attributes
    ----------
    values
        [T, D] float32; [T] int32 token ids, rows of the state's ``vectors``; or [P] float32, of
        NaN where there is nothing to measure.
    times
        [T] seconds in the utterance, the middle of what each step sees; None where the stream
        states none.
    tokens
        [T] int32, rows of the stream's ``vocabulary``; None where steps are no tokens.
    problem
        What is missing or cut, and why; empty where all is well.
    """

    values: np.ndarray
    times: np.ndarray | None = None
    tokens: np.ndarray | None = None
    problem: str = ""


class Extractor(Group):
    """Base of all extractors; their parameters are fields.

    Attributes
    ----------
    kind
        ``sequence`` (steps in time), ``tokens`` (steps are tokens of the text) or ``utterance``
        (one row per utterance).
    version
        Raised when the values change; the tests hold it to that.
    reads
        The parameters of the modality that its values depend on.
    libraries
        Distributions whose versions are recorded.
    extractor
        Its name in the registry.
    dtype, compression
        How the values of steps are stored.
    """

    kind: ClassVar[Literal["sequence", "tokens", "utterance"]]
    version: ClassVar[int]
    reads: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()

    extractor: str
    dtype: Literal["float32", "float16"] = "float32"
    compression: Literal["none", "lzf", "gzip"] = Field(default="none")

    @property
    def group(self) -> int:
        """The fewest utterances, of consecutive dialogs, that :meth:`extract` is given together.

        What is in a batch changes the last digits, so no batch crosses such a group.
        """
        return 1

    def names(self) -> list[str]:
        """What each value of an utterance-level stream is."""
        return []

    def files(self) -> dict[str, str]:
        """SHA-256 of each pretrained file, by its name; empty where there is none.

        Raises
        ------
        WeightsError
            If one cannot be had; the message begins with its parameter and says how to get it.
        """
        return {}

    def prepare(self, utterances: Sequence[Utterance], context: Context) -> State:
        """What needs the whole corpus, such as a vocabulary."""
        return {}

    @abstractmethod
    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        """The features of each utterance, in their order.

        Parameters
        ----------
        utterances
            Those of one dialog, or of a group of them.
        state
            What :meth:`prepare` gave for the corpus.
        """

    def parameters(self) -> dict[str, Any]:
        """The parameters that decide the values; paths without their folders."""
        own = self.model_dump(exclude={"compression", "batch_size"})
        return {
            name: Path(value).name
            if isinstance(value, str) and Path(value).is_absolute()
            else value
            for name, value in own.items()
        }

    def identity(self, context: Context) -> dict[str, Any]:
        """All that decides what the values are, as JSON."""
        own = self.model_dump(exclude={"extractor", "compression", "batch_size"})
        own |= {name: Path(own[name]).name for name in own_paths(type(self))}
        shared = {name: getattr(context.shared, name) for name in self.reads}
        return {
            "extractor": self.extractor,
            "version": self.version,
            "parameters": shared | own,
            "weights": self.files(),
        }

    def provenance(self, context: Context) -> dict[str, Any]:
        """What may change the last digits of the values, as JSON."""
        return {
            "versions": {name: version(name) for name in self.libraries},
            "processor": platform.machine(),
        }


def device_kind(context: Context) -> str:
    """``cpu``, ``cuda`` or ``mps``, without the number of the device."""
    return context.device.partition(":")[0]
