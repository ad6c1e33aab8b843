"""Figures of a run: learning curves, confusion, calibration, attention over the corpus."""

from __future__ import annotations

import base64
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

COLOURS = {"audio": "#2f6db5", "text": "#d67326", "video": "#3a8f5c"}
INK = "#1d2733"
QUIET = "#9aa7b4"

_CURVES = {
    "train/loss": "training loss",
    "development/loss": "development loss",
    "development/weighted_accuracy": "development weighted accuracy",
}
_METADATA = {"Software": None}  # no version string in PNG files


def style() -> None:
    """Set fonts and axes for all figures."""
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})


def save(figure: Figure, path: Path, dpi: int = 130) -> None:
    """Write a PNG whose bytes depend on the figure only."""
    figure.savefig(path, dpi=dpi, bbox_inches="tight", metadata=_METADATA)


def embed(path: Path) -> str:
    """A PNG file as a data URL."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def shade(position: int, count: int) -> float:
    """Opacity of one of several hops, the later the darker."""
    return 1.0 - 0.65 * (count - 1 - position) / max(count - 1, 1)


def curves(lines: pd.DataFrame) -> Figure:
    """Loss and accuracy by epoch: a line a model, a colour a fold."""
    figure = Figure(figsize=(10, 2.8), layout="constrained")
    for axes, (column, title) in zip(figure.subplots(1, 3), _CURVES.items(), strict=True):
        for number, (fold, rows) in enumerate(lines.groupby("fold")):
            runs = rows.groupby("seed") if "seed" in rows else [("", rows)]
            for first, (_, run) in enumerate(runs):
                label = None if first else f"fold {fold}"
                axes.plot(run["epoch"], run[column], lw=1, label=label, color=f"C{number % 10}")
        axes.set(title=title, xlabel="epoch")
    axes.set_ylim(0, 1)
    axes.legend(fontsize=7, frameon=False, ncols=2)
    return figure


def confusion(matrix: np.ndarray, classes: list[str]) -> Figure:
    """A [classes, classes] matrix of counts; colours are shares of the true class."""
    figure = Figure(figsize=(5, 4.2))
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
    return figure


def calibration(table: pd.DataFrame) -> Figure:
    """The reliability curve over the histogram of confidences."""
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    used = table[table["utterances"] > 0]
    upper.plot([0, 1], [0, 1], color=QUIET, lw=1, ls="--", label="perfectly calibrated")
    upper.plot(used["confidence"], used["accuracy"], marker="o", ms=4, label="this run")
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    upper.legend(fontsize=8, frameon=False)
    width = table["upper"] - table["lower"]
    lower.bar(table["lower"], table["utterances"], width, align="edge", color=QUIET, ec="white")
    lower.set(xlabel="confidence: probability of the predicted class", ylabel="utterances")
    return figure


def attention(statistics: pd.DataFrame, profile: pd.DataFrame) -> Figure:
    """Where the hops look: entropy and position by hop and emotion, and the mean profiles."""
    hops = statistics[["hop", "target"]].drop_duplicates()
    labels = [f"{hop} {target}" for hop, target in hops.itertuples(index=False)]
    figure = Figure(figsize=(10, 1.6 + 0.28 * len(hops)), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for axes, column, title in (
        (left, "entropy", "entropy (1: looks everywhere)"),
        (middle, "position", "position (0: start, 1: end)"),
    ):
        table = statistics.pivot_table(index="hop", columns="emotion", values=column)
        table = table[["all", *(name for name in table if name != "all")]]
        image = axes.imshow(table, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(table.columns)), table.columns, fontsize=8)
        axes.set_yticks(range(len(table.index)), [labels[hop - 1] for hop in table.index])
        axes.set(title=title)
        for row, column_number in np.ndindex(*table.shape):
            value = table.iloc[row, column_number]
            axes.text(
                column_number,
                row,
                f"{value:.2f}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if value < 0.5 else INK,
            )
        axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=middle, shrink=0.8)
    every = profile[profile["emotion"] == "all"]
    of_target = every.groupby("target")["hop"].unique()
    for hop, rows in every.groupby("hop"):
        target = str(rows["target"].iloc[0])
        position = of_target[target].tolist().index(hop)
        right.plot(
            (rows["bin"] + 0.5) / len(rows),
            rows["weight"],
            color=COLOURS[target],
            alpha=shade(position, len(of_target[target])),
            label=labels[int(hop) - 1],
        )
    right.set(title="attention by place in the utterance", xlabel="start to end", xlim=(0, 1))
    right.set_ylim(bottom=0)
    right.legend(fontsize=7, frameon=False)
    return figure
