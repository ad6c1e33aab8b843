"""Typed, validated parameters: the only reader of ``params.yaml``.

Each stage calls :func:`load` once, before any work, so that a bad value in any group stops a run
at its first stage and not after hours of extraction. The rest of :mod:`pipeline` receives the
typed groups and reads no configuration.
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

from pipeline.params.file import ParamsError, as_yaml, describe, read_yaml
from pipeline.params.names import with_extractors, with_reader
from pipeline.params.types import Count, DvcPath, Group, Positive, Share
from pipeline.registry import MODELS

__all__ = ["ParamsError", "as_yaml", "load", "parse", "read_yaml"]

Modality = Literal["audio", "text", "video"]

FEATURES = ("audio", "text", "visual")
"""The groups whose streams are extracted."""

PROTOCOLS = ("group", "groups", "speaker", "speakers", "official", "random", "file")
"""The split protocols; a corpus's own words for groups, as ``session``, ``sessions``, are too."""

EMBEDDED = "embedded"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

# torch computes in float32, up to 3e38; the first step of Adam is ten times the learning rate
_LARGEST = 1e37


class PerModality(Group):
    """One value for each modality."""

    def __getitem__(self, modality: str) -> Any:
        return getattr(self, modality)


class Embedded(Group):
    """How the embedded corpus is made."""

    dialogs_per_session: Annotated[int, Field(ge=1, le=28)] = 4
    seed: Annotated[int, Field(ge=0)] = 0
    traps: bool = False


