"""The models that the stage `train` wrote, and the parameters that they were trained with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from pipeline import InputError, params
from pipeline.system.filesystem import unreadable
from pipeline.system.values import differences

TRAINED_WITH = {"labels", "split", "model", "train"}
"""The groups of parameters that, with the store, decide the result of training."""

_SHOWN = 3  # differences in a message


class Trained(NamedTuple):
    """One trained model."""

    fold: int
    seed: int
    path: Path


def fold_and_seed(name: str) -> tuple[int, int | None]:
    """Parse the name of a run, ``fold-K-seed-S``, or ``fold-K`` if there is only one seed."""
    fold, _, seed = name.removeprefix("fold-").partition("-seed-")
    return int(fold), int(seed) if seed else None


def models(folder: Path) -> list[Trained]:
    """The trained models in a folder, by fold and seed.

    Raises
    ------
    InputError
        If there are none, or their seed is not named and ``parameters.json`` is damaged.
    """
    trained = []
    for path in folder.glob("fold-*.safetensors"):
        fold, seed = fold_and_seed(path.stem)
        if seed is None:  # there is only one
            beside = folder / "parameters.json"
            try:
                (seed,) = json.loads(beside.read_text(encoding="utf-8"))["train"]["seeds"]
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(
                    f"{beside}: does not name the seed of the models ({error!r}); `dvc checkout "
                    f"{folder}` restores it, or `dvc repro train` writes it"
                ) from error
        trained.append(Trained(fold, seed, path))
    if not trained:
        raise InputError(f"{folder}: contains no fold-*.safetensors; run `dvc repro train`")
    return sorted(trained)


def check_parameters(folder: Path, settings: params.Params) -> None:
    """Check that the models were trained with the current parameters.

    Parameters
    ----------
    folder
        The output of the stage `train`; ``parameters.json`` is read.
    settings
        All parameters.

    Raises
    ------
    InputError
        If parameters differ, with the first differences, or ``parameters.json`` cannot be read.
    """
    path = folder / "parameters.json"
    remedy = "`dvc repro train` trains models with the current ones"
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        former = {group: recorded[group] for group in TRAINED_WITH}
    except (FileNotFoundError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: does not contain the parameters of the models ({error!r}); {remedy}"
        ) from error
    except OSError as error:
        raise InputError(unreadable(path, error)) from error
    changed = differences(former, settings.model_dump(mode="json", include=TRAINED_WITH))
    if changed:
        named = "; ".join(f"{key} was {old}, is {new}" for key, old, new in changed[:_SHOWN])
        more = f"; and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise InputError(
            f"{folder}: the models were trained with other parameters: {named}{more}; {remedy}, or "
            "restore the former ones"
        )
