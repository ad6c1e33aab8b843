"""Typed and validated parameters of ``params.yaml``.

Each stage calls :func:`load` before any work, so that an invalid value in any group stops a run at
its first stage and not after hours of extraction. All other modules receive typed groups and read
no configuration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from pipeline.params.cluster import Cluster
from pipeline.params.file import ParamsError, as_yaml, describe, read_yaml
from pipeline.params.model import MaxSteps, Model, Streams
from pipeline.params.names import with_extractors, with_reader
from pipeline.params.types import Count, DvcPath, Group, Name, Positive

__all__ = ["ParamsError", "Streams", "as_yaml", "load", "parse", "read_yaml"]

FEATURES = ("audio", "text", "visual")
"""The groups of parameters that define streams."""

PROTOCOLS = ("group", "groups", "speaker", "speakers", "official", "random", "file")
"""Split protocols of all corpora; a corpus's names for its groups are protocols too."""
DIVIDING = ("random", "speaker", "speakers")
"""Protocols that put utterances of one dialog into several parts."""

EMBEDDED = "embedded"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

# torch computes in float32, up to 3e38; the first step of Adam is ten times the learning rate
_LARGEST = 1e37


class Embedded(Group):
    """Parameters of the embedded corpus, which is synthetic."""

    dialogs_per_session: Annotated[int, Field(ge=1, le=28)] = 4
    seed: Annotated[int, Field(ge=0)] = 0
    traps: bool = False
    moods: Literal["independent", "persistent"] = "independent"


class Corpus(Group):
    """The corpus, its folder, and its reader.

    ``reader`` is the :class:`pipeline.corpus.reader.Reader` of ``format``. Its parameters are those
    of the group named like the format, such as ``corpus.iemocap``.
    """

    name: Annotated[str, Field(pattern=NAME)]
    root: DvcPath
    format: str
    reader: Any

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = handler(self)
        reader = values.pop("reader", None)
        return values | ({self.format: reader} if reader else {})


Extractors = dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")], Any]
"""The :class:`pipeline.features.extractor.Extractor` of each stream, by its name."""


class Audio(Group):
    """Audio streams; ``sampling_rate`` in hertz."""

    sampling_rate: Annotated[int, Field(ge=4000)]
    streams: Extractors


class Text(Group):
    marks: Literal["word", "drop"]
    include_text: bool
    streams: Extractors


class Visual(Group):
    """Video streams, and the choice of their frames."""

    frames_per_second: Positive
    max_frames: Count
    streams: Extractors


class Labels(Group):
    """The classes, and the utterances that are used.

    ``scheme`` is the name of a scheme of the corpus, or a mapping from the corpus's codes to class
    names; ``scenarios`` are names of the corpus's own scenarios.
    """

    scheme: Name | Annotated[dict[str, str], Field(min_length=1)]
    scenarios: Literal["all"] | Annotated[list[Name], Field(min_length=1)] = "all"


class Split(Group):
    """The training, development and test parts of each fold."""

    protocol: Name
    list: Annotated[str, Field(pattern=NAME)] | None
    folds: Annotated[int, Field(ge=3)]
    seed: Annotated[int, Field(ge=0)]

    @field_validator("list")
    @classmethod
    def _list_is_of_protocol_file(cls, value: str | None, info: ValidationInfo) -> str | None:
        protocol = info.data.get("protocol")  # None if it is itself invalid
        if protocol == "file" and value is None:
            raise ValueError(
                "is null, but split.protocol file needs the name of a list, such as mine for "
                "splits/mine.csv"
            )
        if protocol not in ("file", None) and value is not None:
            raise ValueError(
                f"is {value}, but split.protocol {protocol} makes its own folds; set split.list to "
                "null or split.protocol to file"
            )
        return value


class Train(Group):
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    batch_size: Count
    targets: Literal["majority", "votes"]
    balance: Literal["none", "weights", "sampling"]
    epochs: Count
    validate_every: Annotated[float, Field(gt=0.0, le=1.0)]
    patience: Count | None
    learning_rate: Annotated[float, Field(gt=0.0, le=_LARGEST)]
    schedule: Literal["constant", "cosine", "plateau", "one_cycle"]
    mixed_precision: bool
    weight_decay: Annotated[float, Field(ge=0.0, le=_LARGEST)]
    clip_norm: Positive
    max_steps: MaxSteps
    with_development: bool = False

    @field_validator("seeds")
    @classmethod
    def _seeds_once(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value):
            raise ValueError(f"has a seed twice: {value}")
        return value

    @model_validator(mode="after")
    def _plateau_needs_patience(self) -> Train:
        if self.schedule == "plateau" and self.patience is None:
            raise ValueError("schedule plateau needs train.patience, which is null; set a number")
        return self

    @model_validator(mode="after")
    def _nothing_is_chosen_on_what_was_trained_on(self) -> Train:
        if self.with_development and self.patience is not None:
            raise ValueError(
                "with_development trains on the development part too, so it cannot choose the best "
                "weights; set train.patience to null"
            )
        return self