class Corpus(Group):
    """Which corpus, where it lies, and what reads it.

    ``reader`` is that of the format, a :class:`pipeline.corpus.reader.Reader` with the parameters
    of the group of its name, such as ``corpus.iemocap``.
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


Name = Annotated[str, Field(min_length=1)]
Extractors = dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")], Any]
"""By stream an extractor, :class:`pipeline.features.extractor.Extractor`."""


class Audio(Group):
    """Streams of sound; hertz."""

    sampling_rate: Annotated[int, Field(ge=4000)]
    streams: Extractors


class Text(Group):
    """Streams of words."""

    marks: Literal["word", "drop"]
    include_text: bool
    streams: Extractors


class Visual(Group):
    """Streams of pictures, and which frames they see."""

    frames_per_second: Positive
    max_frames: Count
    streams: Extractors


class Labels(Group):
    """The classes, and which utterances count.

    ``scheme`` is one of the corpus's, or the user's mapping from its codes; ``scenarios`` names
    parts of the corpus's own division.
    """

    scheme: Name | Annotated[dict[str, str], Field(min_length=1)]
    scenarios: Literal["all"] | Annotated[list[Name], Field(min_length=1)] = "all"


class Split(Group):
    """Which utterances train, develop and test a fold."""

    protocol: Name
    list: Annotated[str, Field(pattern=NAME)] | None
    folds: Annotated[int, Field(ge=3)]
    seed: Annotated[int, Field(ge=0)]

    @field_validator("list")
    @classmethod
    def _list_is_of_protocol_file(cls, value: str | None, info: ValidationInfo) -> str | None:
        protocol = info.data.get("protocol")  # missing where it is itself at fault
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


class Streams(PerModality):
    """The feature-store stream or streams that feed each modality."""

    audio: Name | Annotated[list[Name], Field(min_length=1)]
    text: Name | Annotated[list[Name], Field(min_length=1)]
    video: Name | Annotated[list[Name], Field(min_length=1)]

    def names(self, modality: str) -> list[str]:
        """The streams of a modality, one or several."""
        value = self[modality]
        return [value] if isinstance(value, str) else value


class Hidden(PerModality):
    """GRU state sizes."""

    audio: Count
    text: Count
    video: Count


class Dropout(PerModality):
    """Share of each input that is dropped in training."""

    audio: Share
    text: Share
    video: Share


class MaxSteps(PerModality):
    """The most sequence steps that a model reads."""

    audio: Count
    text: Count
    video: Count


class Model(Group):
    """The classifier."""

    name: str
    modalities: Annotated[list[Modality], Field(min_length=1)]
    streams: Streams
    prosody: Name | None
    hops: Count
    share_hops: bool
    hidden: Hidden
    layers: Count
    bidirectional: bool
    dropout: Dropout
    tune_embeddings: bool
    options: dict[str, Any]

    @field_validator("name")
    @classmethod
    def _name_is_registered(cls, value: str) -> str:
        if value not in MODELS:
            raise ValueError(f"no model {value}; there are {', '.join(MODELS)}")
        return value

    @model_validator(mode="after")
    def _modalities_suit_the_model(self) -> Model:
        if len(set(self.modalities)) != len(self.modalities):
            raise ValueError(f"modalities names one twice: {self.modalities}")
        allowed = MODELS[self.name].modalities
        if len(self.modalities) not in allowed:
            raise ValueError(
                f"{self.name} is defined for {' or '.join(map(str, allowed))} modalities, and "
                f"model.modalities names {len(self.modalities)}: {', '.join(self.modalities)}"
            )
        used = [name for modality in self.modalities for name in self.streams.names(modality)]
        if len(set(used)) != len(used):
            raise ValueError(f"streams names one twice: {', '.join(used)}")
        if self.prosody is not None and "audio" not in self.modalities:
            raise ValueError(
                "prosody joins the audio's states, and model.modalities has no audio; set "
                "model.prosody to null"
            )
        return self

    @property
    def label(self) -> str:
        """What papers call it: AMH-7, MDRE."""
        name = self.name.upper()
        return f"{name}-{self.hops}" if MODELS[self.name].hops else name


class Train(Group):
    """Optimisation of one fold."""

    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    batch_size: Count
    targets: Literal["majority", "votes"]
    balance: Literal["none", "weights", "sampling"]
    epochs: Count
    validate_every: Annotated[float, Field(gt=0.0, le=1.0)]
    patience: Count
    learning_rate: Annotated[float, Field(gt=0.0, le=_LARGEST)]
    schedule: Literal["constant", "cosine", "plateau"]
    mixed_precision: bool
    weight_decay: Annotated[float, Field(ge=0.0, le=_LARGEST)]
    clip_norm: Positive
    max_steps: MaxSteps

    @field_validator("seeds")
    @classmethod
    def _seeds_once(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value):
            raise ValueError(f"names one twice: {value}")
        return value


class Report(Group):
    """What the report shows."""

    media: bool
    hardest: Annotated[int, Field(ge=0)]


class Compute(Group):
    """Where and how wide to run; never changes a result's meaning."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    workers: Annotated[int, Field(ge=0)]
    parallel_folds: Annotated[int, Field(ge=0)]


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
    def _corpus_has_them(self) -> Params:
        if self.corpus.reader is None:  # which is a fault of its own
            return self
        about, scheme = self.corpus.reader.description, self.labels.scheme
        if isinstance(scheme, str) and scheme not in about.schemes:
            raise ValueError(
                f"labels.scheme is {scheme}; {about.title} has {', '.join(about.schemes) or 'none'}"
                ", or write a mapping from its codes to class names"
            )
        if lacking := about.lacks(self.model.modalities):
            raise ValueError(lacking)
        if about.scenarios and self.labels.scenarios != "all":
            for name in self.labels.scenarios:
                if name not in about.scenarios:
                    raise ValueError(
                        f"labels.scenarios names {name}; {about.title} has "
                        f"{', '.join(about.scenarios)}, or all for all of them"
                    )
        protocols = list(dict.fromkeys((*about.group, *PROTOCOLS)))
        if self.split.protocol not in protocols:
            raise ValueError(
                f"split.protocol is {self.split.protocol}; there are {', '.join(protocols)}"
            )
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> Params:
        names = [name for group in FEATURES for name in getattr(self, group).streams]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two streams are named {twice[0]}; rename one")
        return self

    @model_validator(mode="after")
    def _models_read_named_streams(self) -> Params:
        known = [name for group in FEATURES for name in getattr(self, group).streams]
        read = {f"streams.{name}": self.model.streams.names(name) for name in self.model.modalities}
        if self.model.prosody is not None:
            read["prosody"] = [self.model.prosody]
        for key, names in read.items():
            for name in names:
                if name not in known:
                    raise ValueError(
                        f"model.{key} is {name}, which is no stream; there are {', '.join(known)}"
                    )
        return self


def load(path: str | Path = "params.yaml") -> Params:
    """Read and validate a parameter file.

    Raises
    ------
    ParamsError
        One line for each fault: the key, what is wrong, what is allowed.
    """
    return parse(read_yaml(Path(path)), str(path))


def parse(raw: Any, source: str = "params.yaml") -> Params:
    """Validate parameters that are already read; `source` names them in errors."""
    if not isinstance(raw, dict):
        raise ParamsError(f"{source}: must be a mapping of parameter groups, is {raw!r}")
    raw = dict(raw)
    faults: list[str] = []
    if isinstance(raw.get("corpus"), dict):
        raw["corpus"], faults = with_reader(raw["corpus"])
    for group in FEATURES:
        if isinstance(raw.get(group), dict) and isinstance(raw[group].get("streams"), dict):
            raw[group], found = with_extractors(group, raw[group])
            faults += found
    try:
        settings = Params.model_validate(raw)
    except ValidationError as error:
        faults += [describe(dict(fault), Params, []) for fault in error.errors()]
    if faults:
        raise ParamsError("\n".join([f"{source}:", *(f"  {fault}" for fault in faults)]))
    return settings
