"""Types of parameters, for ``params.yaml`` and for the parameters of extractors and readers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1)]


def _home(path: str) -> str:
    """Replace a leading ``~`` by the home folder."""
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise ValueError(
            f"{path}: there is no user of this name; write the path in full"
        ) from error


def _in_full(path: str) -> str:
    """Reject a leading ``~``, which DVC would take for the name of a folder."""
    if path.startswith("~"):
        raise ValueError(
            f"{path}: DVC reads this path too and does not know ~; write {_home(path)}"
        )
    return path


OwnPath = Annotated[str, Field(min_length=1), AfterValidator(_home)]
"""A path, or the name of a model, that only this package reads."""
DvcPath = Annotated[str, Field(min_length=1), AfterValidator(_in_full)]
"""A path that ``dvc.yaml`` uses as a dependency."""


class Group(BaseModel):
    """A group of parameters: immutable, without unknown keys or conversions of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def own_paths(group: type[Group]) -> list[str]:
    """Names of the parameters of a group that are of type :data:`OwnPath`."""
    is_own = AfterValidator(_home)
    return [name for name, field in group.model_fields.items() if is_own in field.metadata]
