"""The page of a run: gathers numbers and figures, fills the template, writes plots beside it."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from matplotlib.figure import Figure

from pipeline import InputError, params
from pipeline.evaluation import attention, calibration, metrics, prediction
from pipeline.models.classifier import Classifier
from pipeline.report import drawing, facts, figures, looks
from pipeline.store import FeatureStore
from pipeline.system.filesystem import write_csv, write_text

_BINS = 10  # of the reliability curve

_TOLD = ["utterance", "speaker", "true", "predicted", "probability", "probability_true"]

Summary = dict[str, dict[str, float]]


def curves(folder: Path) -> pd.DataFrame:
    """DVCLive's curves of all models: a row a validation.

    Columns: fold, with several seeds seed, epoch, and one a figure.

    Raises
    ------
    InputError
        If there are none.
    """
    tables = []
    for run in folder.glob("fold-*"):
        fold, seed = prediction.fold_and_seed(run.name)
        metrics = run / "plots" / "metrics"
        columns = {
            path.relative_to(metrics).with_suffix("").as_posix(): pd.read_csv(path, sep="\t").iloc[
                :, -1
            ]
            for path in sorted(metrics.rglob("*.tsv"))
        }
        table = pd.DataFrame(columns)
        table.insert(0, "epoch", table.pop("epoch"))
        if seed is not None:
            table.insert(0, "seed", seed)
        table.insert(0, "fold", fold)
        tables.append(table)
    if not tables:
        raise InputError(
            f"{folder}: holds no learning curves that can be read; `dvc checkout` brings those of "
            "the models back, `dvc repro --force --single-item train` makes them"
        )
    order = ["fold", "seed"] if "seed" in tables[0] else ["fold"]
    return pd.concat(tables).sort_values(order, kind="stable", ignore_index=True)


def write(
    store: FeatureStore,
    models: Path,
    training: Path,
    predictions: pd.DataFrame,
    results: Path,
    *,
    missing: dict[str, Summary],
    scenarios: dict[str, Summary],
    looked: Path,
    comparison: Path,
    media: Path | None,
    hardest: int,
) -> Summary:
    """Write plots and report of a run into `results`; return the figures' mean and deviation.

    Parameters
    ----------
    store
        The feature store.
    models, training
        What the stage `train` wrote: models with folds and parameters, and DVCLive's curves.
    predictions
        Of all folds' test parts, from :func:`pipeline.evaluation.prediction.test_folds`.
    results
        Folder; gets ``plots/`` and ``report.html``.
    missing, scenarios
        From :func:`pipeline.evaluation.prediction.missing` and
        :func:`pipeline.evaluation.metrics.by_scenario`.
    looked
        The file of :func:`pipeline.evaluation.attention.write`.
    comparison
        The table of :mod:`pipeline.comparison`; shown if it is of the store's corpus.
    media
        The corpus's folder, for waveforms and frames; None to leave them out.
    hardest
        How many of the utterances that the models were most wrong about are shown.
    """
    figures.style()
    plots = results / "plots"
    parameters = json.loads((models / "parameters.json").read_text(encoding="utf-8"))
    corpus, classes, table = store.corpus, parameters["classes"], store.utterances
    assigned = pd.read_csv(models / "folds.csv", keep_default_na=False)
    emotions = assigned.drop_duplicates("utterance").set_index("utterance")["emotion"]
    rows = facts.comparison(comparison, store)
    tables = _tables(store, training, predictions, classes, missing=missing, looked=looked)
    summary = metrics.summary(tables["folds"])
    typical = _median(predictions, classes)
    wrong = prediction.hardest(predictions, hardest)
    examples = _examples(store, models, predictions, [*typical, *wrong], plots=plots, media=media)
    tables["examples"] = pd.DataFrame(
        [{key: one[key] for key in _TOLD} for one in examples.values()], columns=_TOLD
    )
    for name, rows_of in tables.items():
        write_csv(plots / f"{name}.csv", rows_of.round(6))
    drawn = _drawn(predictions, classes, tables, rows["table"])
    for name, figure in drawn.items():
        figures.save(figure, plots / f"{name}.png")
    page = _template().render(
        corpus=corpus,
        model_name=parameters["label"],
        modalities=" + ".join(parameters["model"]["modalities"]),
        protocol=facts.protocol(parameters["split"], assigned, table, store.description.group)
        + facts.targets(parameters["train"]),
        classes=classes,
        group=store.description.group,
        summary=summary,
        missing=missing,
        scenarios=scenarios,
        caution=store.description.caution,
        chosen=parameters["labels"]["scenarios"],
        definitions=metrics.METRICS,
        seeds=parameters["train"]["seeds"],
        majority=facts.majority(predictions),
        counts=facts.counts(table, emotions),
        left_out=facts.left_out(table, emotions, parameters["labels"]["scenarios"]),
        corpus_rows=facts.corpus_rows(emotions, table, classes),
        comparison={**rows, "rows": rows["table"].to_dict("records")},
        streams=facts.streams(store, parameters["model"]),
        parameter_counts=parameters["parameters"],
        ece=calibration.expected_calibration_error(tables["calibration"]),
        bins=_BINS,
        tables={name: rows_of.to_dict("records") for name, rows_of in tables.items()},
        images={name: figures.embed(plots / f"{name}.png") for name in drawn},
        typical=[examples[name] for name in typical],
        hardest=[examples[name] for name in wrong],
        lacking=sum(example["lacking"] for example in examples.values()),
        shown=len(examples),
        media=media is not None,
        parameters=params.as_yaml(parameters),
        extractors=json.dumps(facts.provenance(store), indent=2, sort_keys=True),
    )
    write_text(results / "report.html", page)
    return summary


def _tables(
    store: FeatureStore,
    training: Path,
    predictions: pd.DataFrame,
    classes: list[str],
    *,
    missing: dict[str, Summary],
    looked: Path,
) -> dict[str, pd.DataFrame]:
    """The numbers of the page, by the name of their CSV."""
    without = [
        {"test_utterances": key, "figure": name, **figure}
        for key, figures_of in missing.items()
        for name, figure in figures_of.items()
    ]
    # by name, so that the table has a head even for one modality, of which nothing is taken
    columns = list(
        dict.fromkeys(["test_utterances", "figure", "mean", "deviation", *chain(*without)])
    )
    return {
        "folds": metrics.by_fold(predictions),
        "classes": metrics.by_class(predictions, classes),
        "confusion": predictions[["true", "predicted"]].rename(columns={"true": "actual"}),
        "curves": curves(training),
        "calibration": calibration.calibration(predictions, _BINS),
        "missing": pd.DataFrame(without, columns=columns),
        "speakers": metrics.by_group(predictions, store.utterances, "speaker"),
        "groups": metrics.by_group(predictions, store.utterances, "group"),
        "scenarios": metrics.by_group(predictions, store.utterances, "scenario"),
        "attention": attention.statistics(looked),
        "profile": attention.profile(looked),
    }


def _drawn(
    predictions: pd.DataFrame,
    classes: list[str],
    tables: dict[str, pd.DataFrame],
    comparison: pd.DataFrame,
) -> dict[str, Figure]:
    """The figures of the page, by name."""
    drawn = {
        "curves": figures.curves(tables["curves"]),
        "confusion": figures.confusion(metrics.confusion(predictions, classes), classes),
        "calibration": figures.calibration(tables["calibration"]),
    }
    if len(tables["attention"]):
        drawn["attention"] = figures.attention(tables["attention"], tables["profile"], classes)
    if len(comparison):
        drawn["comparison"] = figures.comparison(comparison)
    return drawn


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _median(predictions: pd.DataFrame, classes: list[str]) -> list[str]:
    """Of each class the test utterance with the median probability of the true class."""
    chosen = []
    for name in classes:
        rows = predictions[predictions["true"] == name]
        means = rows.groupby("utterance")[f"p_{name}"].mean().sort_index()
        if len(means):
            chosen.append(str(means.sort_values(kind="stable").index[len(means) // 2]))
    return chosen


def _examples(
    store: FeatureStore,
    models: Path,
    predictions: pd.DataFrame,
    utterances: list[str],
    *,
    plots: Path,
    media: Path | None,
) -> dict[str, dict[str, Any]]:
    """What the template says of some test utterances, with a figure each in `plots`."""
    seed = predictions["seed"].min()  # whose attention is in the file of attention too
    trained = {model.fold: model for model in prediction.models(models) if model.seed == seed}
    rows = predictions[predictions["seed"] == seed].drop_duplicates("utterance")
    rows = rows.set_index("utterance")
    found: dict[str, dict[str, Any]] = {}
    for fold, chosen in rows.loc[list(dict.fromkeys(utterances))].groupby("fold"):
        classifier = Classifier.load(trained[int(str(fold))].path)
        dataset = classifier.dataset(store)
        for name in chosen.index:
            hops = attention.of_utterance(classifier, dataset, store.row_of[name])
            seen = looks.look(
                store, classifier, dataset, store.row_of[name], hops=hops, media=media
            )
            path = plots / f"attention-{name}.png"
            figure = drawing.figure(seen)
            if figure is not None:
                figures.save(figure, path, dpi=100)
            about, row = store.utterances.iloc[store.row_of[name]], rows.loc[name]
            found[name] = {
                "utterance": name,
                "speaker": about["speaker"],
                "text": about.get("text", ""),
                "true": row["true"],
                "predicted": row["predicted"],
                "probability": row[f"p_{row['predicted']}"],
                "probability_true": row[f"p_{row['true']}"],
                "image": figures.embed(path) if figure is not None else None,
                "lacking": seen.lacking,
            }
    return found
