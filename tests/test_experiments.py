"""`dvc exp run` as its user types it, without the time that extraction and training take."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from pipeline import params
from tests.clone import ROOT, Clone

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which nothing has run, and which has no lock of other runs."""
    clone = Clone(tmp_path_factory.mktemp("clone"))
    clone.run("git", "rm", "-q", "--ignore-unmatch", "dvc.lock", "embedded/dvc.lock")
    clone.run("git", "commit", "-qm", "no lock")
    return clone


def numbers(group: BaseModel, prefix: str = "") -> Iterator[str]:
    """The keys of all parameters that are floats."""
    for name, field in type(group).model_fields.items():
        kind, found = field.annotation, getattr(group, name)
        if isinstance(found, BaseModel):
            yield from numbers(found, f"{prefix}{name}.")
        elif name == "streams" and isinstance(found, dict):
            for stream, extractor in found.items():
                yield from numbers(extractor, f"{prefix}streams.{stream}.")
        elif kind is float or float in get_args(kind):
            yield prefix + name


def value(settings: params.Params, key: str) -> Any:
    found: Any = settings
    for part in key.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    return found


def test_small_numbers_reach_every_float(clone: Clone) -> None:
    """In three spellings by turns."""
    keys = list(numbers(params.load(ROOT / "params.yaml")))
    assert {"train.learning_rate", "model.dropout.text", "audio.streams.mfcc.step"} <= set(keys)
    spelt = zip(keys, cycle(["0.00005", "5e-5", "5.0E-05"]), strict=False)
    changes = [part for key, written in spelt for part in ("-S", f"{key}={written}")]
    clone.run("git", "checkout", "--", "params.yaml")
    clone.run("dvc", "exp", "run", "--force", *changes, "embedded/dvc.yaml:make")
    settings = params.load(clone.folder / "params.yaml")
    assert {key: value(settings, key) for key in keys} == dict.fromkeys(keys, 5e-5)


def test_a_number_that_is_not_finite_is_refused(clone: Clone) -> None:
    clone.run("git", "checkout", "--", "params.yaml")
    printed = clone.run("dvc", "exp", "run", "-S", "train.learning_rate=inf", fails=True)
    assert "train.learning_rate: Input should be a" in printed and "Traceback" not in printed
