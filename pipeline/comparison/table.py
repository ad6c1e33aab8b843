"""The table of the comparison: our figures, the published ones, and what differs significantly."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import InputError, params
from pipeline.comparison import rows
from pipeline.evaluation import metrics, significance
from pipeline.store import FeatureStore
from pipeline.store.identity import identity

TESTED = {"weighted_accuracy": "", "unweighted_accuracy": "_unweighted"}
"""The figures that are tested, and what the names of their columns end with."""

_LETTERS = {"audio": "A", "text": "T", "video": "V"}


class ComparisonError(InputError):
    """Rows that are missing or do not belong together; the message names the command to run."""


@dataclass(frozen=True)
class Result:
    """What the stage of a row made.

    Attributes
    ----------
    record
        ``row.json`` of :func:`pipeline.comparison.rows.run`, but ``store`` is its identity,
        :func:`pipeline.store.identity.identity`.
    predictions
        ``predictions.csv``.
    scenarios
        That of each utterance; empty for none.
    """

    record: dict[str, Any]
    predictions: pd.DataFrame
    scenarios: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """The comparison.

    Attributes
    ----------
    rows
        One row per model, see docs/comparison.md for its columns; nothing where there is none.
    classes
        The classes' names.
    scenarios
        Those whose figures have columns of their own, such as ``improvised_weighted_accuracy``.
    hops
        Keys of the rows that differ from the reference in nothing but their hops, by hops; the
        reference is among them.
    """

    rows: pd.DataFrame
    classes: list[str]
    hops: dict[int, str]
    scenarios: tuple[str, ...] = ()


def results(
    listed: rows.Rows, common: params.Params, folder: Path, store: Path
) -> dict[str, Result]:
    """The results of all rows, by key.

    Parameters
    ----------
    listed
        The rows.
    common
        The parameter file.
    folder
        Has one folder per row.
    store
        The feature store that they were trained on.

    Raises
    ------
    ComparisonError
        If a row has no result, one of other parameters, or one of another store.
    StoreError
        If the store is missing or cannot be used.
    """
    found = {}
    for key in listed.overrides:
        settings = listed.settings(key, common)
        remedy = f"run `dvc repro comparison/dvc.yaml:row@{key}`, or `make table` for all"
        try:
            record = json.loads((folder / key / "row.json").read_text(encoding="utf-8"))
            predictions = pd.read_csv(folder / key / "predictions.csv", keep_default_na=False)
        except FileNotFoundError as error:
            raise ComparisonError(f"{error.filename}: is not there; {remedy}") from error
        for name, value in rows.description(key, settings).items():
            if record[name] != value:
                raise ComparisonError(
                    f"{folder / key}: was made with {name} {record[name]}, which is now {value}; "
                    f"{remedy}"
                )
        found[key] = Result(record, predictions)
    with FeatureStore(store) as opened:
        origin, content, scenarios = identity(opened), opened.sha256, opened.scenarios
    for key, result in found.items():
        if result.record["store"] != content:
            raise ComparisonError(
                f"{folder / key}: is of another feature store than {store}; run `make table`, "
                "which makes anew what is older than the store"
            )
        result.record["store"] = origin
        found[key] = replace(result, scenarios=scenarios)
    return found


def published(path: Path, listed: rows.Rows) -> dict[str, dict[str, float]]:
    """Published figures by the row they are of; those of rows that are not listed are left out.

    Raises
    ------
    ComparisonError
        If the file cannot be read, or has other columns than ``row``, figures of
        :data:`pipeline.evaluation.metrics.METRICS` and their ``_deviation``.
    """
    try:
        table = pd.read_csv(path, comment="#", index_col="row")
    except (OSError, ValueError) as error:
        raise ComparisonError(f"{path}: cannot be read: {error}") from error
    known = {name + end for name in metrics.METRICS for end in ("", "_deviation")}
    if unknown := sorted({str(name) for name in table} - known):
        raise ComparisonError(
            f"{path}: column {unknown[0]} is no figure; known are {', '.join(sorted(known))}"
        )
    return {
        str(key): {str(name): float(value) for name, value in row.dropna().items()}
        for key, row in table.iterrows()
        if key in listed.overrides
    }


def build(
    found: Mapping[str, Result], reference: str, figures: Mapping[str, Mapping[str, float]]
) -> Table:
    """Put the table together.

    Parameters
    ----------
    found
        From :func:`results`.
    reference
        The key of the row that the others are tested against.
    figures
        From :func:`published`.

    Raises
    ------
    ComparisonError
        If two rows were not tested on the same utterances.
    """
    tests = {
        key: differences(result, found[reference])
        for key, result in found.items()
        if key != reference
    }
    adjusted = {
        name: dict(
            zip(tests, significance.holm([test[name].p for test in tests.values()]), strict=True)
        )
        for name in TESTED
    }
    names = _published_columns(figures.values())
    lines = []
    for key, result in found.items():
        line = _figures(key, result)
        line |= {f"published_{name}": figures.get(key, {}).get(name) for name in names}
        for name, test in tests.get(key, {}).items():
            end = TESTED[name]
            line |= {
                f"difference{end}": round(test.value, 6),
                f"low{end}": round(test.low, 6),
                f"high{end}": round(test.high, 6),
                f"p{end}": round(test.p, 6),
                f"p_holm{end}": round(adjusted[name][key], 6),
            }
        lines.append(line)
    classes, first = found[reference].record["classes"], found[reference]
    apart = tuple(metrics.by_scenario(first.predictions, first.scenarios))
    return Table(pd.DataFrame(lines), classes, _hops(found, reference), apart)


def differences(result: Result, other: Result) -> dict[str, significance.Difference]:
    """By figure of :data:`TESTED`, how much `result` is better than `other`, over all test parts.

    An utterance's correctness is the mean over the seeds.
    """
    ours, theirs = _correctness(result.predictions), _correctness(other.predictions)
    if not ours.index.equals(theirs.index):
        raise ComparisonError(
            f"rows {result.record['key']} and {other.record['key']} were tested on different "
            "utterances, so they cannot be compared; run `make table`"
        )
    change = (ours["right"] - theirs["right"]).to_numpy()
    everything = np.zeros(len(change))
    return {
        "weighted_accuracy": significance.paired(change, everything),
        "unweighted_accuracy": significance.paired(change, ours["true"].to_numpy()),
    }


def _correctness(predictions: pd.DataFrame) -> pd.DataFrame:
    """By utterance: its true class, and the share of the seeds that are right."""
    right = predictions["true"] == predictions["predicted"]
    by_utterance = predictions.assign(right=right).groupby("utterance")
    return by_utterance.agg(true=("true", "first"), right=("right", "mean"))


def _figures(key: str, result: Result) -> dict[str, Any]:
    """The columns of a row that need no other row."""
    record, predictions = result.record, result.predictions
    line = {
        "key": key,
        "model": record["label"],
        "modalities": "+".join(_LETTERS[name] for name in record["model"]["modalities"]),
        "corpus": record["corpus"],
        "store": record["store"],
        "protocol": record["split"]["protocol"],
        "folds": predictions["fold"].nunique(),
        "seeds": predictions["seed"].nunique(),
        "utterances": predictions["utterance"].nunique(),
        "parameters": record["parameters"]["all"],
    }
    for name, figure in metrics.summary(metrics.by_fold(predictions)).items():
        line[name] = figure["mean"]
        line |= {f"{name}_{end}": value for end, value in figure.items() if end != "mean"}
    for scenario, figures in metrics.by_scenario(predictions, result.scenarios).items():
        for name in TESTED:
            column = f"{scenario}_{name}"
            line |= {
                column: figures[name]["mean"],
                f"{column}_deviation": figures[name]["deviation"],
            }
    return line


def _published_columns(figures: Iterable[Mapping[str, float]]) -> list[str]:
    """Figures that were published of any row, and those that the report always shows."""
    names = dict.fromkeys(name + end for name in TESTED for end in ("", "_deviation"))
    for row in figures:
        names |= dict.fromkeys(row)
    return list(names)


def _hops(found: Mapping[str, Result], reference: str) -> dict[int, str]:
    """See :class:`Table`."""

    def rest(key: str) -> dict[str, Any]:
        record = found[key].record
        return {**record["model"], "hops": None, "train": record["train"]}

    same = [key for key in found if rest(key) == rest(reference)]
    # last, so that of two with as many hops it is the one
    by_hops = {found[key].record["model"]["hops"]: key for key in [*same, reference]}
    return dict(sorted(by_hops.items()))