class Report(Group):
    media: bool
    hardest: Annotated[int, Field(ge=0)]


class Compute(Group):
    """Device, processes and machines; they change the speed of a run, not its results."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    workers: Annotated[int, Field(ge=0)]
    parallel_folds: Annotated[int, Field(ge=0)]
    cluster: Cluster | None = None


class Params(Group):
    """The whole of ``params.yaml``."""

    corpus: Corpus
    embedded: Embedded = Embedded()
    audio: Audio
    text: Text
    visual: Visual
    labels: Labels
    split: Split
    model: Model
    train: Train
    report: Report
    compute: Compute

    @model_validator(mode="after")
    def _random_weights_only_embedded(self) -> Params:
        for name, extractor in self.visual.streams.items():
            if getattr(extractor, "weights", "") == "random" and self.corpus.name != EMBEDDED:
                raise ValueError(
                    f"visual.streams.{name}.weights is random, which only the {EMBEDDED} corpus "
                    f"allows; for corpus {self.corpus.name} set it to a torchvision weight name "
                    "such as IMAGENET1K_V2 or to a state-dict file"
                )
        return self

    @model_validator(mode="after")
    def _values_suit_the_corpus(self) -> Params:
        if self.corpus.reader is None:  # its error is reported separately
            return self
        corpus, scheme = self.corpus.reader.description, self.labels.scheme
        if isinstance(scheme, str) and scheme not in corpus.schemes:
            schemes = ", ".join(corpus.schemes) or "none"
            raise ValueError(
                f"labels.scheme is {scheme}; {corpus.title} has {schemes}, or write a mapping from "
                "its codes to class names"
            )
        if lacking := corpus.lacks(self.model.modalities):
            raise ValueError(lacking)
        if corpus.scenarios and self.labels.scenarios != "all":
            for name in self.labels.scenarios:
                if name not in corpus.scenarios:
                    raise ValueError(
                        f"labels.scenarios names {name}; {corpus.title} has "
                        f"{', '.join(corpus.scenarios)}, or all for all of them"
                    )
        if self.model.context != "none" and self.train.balance == "sampling":
            raise ValueError(
                "train.balance sampling draws single utterances, and a model with model.context is "
                "trained on whole dialogs; set train.balance to weights or none"
            )
        protocols = list(dict.fromkeys((*corpus.group, *PROTOCOLS)))
        if self.split.protocol not in protocols:
            raise ValueError(
                f"split.protocol is {self.split.protocol}; there are {', '.join(protocols)}"
            )
        return self

    @model_validator(mode="after")
    def _stream_names_are_unique_and_exist(self) -> Params:
        streams = [name for group in FEATURES for name in getattr(self, group).streams]
        if twice := sorted({name for name in streams if streams.count(name) > 1}):
            raise ValueError(f"two streams are named {twice[0]}; rename one")
        read = {f"streams.{name}": self.model.streams.names(name) for name in self.model.modalities}
        if self.model.prosody is not None:
            read["prosody"] = [self.model.prosody]
        for key, names in read.items():
            for name in names:
                if name not in streams:
                    raise ValueError(
                        f"model.{key} is {name}, which is no stream; there are {', '.join(streams)}"
                    )
        return self


def load(path: str | Path = "params.yaml") -> Params:
    """Read and validate a parameter file.

    Raises
    ------
    ParamsError
        With one line per invalid value: the key, the error, and what is allowed.
    """
    return parse(read_yaml(Path(path)), str(path))


def parse(raw: Any, source: str = "params.yaml") -> Params:
    """Validate the content of a parameter file; errors name it as `source`."""
    if not isinstance(raw, dict):
        raise ParamsError(f"{source}: must be a mapping of parameter groups, is {raw!r}")
    raw = dict(raw)
    faults: list[str] = []
    if isinstance(raw.get("corpus"), dict):
        raw["corpus"], faults = with_reader(raw["corpus"])
    for group in FEATURES:
        if isinstance(raw.get(group), dict) and isinstance(raw[group].get("streams"), dict):
            raw[group], more = with_extractors(group, raw[group])
            faults += more
    try:
        settings = Params.model_validate(raw)
    except ValidationError as error:
        faults += [describe(dict(fault), Params, []) for fault in error.errors()]
    if faults:
        raise ParamsError("\n".join([f"{source}:", *(f"  {fault}" for fault in faults)]))
    return settings
