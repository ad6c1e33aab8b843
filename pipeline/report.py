"""The report of a run: figures as PNG and CSV, and one self-contained HTML page."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
import yaml
from matplotlib.figure import Figure

from pipeline import evaluation
from pipeline.batches import Examples
from pipeline.models.classifier import Classifier
from pipeline.store import FeatureStore

COLOURS = {"audio": "#2f6db5", "text": "#d67326", "video": "#3a8f5c"}

_CURVES = {
    "train/loss": "training loss",
    "development/loss": "development loss",
    "development/weighted_accuracy": "development weighted accuracy",
}
_METADATA = {"Software": None}  # no version string in PNG files


def curves(folder: Path) -> pd.DataFrame:
    """DVCLive's curves of all folds: a row a validation; fold, epoch, and a column a figure."""
    tables = []
    for fold in sorted(folder.glob("fold-*"), key=lambda path: int(path.name.split("-")[1])):
        metrics = fold / "plots" / "metrics"
        columns = {
            str(path.relative_to(metrics).with_suffix("")): pd.read_csv(path, sep="\t").iloc[:, -1]
            for path in sorted(metrics.rglob("*.tsv"))
        }
        table = pd.DataFrame(columns)
        table.insert(0, "epoch", table.pop("epoch"))
        table.insert(0, "fold", int(fold.name.split("-")[1]))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def write(
    store: FeatureStore, models: Path, training: Path, predictions: pd.DataFrame, results: Path
) -> dict[str, dict[str, float]]:
    """Write plots and report of a run into `results`; return the figures' mean and deviation.

    Parameters
    ----------
    store
        The feature store.
    models, training
        What the stage `train` wrote: models with folds and parameters, and DVCLive's curves.
    predictions
        Of all folds' test parts, from :func:`pipeline.evaluation.test_folds`.
    results
        Folder; gets ``plots/`` and ``report.html``.
    """
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    plots = results / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    parameters = json.loads((models / "parameters.json").read_text(encoding="utf-8"))
    classes = parameters["classes"]
    folds = evaluation.by_fold(predictions)
    by_class = evaluation.by_class(predictions, classes)
    lines = curves(training)
    matrix = evaluation.confusion(predictions, classes)
    summary = evaluation.summary(folds)

    folds.round(6).to_csv(plots / "folds.csv", index=False)
    by_class.to_csv(plots / "classes.csv", index=False)
    lines.round(6).to_csv(plots / "curves.csv", index=False)
    pairs = predictions[["true", "predicted"]].rename(columns={"true": "actual"})
    pairs.to_csv(plots / "confusion.csv", index=False)
    _save(_curves_figure(lines), plots / "curves.png")
    _save(_confusion_figure(matrix, classes), plots / "confusion.png")

    emotions = _classes_of(store, models)
    page = _template().render(
        corpus=store.file.attrs["corpus"],
        model_name=_model_name(parameters["model"]),
        modalities=" + ".join(parameters["model"]["modalities"]),
        protocol=_protocol(parameters["split"], _folds_of(store, models))
        + _targets(parameters["train"]),
        classes=classes,
        summary=summary,
        definitions=evaluation.METRICS,
        folds=folds.to_dict("records"),
        by_class=by_class.to_dict("records"),
        majority=_majority(predictions),
        counts=_counts(store.utterances, emotions),
        left_out=_left_out(store.utterances, emotions),
        corpus_rows=_corpus_rows(emotions, store.utterances, classes),
        streams=_streams(store, parameters["model"]),
        parameters_count=f"{_trained_parameters(models):,}",
        images={name: _embed(plots / f"{name}.png") for name in ("curves", "confusion")},
        examples=[_example(store, models, row, plots) for row in _chosen(predictions, classes)],
        parameters=yaml.safe_dump(parameters, sort_keys=False, width=100),
        extractors=json.dumps(json.loads(store.file.attrs["extractors"]), indent=2, sort_keys=True),
    )
    (results / "report.html").write_text(page, encoding="utf-8")
    return summary


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.j2")


# --- numbers -------------------------------------------------------------------------------------


def _classes_of(store: FeatureStore, models: Path) -> pd.Series:
    """The class of each labelled utterance, by id."""
    table = pd.read_csv(models / "folds.csv", keep_default_na=False)
    return table.drop_duplicates("utterance").set_index("utterance")["emotion"]


