"""Typed, validated parameters: the only reader of ``params.yaml``.

Each stage calls :func:`load` once, before any work, so that a bad value in any group stops a run
at its first stage and not after hours of extraction. The rest of :mod:`pipeline` receives the
typed groups and reads no configuration.
"""

from __future__ import annotations

import difflib
import io
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline import InputError
from pipeline.models import MODELS

Modality = Literal["audio", "text", "video"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)

EMBEDDED = "embedded"

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
# torch computes in float32, up to 3e38; the first step of Adam is ten times the learning rate
_LARGEST = 1e37


def _home(path: str) -> str:
    """Put the home folder in the place of a leading ``~``."""
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise ValueError(
            f"{path}: there is no user of this name; write the path in full"
        ) from error


def _in_full(path: str) -> str:
    """Refuse a leading ``~``: DVC looks for the file itself and takes it for a folder's name."""
    if path.startswith("~"):
        raise ValueError(
            f"{path}: DVC reads this path too and does not know ~; write {_home(path)}"
        )
    return path


OwnPath = Annotated[str, Field(min_length=1), AfterValidator(_home)]
"""A path, or another name, that only this package reads."""
DvcPath = Annotated[str, Field(min_length=1), AfterValidator(_in_full)]
"""A path that dvc.yaml names as a dependency."""


class ParamsError(InputError):
    """A parameter file that cannot be used; the message names the key and what is allowed."""


class Group(BaseModel):
    """A group of parameters: no unknown keys, no silent conversion, unchangeable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class PerModality(Group):
    """One value for each modality."""

    def __getitem__(self, modality: str) -> Any:
        return getattr(self, modality)


class Embedded(Group):
    """How the embedded corpus is made."""

    dialogs_per_session: Annotated[int, Field(ge=1, le=28)]
    seed: Annotated[int, Field(ge=0)]


class Corpus(Group):
    """Which corpus, and where it lies."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    root: DvcPath
    embedded: Embedded


class Audio(Group):
    """MFCC and prosody; seconds and hertz."""

    sampling_rate: Annotated[int, Field(ge=4000)]
    mfcc: Annotated[int, Field(ge=1, le=128)]
    window: Positive
    step: Positive

    @model_validator(mode="after")
    def _step_fits_window(self) -> Audio:
        if self.step > self.window:
            raise ValueError(f"step ({self.step}) must not exceed window ({self.window})")
        return self


class Text(Group):
    """GloVe vectors and BERT states."""

    glove: DvcPath
    bert: OwnPath
    bert_layer: int
    marks: Literal["word", "drop"]
    batch_size: Count


class Visual(Group):
    """Frames of the speaker's half and the network that embeds them."""

    network: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    weights: OwnPath
    frames_per_second: Positive
    max_frames: Count
    crop: Annotated[int, Field(ge=32, le=360)]
    marked_actor: Literal["left", "right"]
    batch_size: Count


class Labels(Group):
    """The label scheme: a known name, or the user's mapping from the release's codes."""

    scheme: Literal["seven", "six", "four"] | Annotated[dict[str, str], Field(min_length=1)]


class Split(Group):
    """Which utterances train, develop and test a fold."""

    protocol: Literal["session", "speaker", "random", "file"]
    list: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None
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


class Store(Group):
    """How the feature store is written."""

    include_text: bool
    dtype: Literal["float32", "float16"]
    compression: Literal["none", "lzf", "gzip"]
    chunk: Count  # KiB
    external: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]]


Name = Annotated[str, Field(min_length=1)]


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

    device: Literal["auto", "cpu", "cuda"]
    workers: Annotated[int, Field(ge=0)]
    parallel_folds: Annotated[int, Field(ge=0)]


class Params(Group):
    """The whole of ``params.yaml``."""

    corpus: Corpus
    audio: Audio
    text: Text
    visual: Visual
    store: Store
    labels: Labels
    split: Split
    model: Model
    train: Train
    report: Report
    compute: Compute

    @model_validator(mode="after")
    def _random_weights_only_embedded(self) -> Params:
        if self.visual.weights == "random" and self.corpus.name != EMBEDDED:
            raise ValueError(
                f"visual.weights is random, which only the {EMBEDDED} corpus allows; for corpus "
                f"{self.corpus.name} set visual.weights to a torchvision weight name such as "
                "IMAGENET1K_V2 or to a state-dict file"
            )
        return self

    def features(self) -> dict[str, Any]:
        """The parameters that decide feature values; files by name, without their folder."""
        groups = self.model_dump(include={"audio", "text", "visual"}, exclude=_SPEED_ONLY)
        for group, key in (("text", "glove"), ("text", "bert"), ("visual", "weights")):
            if Path(groups[group][key]).is_absolute():
                groups[group][key] = Path(groups[group][key]).name
        return groups


_SPEED_ONLY: Any = {"text": {"batch_size"}, "visual": {"batch_size"}}


def load(path: str | Path = "params.yaml") -> Params:
    """Read and validate a parameter file.

    Raises
    ------
    ParamsError
        One line for each fault: the key, what is wrong, what is allowed.
    """
    return parse(read_yaml(Path(path)), str(path))


def read_yaml(path: Path) -> Any:
    """Read a YAML file as DVC does, by version 1.2 of the language.

    DVC rewrites ``params.yaml`` for ``-S``, and a small number becomes ``5e-05`` in it. That is a
    number in YAML 1.2 and a string in YAML 1.1, which PyYAML reads.

    Raises
    ------
    ParamsError
        If the file cannot be read or is not valid YAML; names the line.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: is not UTF-8 text: {error.reason}") from error
    except YAMLError as error:
        raise ParamsError(f"{path}: is not valid YAML: {error}") from error


def as_yaml(values: dict[str, Any]) -> str:
    """Parameters as YAML text that :func:`read_yaml` reads."""
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 100
    yaml.dump(values, text)
    return text.getvalue()


def parse(raw: Any, source: str = "params.yaml") -> Params:
    """Validate parameters that are already read; `source` names them in errors."""
    if not isinstance(raw, dict):
        raise ParamsError(f"{source}: must be a mapping of parameter groups, is {raw!r}")
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        faults = "\n".join(f"  {_describe(dict(fault))}" for fault in error.errors())
        raise ParamsError(f"{source}:\n{faults}") from error


def _describe(fault: dict[str, Any]) -> str:
    """One fault of a pydantic report as a line: key, fault, what is allowed."""
    # pydantic adds the tried member of a union, such as dict[str,str], to the location
    location = [part for part in fault["loc"] if "[" not in str(part) and part != "constrained-str"]
    key = ".".join(str(part) for part in location)
    if fault["type"] == "extra_forbidden":
        known = _keys_of(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return f"{key}: no such key{hint}; known here: {', '.join(known)}"
    if fault["type"] == "missing":
        return f"{key}: is missing"
    message = fault["msg"].removeprefix("Value error, ")
    given = "" if fault["type"] == "value_error" else f", got {fault['input']!r}"
    return f"{key + ': ' if key else ''}{message}{given}"


def _keys_of(location: list[Any]) -> list[str]:
    """The keys that the group at `location` knows."""
    group: type[BaseModel] = Params
    for part in location:
        group = group.model_fields[part].annotation  # type: ignore[assignment]
    return list(group.model_fields)
