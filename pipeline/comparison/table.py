"""The table of the comparison: our figures, published figures and significance tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
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
"""The metrics that are tested for significance, with the suffix of their columns."""

_LETTERS = {"audio": "A", "text": "T", "video": "V"}


class ComparisonError(InputError):
    """Rows that are missing or not comparable; the message names the command to run."""


@dataclass(frozen=True)
class Result:
    """The outputs of one row.

    Attributes
    ----------
    record
        ``row.json`` of :func:`pipeline.comparison.rows.run`, where ``store`` is replaced by
        :func:`pipeline.store.identity.identity` of the store.
    predictions
        ``predictions.csv``.
    scenarios
        Scenario of each utterance; empty if the corpus has none.
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
        One row per model; docs/comparison.md lists the columns. Missing values are NaN.
    classes
        Names of the classes.
    scenarios
        Scenarios with columns of their own, such as ``improvised_weighted_accuracy``.
    hops
        By number of hops, the keys of the reference and of all rows that differ from it in the
        number of hops only.
    left_out
        By key, why a row is not in the table.
    """

    rows: pd.DataFrame
    classes: list[str]
    hops: dict[int, str]
    scenarios: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


def results(
    listed: rows.Rows, common: params.Params, folder: Path, store: Path
) -> dict[str, Result]:
    """Read the results of all rows, by key.

    Parameters
    ----------
    listed
        The rows.
    common
        The parameter file.
    folder
        Holds one folder per row.
    store
        The present feature store.

    Raises
    ------
    ComparisonError
        If a row has no result, its result is of other parameters or another store, or all rows are
        left out.
    StoreError
        If the store is missing or cannot be used.
    """
    read = {}
    for key in listed.overrides:
        if listed.left_out(key, common):
            continue
        settings = listed.settings(key, common)
        remedy = f"run `dvc repro comparison/dvc.yaml:row@{key}`, or `make table` for all"
        try:
            record = json.loads((folder / key / "row.json").read_text(encoding="utf-8"))
            predictions = pd.read_csv(folder / key / "predictions.csv", keep_default_na=False)
        except FileNotFoundError as error:
            raise ComparisonError(f"{error.filename}: is not there; {remedy}") from error
        for name, value in rows.description(key, settings).items():
            if record.get(name) != value:
                raise ComparisonError(
                    f"{folder / key}: was made with {name} {record.get(name)}, which is now "
                    f"{value}; {remedy}"
                )
        read[key] = record, predictions
    if not read:
        raise ComparisonError(f"{listed.path}: no row can be trained on this corpus; add one")
    with FeatureStore(store) as opened:
        origin, sha256, scenarios = identity(opened), opened.sha256, opened.scenarios
    for key, (record, _) in read.items():
        if record["store"] != sha256:
            raise ComparisonError(
                f"{folder / key}: was trained on another feature store than {store}; run `make "
                "table`, which trains such rows again"
            )
    return {
        key: Result({**record, "store": origin}, predictions, scenarios)
        for key, (record, predictions) in read.items()
    }


def published(path: Path, listed: rows.Rows) -> dict[str, dict[str, float]]:
    """Read the published figures by row, without rows that are not listed.

    Raises
    ------
    ComparisonError
        If the file cannot be read, or has columns other than ``row``, the metrics of
        :data:`pipeline.evaluation.metrics.METRICS` and their ``_deviation``.
    """
    try:
        table = pd.read_csv(path, comment="#", index_col="row")
    except (OSError, ValueError) as error:
        raise ComparisonError(f"{path}: cannot be read: {error}") from error
    columns = {name + suffix for name in metrics.METRICS for suffix in ("", "_deviation")}
    if unknown := sorted({str(name) for name in table} - columns):
        raise ComparisonError(
            f"{path}: column {unknown[0]} is no metric; known are {', '.join(sorted(columns))}"
        )
    return {
        str(key): {str(name): float(value) for name, value in row.dropna().items()}
        for key, row in table.iterrows()
        if key in listed.overrides
    }


def build(
    results: Mapping[str, Result],
    references: Sequence[str],
    figures: Mapping[str, Mapping[str, float]],
    left_out: Mapping[str, str] | None = None,
) -> Table:
    """Build the table.

    Parameters
    ----------
    results
        From :func:`results`.
    references
        All rows are compared with the first of these that has a result, or else with the last row.
    figures
        From :func:`published`.
    left_out
        Why rows have no result, by key.

    Raises
    ------
    ComparisonError
        If two rows were not tested on the same utterances.
    """
    reference = next((key for key in references if key in results), list(results)[-1])
    first = results[reference]
    tests = {key: differences(result, first) for key, result in results.items() if key != reference}
    adjusted = {
        name: dict(
            zip(tests, significance.holm([test[name].p for test in tests.values()]), strict=True)
        )
        for name in TESTED
    }
    # the accuracies always have columns, which the report needs
    accuracies = [name + suffix for name in TESTED for suffix in ("", "_deviation")]
    names = dict.fromkeys([*accuracies, *chain.from_iterable(figures.values())])
    lines = []
    for key, result in results.items():
        line = _figures(key, result)
        line |= {f"published_{name}": figures.get(key, {}).get(name) for name in names}
        for name, test in tests.get(key, {}).items():
            suffix = TESTED[name]
            line |= {
                f"difference{suffix}": round(test.value, 6),
                f"low{suffix}": round(test.low, 6),
                f"high{suffix}": round(test.high, 6),
                f"p{suffix}": round(test.p, 6),
                f"p_holm{suffix}": round(adjusted[name][key], 6),
            }
        lines.append(line)
    scenarios = tuple(metrics.by_scenario(first.predictions, first.scenarios))
    return Table(
        pd.DataFrame(lines),
        first.record["classes"],
        _hops(results, reference),
        scenarios,
        left_out or {},
    )


def differences(result: Result, other: Result) -> dict[str, significance.Difference]:
    """Test `result` against `other` over all test utterances, by metric of :data:`TESTED`.

    The correctness of an utterance is averaged over the seeds.
    """
    ours, theirs = _correctness(result.predictions), _correctness(other.predictions)
    if not ours.index.equals(theirs.index):
        raise ComparisonError(
            f"rows {result.record['key']} and {other.record['key']} were tested on different "
            "utterances, so they cannot be compared; run `make table`"
        )
    change = (ours["right"] - theirs["right"]).to_numpy()
    one_class = np.zeros(len(change))
    return {
        "weighted_accuracy": significance.paired(change, one_class),
        "unweighted_accuracy": significance.paired(change, ours["true"].to_numpy()),
    }


def _correctness(predictions: pd.DataFrame) -> pd.DataFrame:
    """By utterance: the true class, and the share of seeds that predict it."""
    right = predictions["true"] == predictions["predicted"]
    by_utterance = predictions.assign(right=right).groupby("utterance")
    return by_utterance.agg(true=("true", "first"), right=("right", "mean"))


def _figures(key: str, result: Result) -> dict[str, Any]:
    """The columns of a row that do not depend on other rows."""
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
        line |= {f"{name}_{kind}": value for kind, value in figure.items() if kind != "mean"}
    for scenario, figures in metrics.by_scenario(predictions, result.scenarios).items():
        for name in TESTED:
            line[f"{scenario}_{name}"] = figures[name]["mean"]
            line[f"{scenario}_{name}_deviation"] = figures[name]["deviation"]
    return line


def _hops(results: Mapping[str, Result], reference: str) -> dict[int, str]:
    """See :class:`Table`."""

    def without_hops(key: str) -> dict[str, Any]:
        record = results[key].record
        return {**record["model"], "hops": None, "train": record["train"]}

    same = [key for key in results if without_hops(key) == without_hops(reference)]
    # the reference comes last, so that it wins over another row with as many hops
    by_hops = {results[key].record["model"]["hops"]: key for key in [*same, reference]}
    return dict(sorted(by_hops.items()))