def _model_name(model: dict[str, Any]) -> str:
    return f"{model['name'].upper()}-{model['hops']}"


def _folds_of(store: FeatureStore, models: Path) -> pd.DataFrame:
    """Fold, part and speaker of each utterance in each fold."""
    table = pd.read_csv(models / "folds.csv", keep_default_na=False)
    return table.merge(store.utterances[["utterance", "speaker"]], on="utterance")


def _protocol(split: dict[str, Any], folds: pd.DataFrame) -> str:
    """How utterances were divided, and whether speakers really are kept apart."""
    name = {
        "session": "leave one session out",
        "speaker": "one speaker tests, the other of the session develops",
        "random": "random, stratified",
        "file": f"the list splits/{split['list']}.csv",
    }[split["protocol"]]
    shared = (folds.groupby(["fold", "speaker"])["part"].nunique() > 1).any()
    speakers = (
        "speakers are shared between parts, which flatters the figures"
        if shared
        else "no speaker is in two parts of a fold"
    )
    return f"{name}; {folds['fold'].nunique()} folds: {speakers}"


def _targets(train: dict[str, Any]) -> str:
    if train["targets"] == "votes":
        return " · trained towards the raters' votes, evaluated against their majority"
    return ""


def _majority(predictions: pd.DataFrame) -> dict[str, Any]:
    counts = predictions["true"].value_counts().sort_index(kind="stable")
    return {"name": counts.idxmax(), "share": counts.max() / counts.sum()}


def _counts(table: pd.DataFrame, emotions: pd.Series) -> dict[str, Any]:
    return {
        "utterances": len(table),
        "labelled": len(emotions),
        "dialogs": table["dialog"].nunique(),
        "sessions": table["session"].nunique(),
        "speakers": table["speaker"].nunique(),
        "minutes": float((table["end"] - table["start"]).sum() / 60),
    }


def _left_out(table: pd.DataFrame, emotions: pd.Series) -> dict[str, int]:
    """Utterances without a class, by the release's code."""
    others = table[~table["utterance"].isin(emotions.index)]
    return {str(code): int(count) for code, count in others["emotion"].value_counts().items()}


def _corpus_rows(
    emotions: pd.Series, table: pd.DataFrame, classes: list[str]
) -> list[dict[str, Any]]:
    sessions = table.set_index("utterance")["session"].loc[emotions.index]
    counts = pd.crosstab(sessions, emotions).reindex(columns=classes, fill_value=0)
    rows = [{"name": str(name), "counts": row.tolist()} for name, row in counts.iterrows()]
    return [*rows, {"name": "all", "counts": counts.sum().tolist()}]


def _streams(store: FeatureStore, model: dict[str, Any]) -> list[dict[str, Any]]:
    read_by = {model["streams"][name]: name for name in model["modalities"]}
    rows = []
    for name in store.streams:
        stream = store.stream(name)
        n = stream.lengths if stream.is_sequence else None
        rows.append(
            {
                "name": name,
                "width": stream.width,
                "steps": "one an utterance" if n is None else int(n.sum()),
                "mean": "" if n is None else f"{n.mean():.1f}",
                "empty": "" if n is None else int((n == 0).sum()),
                "modality": read_by.get(name, ""),
            }
        )
    return rows


def _trained_parameters(models: Path) -> int:
    classifier = Classifier.load(next(iter(evaluation.models(models).values())))
    return sum(value.numel() for value in classifier.parameters() if value.requires_grad)


# --- figures -------------------------------------------------------------------------------------


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=130, bbox_inches="tight", metadata=_METADATA)


def _embed(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _curves_figure(lines: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(10, 2.8))
    for axes, (column, title) in zip(figure.subplots(1, 3), _CURVES.items(), strict=True):
        for fold, rows in lines.groupby("fold"):
            axes.plot(rows["epoch"], rows[column], lw=1, label=f"fold {fold}")
        axes.set(title=title, xlabel="epoch")
    axes.set_ylim(0, 1)
    axes.legend(fontsize=7, frameon=False)
    return figure


def _confusion_figure(matrix: np.ndarray, classes: list[str]) -> Figure:
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
                color="white" if shares[row, column] > 0.5 else "#1d2733",
            )
    ticks = range(len(classes))
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_xticks(ticks, classes)
    axes.set_yticks(ticks, classes)
    axes.spines[:].set_visible(False)
    return figure


# --- attention -----------------------------------------------------------------------------------


