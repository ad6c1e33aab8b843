"""The base class of extractors, which compute one stream of features from utterances.

Each extractor is one class in its own file, registered in :data:`pipeline.registry.EXTRACTORS`. Its
fields are the parameters of the stream, so that ``params.yaml`` determines it completely. It can be
pickled and sent to another process, where networks and other large objects are built on first use.

**Identity** determines the features: parameters, hashes of weights, and the extractor's version,
which is raised when its values change. A model reads only streams of the identity that it was
trained on. **Provenance** is recorded in addition: versions of libraries and the kind of device,
which change the last digits only. Features are reused if both are the same.
"""

from __future__ import annotations

import platform
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar

import numpy as np
from pydantic import Field

from pipeline.corpus.utterance import Utterance
from pipeline.features import memory
from pipeline.features.pretrained import of_stream
from pipeline.params.types import Count, Group, own_paths

State = Mapping[str, np.ndarray]
"""Arrays that an extractor computes from the whole corpus, such as a vocabulary, by name."""


@dataclass(frozen=True)
class Context:
    """The environment of an extractor, and the parameters that streams of a modality share.

    Attributes
    ----------
    root
        The folder of the corpus, to which :attr:`Source.path` is relative.
    device
        The name of a torch device.
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
        [T, D] float32, or [T, L, D] of several layers; [T] int32 token ids, rows of the state's
        ``vectors``; or [P] float32, NaN if there are no features of the utterance.
    times
        [T] seconds from the start of the utterance to the middle of each step; None if steps have
        no times.
    tokens
        [T] int32, rows of the state's ``vocabulary``; None if steps are not tokens.
    problem
        What is missing or truncated, and why; empty if nothing is.
    """

    values: np.ndarray
    times: np.ndarray | None = None
    tokens: np.ndarray | None = None
    problem: str = ""


Wrapper = Callable[[], AbstractContextManager[None]]
"""What the work of one stream runs in, which names the stream in its errors."""

Together = Callable[
    [Sequence[Any], Sequence[Wrapper], Sequence[Utterance], Context], list[list[Steps]]
]
"""Extracts several streams together, from their extractors and wrappers, all utterances of a task,
and the context; the result has the features of each utterance for each extractor."""


class Extractor(Group):
    """Base class of all extractors; their parameters are fields.

    Attributes
    ----------
    kind
        ``sequence`` (steps in time), ``tokens`` (steps are tokens of the text) or ``utterance``
        (one row per utterance).
    version
        To be raised when the values change; tests compare them with golden values.
    reads
        Names of the modality's parameters that the values depend on.
    libraries
        Distributions whose versions are recorded as provenance.
    neutral
        Parameters that change no value, which identities leave out.
    later
        Parameters that were added after the first version, and whose defaults changed no value:
        identities leave them out at their default, so that earlier features remain usable.
    extractor
        Its name in the registry.
    dtype, compression
        Type and compression of the stored values of steps.
    """

    kind: ClassVar[Literal["sequence", "tokens", "utterance"]]
    version: ClassVar[int]
    reads: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()
    neutral: ClassVar[tuple[str, ...]] = ("extractor", "compression")
    later: ClassVar[tuple[str, ...]] = ()

    extractor: str
    dtype: Literal["float32", "float16"] = "float32"
    compression: Literal["none", "lzf", "gzip"] = Field(default="none")

    @property
    def group(self) -> int:
        """The minimum number of utterances per call of :meth:`extract`, of consecutive dialogs.

        The other utterances in a batch change the last digits of the values, so batches do not
        cross these fixed groups of dialogs.
        """
        return 1

    @property
    def together(self) -> Together | None:
        """What extracts all streams that have the same one, since they read the same media.

        None for streams that are extracted one after another.
        """
        return None

    def names(self) -> list[str]:
        """The names of the values of an utterance-level stream."""
        return []

    def files(self) -> dict[str, str]:
        """SHA-256 of each pretrained file, by its name.

        Raises
        ------
        WeightsError
            If a file is missing; the message begins with its parameter and says how to get it.
        """
        return {}

    def origin(self) -> dict[str, str]:
        """Where pretrained files come from, such as their revision; recorded, not compared."""
        return {}

    def layer_numbers(self) -> list[int]:
        """The layers of values [T, L, D], counted from 0; empty for extractors without layers."""
        return []

    def prepare(self, utterances: Sequence[Utterance], context: Context) -> State:
        """Compute the state from all utterances of the corpus."""
        return {}

    @abstractmethod
    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        """The features of each utterance, in the same order.

        Parameters
        ----------
        utterances
            The utterances of one dialog, or of a group of dialogs.
        state
            The result of :meth:`prepare` for the corpus.
        """

    def parameters(self) -> dict[str, Any]:
        """The parameters that determine the values; absolute paths without their folders."""
        own = self.model_dump(exclude=set(self.neutral) - {"extractor"})
        return self.origin() | {
            name: Path(value).name
            if isinstance(value, str) and Path(value).is_absolute()
            else value
            for name, value in own.items()
        }

    def identity(self, context: Context) -> dict[str, Any]:
        """All that determines the values, for JSON; see above."""
        fields = type(self).model_fields
        defaults = {name for name in self.later if getattr(self, name) == fields[name].default}
        own = self.model_dump(exclude=set(self.neutral) | defaults)
        own |= {name: Path(own[name]).name for name in own_paths(type(self)) if name in own}
        shared = {name: getattr(context.shared, name) for name in self.reads}
        return {
            "extractor": self.extractor,
            "version": self.version,
            "parameters": shared | own,
            "weights": self.files(),
        }

    def provenance(self, context: Context) -> dict[str, Any]:
        """All that may change the last digits of the values, for JSON; see above."""
        return {
            "versions": {name: version(name) for name in self.libraries},
            "processor": platform.machine(),
        }


