"""`dvc exp run` as its user types it, without the time that extraction and training take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from pipeline import params
from tests.clone import Clone

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which nothing has run, and which has no lock of other runs."""
    clone = Clone(tmp_path_factory.mktemp("clone"))
    clone.run("git", "rm", "-q", "dvc.lock")
    clone.run("git", "commit", "-qm", "no lock")
    return clone


def numbers(group: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The keys of all parameters that are floats."""
    for name, field in group.model_fields.items():
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from numbers(kind, f"{prefix}{name}.")
        elif kind is float or float in get_args(kind) or get_origin(kind) is float:
            yield prefix + name


def value(settings: params.Params, key: str) -> Any:
    found: Any = settings
    for part in key.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("written", ["0.00005", "5e-5", "5.0E-05"])
def test_small_numbers_reach_every_float(clone: Clone, written: str) -> None:
    keys = list(numbers(params.Params))
    assert {"train.learning_rate", "train.weight_decay", "model.dropout.text"} <= set(keys)
    changes = [part for key in keys for part in ("-S", f"{key}={written}")]
    clone.run("git", "checkout", "--", "params.yaml")
    clone.run("dvc", "exp", "run", "--force", *changes, "weights")
    settings = params.load(clone.folder / "params.yaml")
    assert {key: value(settings, key) for key in keys} == dict.fromkeys(keys, 5e-5)


def test_a_number_that_is_not_finite_is_refused(clone: Clone) -> None:
    clone.run("git", "checkout", "--", "params.yaml")
    printed = clone.run("dvc", "exp", "run", "-S", "train.learning_rate=inf", fails=True)
    assert "train.learning_rate: Input should be a" in printed and "Traceback" not in printed
