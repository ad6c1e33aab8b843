"""Figures of a run: learning curves, confusion, calibration, attention over the corpus."""

from __future__ import annotations

import base64
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.system.filesystem import replacing

COLOURS = {"audio": "#2f6db5", "text": "#d67326", "video": "#3a8f5c"}
INK = "#1d2733"
QUIET = "#9aa7b4"
ACCENT = COLOURS["audio"]

_CURVES = {
    "train/loss": "training loss",
    "development/loss": "development loss",
    "development/weighted_accuracy": "development weighted accuracy",
}
_METADATA = {"Software": None}  # no version string in PNG files


def style() -> None:
    """Set fonts and axes for all figures."""
    mpl.rcParams.update(
        {
            "font.size": 9,
            "axes.titlesize": 9.5,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
        }
    )


def save(figure: Figure, path: Path, dpi: int = 130) -> None:
    """Write a reproducible PNG: the same figure gives the same bytes."""
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=dpi, metadata=_METADATA)


def embed(path: Path) -> str:
    """Return a PNG file as a data URL."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def shade(position: int, count: int) -> float:
    """Return the opacity of one of `count` hops; later hops are darker."""
    return 1.0 - 0.65 * (count - 1 - position) / max(count - 1, 1)


def curves(lines: pd.DataFrame) -> Figure:
    """Loss and accuracy by epoch, or by strength C: one colour per fold, one line per seed."""
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    lines = lines if "seed" in lines else lines.assign(seed=0)
    over = "strength" if "strength" in lines else "epoch"
    drawn = {column: title for column, title in _CURVES.items() if column in lines}
    for axes, (column, title) in zip(figure.subplots(1, len(drawn)), drawn.items(), strict=True):
        for number, (fold, rows) in enumerate(lines.groupby("fold")):
            for first, (_, run) in enumerate(rows.groupby("seed")):
                label = None if first else f"fold {fold}"
                axes.plot(run[over], run[column], lw=1, label=label, color=f"C{number % 10}")
        axes.set(title=title, xlabel=over, xscale="log" if over == "strength" else "linear")
        axes.set_ylim(bottom=0)
    axes.set_ylim(0, 1)
    axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def confusion(matrix: np.ndarray, classes: list[str]) -> Figure:
    """Confusion matrix [classes, classes] of counts; colours show the share of the true class."""
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*matrix.shape):
        if matrix[row, column]:
            axes.text(
                column,
                row,
                f"{shares[row, column]:.2f}\n{matrix[row, column]}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if shares[row, column] > 0.5 else INK,
            )
    ticks = range(len(classes))
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_xticks(ticks, classes)
    axes.set_yticks(ticks, classes)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def calibration(table: pd.DataFrame) -> Figure:
    """Reliability diagram above a histogram of confidences."""
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    used = table[table["utterances"] > 0]
    upper.plot([0, 1], [0, 1], color=QUIET, lw=1, ls="--", label="perfectly calibrated")
    upper.plot(
        used["confidence"], used["accuracy"], marker="o", ms=4, color=ACCENT, label="these models"
    )
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    upper.legend(fontsize=8, frameon=False)
    width = table["upper"] - table["lower"]
    lower.bar(table["lower"], table["utterances"], width, align="edge", color=QUIET, ec="white")
    lower.set(xlabel="confidence: probability of the predicted class", ylabel="utterances")
    return figure


def positions(table: pd.DataFrame) -> Figure:
    """WA and UA by the position in the dialog, with the number of utterances."""
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(table))
    for name, colour in (("weighted_accuracy", ACCENT), ("unweighted_accuracy", QUIET)):
        axes.plot(places, table[name], "o-", ms=4, color=colour, label=name.replace("_", " "))
    labels = [f"{row.position}\n({row.utterances})" for row in table.itertuples()]
    axes.set_xticks(places, labels)
    axes.set(ylim=(0, 1), xlabel="position in the dialog (number of utterances)")
    axes.legend(fontsize=8, frameon=False)
    return figure


def comparison(rows: pd.DataFrame, labels: list[str] | None = None) -> Figure:
    """WA and UA of each row of the comparison, beside the published figures.

    `labels` name the rows; by default model and modalities do.
    """
    labels = labels or [f"{row.model} {row.modalities}" for row in rows.itertuples()]
    figure = Figure(figsize=(10, 1 + 0.26 * len(rows)), layout="constrained")
    places = np.arange(len(rows))
    for axes, name in zip(
        figure.subplots(1, 2, sharey=True),
        ("weighted_accuracy", "unweighted_accuracy"),
        strict=True,
    ):
        for prefix, shift, colour, label in (
            ("", -0.12, ACCENT, "ours"),
            ("published_", 0.12, QUIET, "published (IEMOCAP)"),
        ):
            means = pd.to_numeric(rows[prefix + name], errors="coerce")
            deviations = pd.to_numeric(rows[f"{prefix}{name}_deviation"], errors="coerce")
            axes.errorbar(
                means, places + shift, xerr=deviations, fmt="o", ms=4, color=colour, label=label
            )
        axes.set(title=name.replace("_", " "), ylim=(len(rows) - 0.5, -0.5))
        axes.grid(axis="x", lw=0.4, color=QUIET)
        axes.set_axisbelow(True)
    axes.set_yticks(places, labels)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=8)
    return figure


def attention(statistics: pd.DataFrame, profile: pd.DataFrame, classes: list[str]) -> Figure:
    """Attention: entropy and position by hop and emotion, and mean density over the utterance."""
    targets = statistics.drop_duplicates("hop").set_index("hop")["target"]
    figure = Figure(figsize=(10, 1.8 + 0.26 * len(targets)), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _heat(left, statistics, "entropy", classes, colours="Blues", limits=(0, 1.6))
    left.set_title("entropy (0: one step, 1: uniform)")
    _heat(middle, statistics, "position", classes, colours="PuOr", limits=(0, 1))
    middle.set_title("position (0: start, 1: end)")
    every = profile[profile["emotion"] == "all"]
    for hop, rows in every.groupby("hop"):
        same = [number for number, target in targets.items() if target == targets[hop]]
        right.plot(
            (rows["bin"] + 0.5) / len(rows),
            rows["weight"] * len(rows),
            color=COLOURS[targets[hop]],
            alpha=shade(same.index(hop), len(same)),
            label=f"{hop} {targets[hop]}",
        )
    right.axhline(1, color=QUIET, lw=0.8, ls="--")
    right.set(title="density (1: uniform)", xlabel="start to end", xlim=(0, 1))
    right.set_ylim(bottom=0)
    right.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _heat(
    axes: Axes,
    statistics: pd.DataFrame,
    column: str,
    classes: list[str],
    *,
    colours: str,
    limits: tuple[float, float],
) -> None:
    """Heat map of one attention statistic by hop and emotion."""
    table = statistics.pivot(index="hop", columns="emotion", values=column)
    table = table[[name for name in ("all", *classes) if name in table]]
    targets = statistics.drop_duplicates("hop").set_index("hop")["target"]
    axes.imshow(table, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    axes.set_xticks(range(len(table.columns)), table.columns, fontsize=8)
    axes.set_yticks(range(len(table)), [f"{hop} {targets[hop]}" for hop in table.index])
    axes.set_xlabel("emotion")
    axes.axvline(0.5, color="white", lw=3)
    for (row, place), value in np.ndenumerate(table.to_numpy()):
        if np.isfinite(value):  # it is not if no utterance of the emotion has two steps
            axes.text(place, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=INK)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
