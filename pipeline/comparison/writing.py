"""The comparison as CSV, Markdown and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.comparison.table import TESTED, Table
from pipeline.evaluation import metrics, significance
from pipeline.report import figures
from pipeline.system.filesystem import write_csv, write_text

_SHORT = {
    "weighted_accuracy": "WA",
    "unweighted_accuracy": "UA",
    "precision_weighted": "precision, weighted",
    "precision_macro": "precision, macro",
    "f1_weighted": "F1, weighted",
    "f1_macro": "F1, macro",
}
_OURS: dict[str, Any] = {"color": figures.COLOURS["audio"], "label": "ours"}
_PUBLISHED: dict[str, Any] = {
    "color": figures.COLOURS["text"],
    "mfc": "white",
    "label": "published (IEMOCAP)",
}
_BARS: dict[str, Any] = {"fmt": "o", "ms": 5, "elinewidth": 1}


def write(table: Table, folder: Path) -> None:
    """Write ``comparison.csv``, ``.md`` and ``.png``; ``hops.png`` where rows differ by hops only.

    Where none do, a ``hops.png`` that is there is removed: it is of another comparison.
    """
    write_csv(folder / "comparison.csv", table.rows)
    write_text(folder / "comparison.md", markdown(table))
    with mpl.rc_context():
        figures.style()
        labels = [f"{_name(row)}  {row['modalities']}" for _, row in table.rows.iterrows()]
        figures.save(figures.comparison(table.rows, labels), folder / "comparison.png")
        if len(table.hops) > 1:
            figures.save(hops(table), folder / "hops.png")
        else:
            (folder / "hops.png").unlink(missing_ok=True)


def markdown(table: Table) -> str:
    """The table as a page, with what is needed to read it."""
    rows = table.rows
    tested = rows["p"].notna() if "p" in rows else pd.Series(False, index=rows.index)
    reference = rows[~tested].iloc[0]
    fewest, seeds = int(rows["seeds"].min()), int(rows["seeds"].max())
    counted = f"{seeds} {'seeds' if seeds > 1 else 'seed'}"
    if fewest < seeds:
        counted = f"{fewest} to {counted}"
    over_seeds = ", of means over seeds; results/comparison.csv has those over seeds too"
    parts = [
        "# Comparison of models",
        f"Corpus `{reference['corpus']}`, feature store `{reference['store'][:12]}`; "
        f"{reference['utterances']:,} test utterances of {len(table.classes)} classes "
        f"({', '.join(table.classes)}); split protocol {reference['protocol']}, "
        f"{reference['folds']} folds, {counted}. Figures are mean ± deviation "
        f"over folds{over_seeds if seeds > 1 else ''}. Published figures are those of IEMOCAP.",
        "## Accuracy, ours beside published",
        _accuracies(rows, reference),
        _notes(reference, int(tested.sum())),
        "![Accuracies of all models](comparison.png)",
    ]
    if len(table.hops) > 1:
        parts.append("![Accuracies by number of hops](hops.png)")
    parts += [
        "## All six figures",
        "\n".join(
            f"- {_SHORT[name]}: {text.removesuffix(f' ({_SHORT[name]})')}"
            for name, text in metrics.METRICS.items()
        ),
        _all_figures(rows),
    ]
    if table.scenarios:
        parts += ["## Scenarios apart", _by_scenario(rows, table.scenarios)]
    published = [name for name in _SHORT if f"published_{name}" in rows]
    some = rows[rows[[f"published_{name}" for name in published]].notna().any(axis=1)]
    if len(some):
        parts += ["## Published, on IEMOCAP", _published(some, published)]
    return "\n\n".join(parts) + "\n"


def _accuracies(rows: pd.DataFrame, reference: pd.Series) -> str:
    header = ["model", "modalities", "parameters", "WA", "UA", "published WA", "published UA"]
    for name in TESTED:
        header += [f"{_SHORT[name]} to {_name(reference)} (95 %)", "p (Holm)"]
    lines = []
    for _, row in rows.iterrows():
        line = [_name(row), row["modalities"], f"{row['parameters']:,}"]
        line += [_figure(row, name) for name in TESTED]
        line += [_figure(row, f"published_{name}") for name in TESTED]
        for end in TESTED.values():
            if pd.isna(row.get(f"p{end}")):
                line += ["", ""]
                continue
            low, high = row[f"low{end}"], row[f"high{end}"]
            line.append(f"{row[f'difference{end}']:+.3f} ({low:+.3f} to {high:+.3f})")
            line.append(_p(row[f"p_holm{end}"]))
        lines.append(line)
    return _table(header, lines)


def _notes(reference: pd.Series, tests: int) -> str:
    name = _name(reference)
    return (
        f"Differences to {name} are of all test utterances taken together, so they can differ a "
        "little from those of the means over folds. p is that of a two-sided paired permutation "
        "test, which changes the sign of utterances' differences at random "
        f"{significance.RESAMPLES:,} times, adjusted after Holm for {tests} tests of the same "
        "figure; the interval, not adjusted, is that of a paired bootstrap. Both take utterances "
        "as independent, which those of one speaker or dialog are not quite, and neither knows "
        "that a model trained from another seed would differ: a p just below 0.05 is weak evidence."
    )


def _all_figures(rows: pd.DataFrame) -> str:
    lines = [
        [_name(row), row["modalities"], *(_figure(row, name) for name in _SHORT)]
        for _, row in rows.iterrows()
    ]
    return _table(["model", "modalities", *_SHORT.values()], lines)


def _by_scenario(rows: pd.DataFrame, scenarios: Sequence[str]) -> str:
    columns = [(scenario, name) for scenario in scenarios for name in TESTED]
    lines = [
        [
            _name(row),
            row["modalities"],
            *(_figure(row, f"{scenario}_{name}") for scenario, name in columns),
        ]
        for _, row in rows.iterrows()
    ]
    heads = [f"{scenario} {_SHORT[name]}" for scenario, name in columns]
    return _table(["model", "modalities", *heads], lines)


def _published(rows: pd.DataFrame, names: list[str]) -> str:
    lines = [
        [_name(row), row["modalities"], *(_figure(row, f"published_{name}") for name in names)]
        for _, row in rows.iterrows()
    ]
    return _table(["model", "modalities", *(_SHORT[name] for name in names)], lines)


def _name(row: pd.Series) -> str:
    """The model's name, and the row's where that tells more."""
    model, letters = row["model"].lower(), row["modalities"].replace("+", "").lower()
    usual = model, f"{model}-{letters}", f"{model.partition('-')[0]}-{letters}"
    return row["model"] if row["key"].lower() in usual else f"{row['model']} ({row['key']})"


def _figure(row: pd.Series, name: str) -> str:
    if pd.isna(row[name]):
        return ""
    deviation = row.get(f"{name}_deviation")
    return f"{row[name]:.3f}" + ("" if pd.isna(deviation) else f" ± {deviation:.3f}")


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _table(header: list[str], lines: list[list[str]]) -> str:
    """A Markdown table; all but the first two columns to the right."""
    rule = ["---", "---", *["---:"] * (len(header) - 2)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])


def hops(table: Table) -> Figure:
    """WA and UA by the number of hops."""
    rows = table.rows.set_index("key").loc[list(table.hops.values())]
    places = np.array(list(table.hops))
    drawn = Figure(figsize=(9.5, 2.8), layout="constrained")
    for axes, name in zip(drawn.subplots(1, 2), TESTED, strict=True):
        axes.plot(places, rows[name], lw=1, color=_OURS["color"])
        _points(axes, rows, name, places, places + 0.12)
        axes.set(title=f"{_SHORT[name]}, mean ± deviation over folds", xlabel="hops")
        axes.set_xticks(places)
        axes.grid(axis="y", lw=0.4)
    _legend(drawn)
    return drawn


def _points(
    axes: Axes, rows: pd.DataFrame, name: str, ours: np.ndarray, theirs: np.ndarray
) -> None:
    """Points with error bars of a figure, ours and the published ones at their places."""
    for prefix, places, look in (("", ours, _OURS), ("published_", theirs, _PUBLISHED)):
        values = rows[prefix + name].to_numpy(dtype=float)
        deviations = rows[f"{prefix}{name}_deviation"].to_numpy(dtype=float)
        there = ~np.isnan(values)
        if there.any():
            spread = np.nan_to_num(deviations[there])
            axes.errorbar(places[there], values[there], yerr=spread, **_BARS, **look)


def _legend(drawn: Figure) -> None:
    handles, labels = drawn.axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