def _chosen(predictions: pd.DataFrame, classes: list[str]) -> list[dict[str, Any]]:
    """Of each class the test utterance with the median probability of the true class."""
    chosen = []
    for name in classes:
        rows = predictions[predictions["true"] == name]
        if len(rows):
            ordered = rows.sort_values([f"p_{name}", "utterance"], kind="stable")
            middle = ordered.iloc[len(ordered) // 2]
            chosen.append({str(column): value for column, value in middle.items()})
    return chosen


@torch.inference_mode()
def attention(
    classifier: Classifier, examples: Examples, index: int
) -> list[tuple[str, np.ndarray]]:
    """For each hop its target and its weights [T] over the steps of one utterance."""
    batch = examples.batch([index])
    _, weights = classifier(batch.sequences, batch.lengths, attention=True)
    return [
        (target, hop[0, : examples.lengths[target][index]].numpy())
        for target, hop in zip(classifier.model.targets, weights, strict=True)
    ]


def _example(store: FeatureStore, models: Path, row: dict[str, Any], plots: Path) -> dict[str, Any]:
    classifier = Classifier.load(evaluation.models(models)[row["fold"]])
    examples = Examples(store, classifier.settings, classifier.max_steps)
    index = store.utterances["utterance"].tolist().index(row["utterance"])
    about = store.utterances.iloc[index]
    hops = attention(classifier, examples, index)

    path = plots / f"attention-{row['utterance']}.png"
    figure = _attention_figure(hops, _step_times(store, examples, index, about))
    if figure is not None:
        _save(figure, path)
    return {
        "utterance": row["utterance"],
        "speaker": about["speaker"],
        "text": about["text"],
        "true": row["true"],
        "predicted": row["predicted"],
        "probability": row[f"p_{row['predicted']}"],
        "words": _word_rows(hops, examples, index),
        "image": _embed(path) if figure is not None else None,
    }


def _word_rows(
    hops: list[tuple[str, np.ndarray]], examples: Examples, index: int
) -> list[dict[str, Any]]:
    """The tokens of each hop on text with their weights; shades run to the hop's largest."""
    words = examples.streams["text"].words(index) if "text" in examples.streams else None
    if not words:
        return []
    return [
        {
            "number": number,
            "tokens": [
                {"word": word, "weight": float(weight), "shade": float(weight / weights.max())}
                for word, weight in zip(words, weights, strict=False)  # the sequence may be cut
            ],
        }
        for number, (target, weights) in enumerate(hops, start=1)
        if target == "text"
    ]


def _step_times(
    store: FeatureStore, examples: Examples, index: int, about: pd.Series
) -> dict[str, np.ndarray]:
    """Seconds in the utterance of each step of audio and video."""
    times = {}
    if "video" in examples.streams and "times" in examples.streams["video"].group:
        times["video"] = examples.streams["video"].aligned("times", index) - about["start"]
    if "audio" in examples.streams:
        audio = json.loads(store.file.attrs["parameters"])["audio"]
        steps = examples.lengths["audio"][index]
        times["audio"] = np.arange(steps) * audio["step"] + audio["window"] / 2
    return times


def _attention_figure(
    hops: list[tuple[str, np.ndarray]], times: dict[str, np.ndarray]
) -> Figure | None:
    """A panel a timed modality: a curve over audio frames, a stem for each video frame, by hop."""
    panels = [name for name in ("audio", "video") if name in times and len(times[name])]
    if not panels:
        return None
    figure = Figure(figsize=(9, 1.6 * len(panels)), layout="constrained")
    rows = np.atleast_1d(figure.subplots(len(panels), 1, sharex=True))
    for axes, name in zip(rows, panels, strict=True):
        chosen = [(number, w) for number, (target, w) in enumerate(hops, 1) if target == name]
        for position, (number, weights) in enumerate(chosen):
            shade = 1.0 - 0.65 * (len(chosen) - 1 - position) / max(len(chosen) - 1, 1)
            style = {"marker": "o", "ms": 4} if name == "video" else {}
            axes.plot(
                times[name][: len(weights)],
                weights,
                lw=1.2,
                color=COLOURS[name],
                alpha=shade,
                label=f"hop {number}",
                **style,
            )
        axes.set_ylabel(name)
        axes.set_ylim(bottom=0)
        if chosen:
            axes.legend(fontsize=7, frameon=False, loc="upper right")
    rows[-1].set_xlabel("seconds in the utterance")
    return figure