class NetworkExtractor(Extractor):
    """Base class of extractors that run a network in batches.

    Attributes
    ----------
    batch_size
        Utterances or frames per batch.
    precision
        Type in which the network computes.
    """

    neutral: ClassVar = (*Extractor.neutral, "batch_size")
    later: ClassVar[tuple[str, ...]] = ("precision",)

    batch_size: Count = 32
    precision: Literal["float32", "bfloat16", "float16"] = "float32"

    def trial(self, utterances: Sequence[Utterance], context: Context) -> None:
        """Compute a batch that needs as much memory as any of the corpus, and drop the results.

        By default none, for networks that always fit.
        """

    def fitted(self, utterances: Sequence[Utterance], context: Context) -> Self:
        """The same extractor, on CUDA with a batch size that fits into memory."""
        if context.device.partition(":")[0] != "cuda":
            return self
        size = memory.fitted(
            lambda size: self._sized(size).trial(utterances, context), self.batch_size
        )
        return self._sized(size)

    def _sized(self, batch_size: int) -> Self:
        return self.model_copy(update={"batch_size": batch_size})

    def provenance(self, context: Context) -> dict[str, Any]:
        """Also the kind of device (``cpu``, ``cuda`` or ``mps``) and the batch size."""
        own = {"device": context.device.partition(":")[0], "batch_size": self.batch_size}
        return super().provenance(context) | own


class Prepared(Protocol):
    """A stream that can be extracted; `modality` and `name` are for messages."""

    @property
    def modality(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def extractor(self) -> Extractor: ...
    @property
    def state(self) -> State: ...


_Stream = TypeVar("_Stream", bound=Prepared)


def extracted(
    streams: Sequence[_Stream], utterances: Sequence[Utterance], context: Context
) -> Iterator[tuple[_Stream, list[Steps]]]:
    """Yield each stream of a modality with the features of each utterance.

    Streams that read the same media are extracted together.
    """
    lists: dict[object, list[_Stream]] = {}
    for each in streams:
        lists.setdefault(each.extractor.together or each.name, []).append(each)
    for own in lists.values():
        wrappers = [partial(of_stream, each.modality, each.name) for each in own]
        extractors = [each.extractor for each in own]
        if together := extractors[0].together:
            yield from zip(own, together(extractors, wrappers, utterances, context), strict=True)
        else:
            with wrappers[0]():
                steps = extractors[0].extract(utterances, own[0].state, context)
            yield own[0], steps
