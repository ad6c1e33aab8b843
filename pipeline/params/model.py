"""Parameters of the model."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from pipeline.params.types import Count, Group, Name, NotNegative, Share
from pipeline.registry import MODELS

Modality = Literal["audio", "text", "video"]
Context = Literal["none", "past", "both"]

Value = TypeVar("Value")


class PerModality(Group, Generic[Value]):
    """One value for each modality."""

    audio: Value
    text: Value
    video: Value

    def __getitem__(self, modality: str) -> Value:
        return getattr(self, modality)


class Streams(PerModality[Name | Annotated[list[Name], Field(min_length=1)]]):
    """The stream or streams of the feature store that are the input of each modality."""

    def names(self, modality: str) -> list[str]:
        """The streams of a modality."""
        value = self[modality]
        return [value] if isinstance(value, str) else value


class Hidden(PerModality[Count]):
    """Sizes of GRU states."""


class Dropout(PerModality[Share]):
    """Dropout probabilities of the inputs."""


class MaxSteps(PerModality[Count]):
    """Numbers of steps after which a model truncates its input sequences."""


class Convolutions(PerModality[NotNegative]):
    """Numbers of convolutional layers before the GRUs."""


class Model(Group):
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
    normalise: Literal["training", "speaker"] = "training"
    convolutions: Convolutions = Convolutions(audio=0, text=0, video=0)
    summary: Literal["state", "statistics"] = "state"
    input_statistics: bool = False
    batch_norm: bool = False
    summary_dropout: Share = 0.0
    context: Context = "none"
    context_window: Count = 10

    @field_validator("name")
    @classmethod
    def _name_is_registered(cls, value: str) -> str:
        if value not in MODELS:
            raise ValueError(f"no model {value}; there are {', '.join(MODELS)}")
        return value

    @model_validator(mode="after")
    def _modalities_suit_the_model(self) -> Model:
        if len(set(self.modalities)) != len(self.modalities):
            raise ValueError(f"modalities has a modality twice: {self.modalities}")
        allowed = MODELS[self.name].modalities
        if len(self.modalities) not in allowed:
            raise ValueError(
                f"{self.name} is defined for {' or '.join(map(str, allowed))} modalities, and "
                f"model.modalities names {len(self.modalities)}: {', '.join(self.modalities)}"
            )
        used = [name for modality in self.modalities for name in self.read_of(modality)]
        if len(set(used)) != len(used):
            raise ValueError(f"streams has a stream twice: {', '.join(used)}")
        if self.is_pooled and self.context != "none":
            raise ValueError(
                f"{self.name} classifies each utterance alone; set model.context to none"
            )
        if self.prosody is not None and "audio" not in self.modalities:
            raise ValueError(
                "prosody is concatenated with audio states, and model.modalities has no audio; set "
                "model.prosody to null"
            )
        return self

    def read_of(self, modality: str) -> list[str]:
        """All streams that it reads of a modality; of audio also prosody."""
        joined = [self.prosody] if modality == "audio" and self.prosody is not None else []
        return [*self.streams.names(modality), *joined]

    @property
    def is_pooled(self) -> bool:
        """Whether it classifies pooled statistics of its streams."""
        return MODELS[self.name].pooled

    @property
    def label(self) -> str:
        """The name of the model in papers, such as AMH-7 or MDRE."""
        if self.is_pooled:
            return self.name
        name = self.name.upper()
        name = f"{name}-{self.hops}" if MODELS[self.name].hops else name
        return name if self.context == "none" else f"{name}, context {self.context}"
