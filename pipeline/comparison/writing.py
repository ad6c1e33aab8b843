"""Write the comparison as CSV, Markdown and figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
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
_OURS = figures.COLOURS["audio"]
_POINTS: dict[str, dict[str, Any]] = {  # by prefix of the columns
    "": {"color": _OURS, "label": "ours"},
    "published_": {
        "color": figures.COLOURS["text"],
        "mfc": "white",
        "label": "published (IEMOCAP)",
    },
}


def write(table: Table, folder: Path) -> None:
    """Write ``comparison.csv``, ``.md`` and ``.png``, and ``hops.png`` if rows differ in hops only.

    Otherwise an existing ``hops.png`` is deleted, since it is of another comparison.
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
    """The table as a Markdown page, with notes on how to read it."""
    rows = table.rows
    tested = rows["p"].notna() if "p" in rows else pd.Series(False, index=rows.index)
    reference = rows[~tested].iloc[0]
    fewest, seeds = int(rows["seeds"].min()), int(rows["seeds"].max())
    counted = f"{seeds} {'seeds' if seeds > 1 else 'seed'}"
    if fewest < seeds:
        counted = f"{fewest} to {counted}"
    over_seeds = ", after averaging over seeds; results/comparison.csv has those over seeds too"
    parts = [
        "# Comparison of models",
        f"Corpus `{reference['corpus']}`, feature store `{reference['store'][:12]}`; "
        f"{reference['utterances']:,} test utterances of {len(table.classes)} classes "
        f"({', '.join(table.classes)}); split protocol {reference['protocol']}, "
        f"{reference['folds']} folds, {counted}. Figures are mean ± standard "
        f"deviation over folds{over_seeds if seeds > 1 else ''}. "
        "Published figures are for IEMOCAP.",
        "## Accuracy, ours and published",
        _accuracies(rows, reference),
        _notes(reference, int(tested.sum())),
        "![Accuracies of all models](comparison.png)",
    ]
    if table.left_out:
        keys: dict[str, list[str]] = {}
        for key, reason in table.left_out.items():
            keys.setdefault(reason, []).append(key)
        lines = [f"- {', '.join(own)}: {reason}" for reason, own in keys.items()]
        parts.insert(-1, "Left out:\n\n" + "\n".join(lines))
    if len(table.hops) > 1:
        parts.append("![Accuracies by number of hops](hops.png)")
    parts += [
        "## All six metrics",
        "\n".join(
            f"- {_SHORT[name]}: {text.removesuffix(f' ({_SHORT[name]})')}"
            for name, text in metrics.METRICS.items()
        ),
        _figures(rows, _SHORT),
    ]
    if table.scenarios:
        columns = {
            f"{scenario}_{name}": f"{scenario} {_SHORT[name]}"
            for scenario in table.scenarios
            for name in TESTED
        }
        parts += ["## By scenario", _figures(rows, columns)]
    published = {f"published_{name}": short for name, short in _SHORT.items()}
    published = {name: short for name, short in published.items() if name in rows}
    rows = rows.dropna(subset=list(published), how="all")
    if len(rows):
        parts += ["## Published, on IEMOCAP", _figures(rows, published)]
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
        for suffix in TESTED.values():
            if pd.isna(row.get(f"p{suffix}")):
                line += ["", ""]
                continue
            low, high = row[f"low{suffix}"], row[f"high{suffix}"]
            line.append(f"{row[f'difference{suffix}']:+.3f} ({low:+.3f} to {high:+.3f})")
            p = row[f"p_holm{suffix}"]
            line.append("< 0.001" if p < 0.001 else f"{p:.3f}")
        lines.append(line)
    return _table(header, lines)


def _notes(reference: pd.Series, tests: int) -> str:
    name = _name(reference)
    return (
        f"Differences to {name} are over all test utterances pooled, so they can differ slightly "
        "from the differences of the means over folds. p is from a two-sided paired permutation "
        "test, which flips the signs of the utterances' differences at random "
        f"({significance.RESAMPLES:,} resamples), with Holm's correction for {tests} tests of the "
        "same metric. The 95 % interval is from a paired bootstrap, without correction. Both treat "
        "utterances as independent, although those of one speaker or dialog are correlated, and "
        "ignore the variance between training seeds: a p just below 0.05 is weak evidence."
    )


def _figures(rows: pd.DataFrame, columns: Mapping[str, str]) -> str:
    """A Markdown table of mean and deviation; `columns` maps columns of `rows` to headers."""
    lines = [
        [_name(row), row["modalities"], *(_figure(row, name) for name in columns)]
        for _, row in rows.iterrows()
    ]
    return _table(["model", "modalities", *columns.values()], lines)


def _name(row: pd.Series) -> str:
    """The name of the model, and of the row if that says more."""
    model, letters = row["model"].lower(), row["modalities"].replace("+", "").lower()
    usual = model, f"{model}-{letters}", f"{model.partition('-')[0]}-{letters}"
    return row["model"] if row["key"].lower() in usual else f"{row['model']} ({row['key']})"


def _figure(row: pd.Series, name: str) -> str:
    if pd.isna(row[name]):
        return ""
    deviation = row.get(f"{name}_deviation")
    return f"{row[name]:.3f}" + ("" if pd.isna(deviation) else f" ± {deviation:.3f}")


def _table(header: list[str], lines: list[list[str]]) -> str:
    """A Markdown table; all columns but the first two are right-aligned."""
    rule = ["---", "---", *["---:"] * (len(header) - 2)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])


def hops(table: Table) -> Figure:
    """WA and UA by the number of hops."""
    rows = table.rows.set_index("key").loc[list(table.hops.values())]
    places = np.array(list(table.hops))
    figure = Figure(figsize=(9.5, 2.8), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), TESTED, strict=True):
        axes.plot(places, rows[name], lw=1, color=_OURS)
        for (prefix, style), shift in zip(_POINTS.items(), (0, 0.12), strict=True):
            values = rows[prefix + name].astype(float).to_numpy()
            deviations = rows[f"{prefix}{name}_deviation"].astype(float).to_numpy()
            known = ~np.isnan(values)
            if known.any():
                axes.errorbar(
                    places[known] + shift,
                    values[known],
                    yerr=np.nan_to_num(deviations[known]),
                    fmt="o",
                    ms=5,
                    elinewidth=1,
                    **style,
                )
        axes.set(title=f"{_SHORT[name]}, mean ± deviation over folds", xlabel="hops")
        axes.set_xticks(places)
        axes.grid(axis="y", lw=0.4)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure
