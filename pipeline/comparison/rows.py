"""The rows of the comparison: read them, and train and test the model of each.

A row takes every parameter that it does not set from the parameter file, with five exceptions: the
model's name, modalities, prosody, hops and context. These are what is compared.
"""

from __future__ import annotations

import difflib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import params
from pipeline.evaluation import prediction, trained
from pipeline.registry import MODELS
from pipeline.store import FeatureStore
from pipeline.system import compute
from pipeline.system.cluster import Cluster
from pipeline.system.filesystem import write_csv, write_text
from pipeline.training import folds

# instead of the parameter file's
_DEFAULTS: dict[str, Any] = {"prosody": None, "hops": 1, "context": "none"}
_GROUPS = ("model", "train")


@dataclass(frozen=True)
class Rows:
    """The content of ``comparison/rows.yaml``.

    Attributes
    ----------
    path
        The file, for error messages.
    references
        Keys of rows; all others are compared with the first of these that is not left out.
    overrides
        By key, the parameters of ``model`` and ``train`` that the row sets.
    """

    path: Path
    references: tuple[str, ...]
    overrides: dict[str, dict[str, dict[str, Any]]]

    def settings(self, key: str, common: params.Params) -> params.Params:
        """All parameters of a row.

        Parameters
        ----------
        key
            Key of the row.
        common
            The parameter file, for what the row does not set.

        Raises
        ------
        ParamsError
            If there is no such row, or one of its parameters is invalid; names row and parameter.
        """
        if key not in self.overrides:
            near = difflib.get_close_matches(key, self.overrides, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise params.ParamsError(
                f"{self.path}: no row {key}{hint}; there are {', '.join(self.overrides)}"
            )
        row = self.overrides[key]
        if reason := self.left_out(key, common):
            raise params.ParamsError(f"{self.path}, row {key}: is left out here: {reason}")
        groups = common.model_dump()
        required = ["name", "modalities"]
        registered = MODELS.get(str(row["model"].get("name")))
        if registered is not None and registered.hops:
            required.append("hops")
        for name in required:
            if name not in row["model"]:
                raise params.ParamsError(f"{self.path}, row {key}:\n  model.{name}: is missing")
        streams = groups["model"]["streams"] | row["model"].get("streams", {})
        groups["model"] |= _DEFAULTS | row["model"] | {"streams": streams}
        groups["train"] |= row.get("train", {})
        return params.parse(groups, f"{self.path}, row {key}")

    def left_out(self, key: str, common: params.Params) -> str:
        """Why this corpus has no such row; empty if it has.

        It lacks a modality of the row, or dialogs, or the parameter file a stream that the row
        names, or whole dialogs in the parts of its folds.
        """
        row = self.overrides[key]["model"]
        modalities = row.get("modalities")
        if not isinstance(modalities, list):
            return ""  # an error of its own
        if lacking := common.corpus.reader.description.lacks(modalities):
            return lacking
        if row.get("context", "none") != "none":
            if not common.corpus.reader.dialogs:
                return f"{common.corpus.reader.description.title} has no dialogs as context"
            if common.split.protocol in params.DIVIDING:
                return f"split.protocol {common.split.protocol} divides dialogs, which are context"
        extracted = {name for group in params.FEATURES for name in getattr(common, group).streams}
        streams = row.get("streams", {})
        named = [streams[name] for name in modalities if name in streams]
        named += [row["prosody"]] if row.get("prosody") else []
        flat = [name for value in named for name in ([value] if isinstance(value, str) else value)]
        missing = [name for name in flat if name not in extracted]
        return f"no stream {missing[0]} is extracted" if missing else ""

    def all_left_out(self, common: params.Params) -> dict[str, str]:
        """By key, why rows are left out."""
        reasons = {key: self.left_out(key, common) for key in self.overrides}
        return {key: reason for key, reason in reasons.items() if reason}


def read(path: Path) -> Rows:
    """Read ``comparison/rows.yaml``.

    Raises
    ------
    ParamsError
        If the file cannot be read or has another form; names the row and key at fault.
    """
    raw = params.read_yaml(path)
    if not isinstance(raw, dict) or set(raw) != {"reference", "rows"}:
        raise params.ParamsError(f"{path}: must have two keys, reference and rows")
    rows, reference = raw["rows"], raw["reference"]
    if not isinstance(rows, dict) or not rows:
        raise params.ParamsError(f"{path}: rows must be a mapping of names to rows, is {rows!r}")
    for key, row in rows.items():
        _check(f"{path}, row {key}", key, row)
    references = reference if isinstance(reference, list) and reference else [reference]
    for name in references:
        if name not in rows:
            raise params.ParamsError(
                f"{path}: reference is {name!r}, which is no row; there are {', '.join(rows)}"
            )
    return Rows(path, tuple(references), rows)


def _check(where: str, key: Any, row: Any) -> None:
    """Check the form of a row; :meth:`Rows.settings` checks its values."""
    # DVC names a stage and a folder by the key
    if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", key):
        raise params.ParamsError(
            f"{where}: a row's name starts with a letter or digit, and has only those, - and _"
        )
    if not isinstance(row, dict) or "model" not in row:
        raise params.ParamsError(f"{where}: must be a mapping with the key model, is {row!r}")
    for group, values in row.items():
        if group not in _GROUPS:
            raise params.ParamsError(
                f"{where}: {group}: a row sets {' and '.join(_GROUPS)} only; set all else in "
                "params.yaml, for all rows"
            )
        if not isinstance(values, dict):
            raise params.ParamsError(f"{where}: {group}: must be a mapping, is {values!r}")


def skip(key: str, reason: str, output: Path) -> None:
    """Write the output of a row that is left out: ``row.json`` with the reason."""
    print(f"{key}: left out: {reason}")
    write_text(output / "row.json", json.dumps({"key": key, "left_out": reason}, indent=2) + "\n")


def description(key: str, settings: params.Params) -> dict[str, Any]:
    """The parameters that a row's result depends on, besides the store, as plain values."""
    decisive = settings.model_dump(mode="json", include=trained.TRAINED_WITH)
    return {"key": key, "corpus": settings.corpus.name, **decisive}


def forget(parts: Path, listed: Rows) -> None:
    """Delete the checkpoints of rows that are not listed; `parts` holds one folder per row."""
    for folder in parts.iterdir():
        if folder.name not in listed.overrides:
            shutil.rmtree(folder)


def run(
    key: str,
    settings: params.Params,
    *,
    store: Path,
    lists: Path,
    parts: Path,
    output: Path,
    device: str,
    parallel: int,
    cluster: Cluster | None = None,
) -> None:
    """Train a row's models and write their test predictions.

    Parameters
    ----------
    key, settings
        The row and its parameters.
    store
        The feature store.
    lists
        Folder of fixed splits.
    parts
        Folder of this row's checkpoints and finished models, which the next run reuses if they
        are still valid.
    output
        Output folder of ``predictions.csv``
        (:func:`pipeline.evaluation.prediction.predictions_table`) and ``row.json`` (parameters,
        label, classes, parameter counts, SHA-256 of the store).
    device
        Name of a torch device.
    parallel, cluster
        As of :func:`pipeline.training.folds.train_folds`.
    """
    models = parts / "models"
    jobs = folds.plan(
        store,
        settings,
        lists=lists,
        models=models,
        curves=parts / "curves",
        checkpoints=parts / "checkpoints",
        device=device,
    )
    print(f"{key}: {folds.describe(jobs)}")
    folds.train_folds(jobs, parallel, cluster)
    with FeatureStore(store) as opened:
        here = compute.local_device(settings.compute)  # which may be without the workers' GPU
        predictions = prediction.test_folds(opened, models, here)
        sha256 = opened.sha256
    record = {
        **description(key, settings),
        "label": settings.model.label,
        "classes": jobs[0].classes,
        "parameters": jobs[0].parameters,
        "store": sha256,
    }
    write_csv(output / "predictions.csv", predictions)
    write_text(output / "row.json", json.dumps(record, indent=2) + "\n")
    shutil.rmtree(models)
    shutil.rmtree(parts / "curves")
