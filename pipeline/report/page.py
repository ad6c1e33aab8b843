"""The report's page: collect tables and figures, fill the template, write the plots beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from matplotlib.figure import Figure

from pipeline import InputError, params
from pipeline.evaluation import attention, calibration, layers, metrics, prediction, trained
from pipeline.models.classifier import Classifier
from pipeline.report import drawing, examples, facts, figures
from pipeline.store import FeatureStore
from pipeline.store.dataset import standardisation
from pipeline.system.filesystem import write_csv, write_text

_BINS = 10  # of the reliability diagram
_EXAMPLE_COLUMNS = ["utterance", "speaker", "true", "predicted", "probability", "probability_true"]

Summary = dict[str, dict[str, float]]


def curves(folder: Path) -> pd.DataFrame:
    """Read DVCLive's learning curves of all models: one row per validation.

    Columns: ``fold``, ``seed`` if there are several, ``epoch``, and one per metric.

    Raises
    ------
    InputError
        If there are no curves.
    """
    tables = []
    for run in folder.glob("fold-*"):
        fold, seed = trained.fold_and_seed(run.name)
        plots = run / "plots" / "metrics"
        columns = {
            path.relative_to(plots).with_suffix("").as_posix(): pd.read_csv(path, sep="\t").iloc[
                :, -1
            ]
            for path in sorted(plots.rglob("*.tsv"))
        }
        model = {"fold": fold} if seed is None else {"fold": fold, "seed": seed}
        tables.append(pd.DataFrame({**model, "epoch": columns.pop("epoch"), **columns}))
    if not tables:
        raise InputError(
            f"{folder}: holds no learning curves; restore them with `dvc checkout`, or train again "
            "with `dvc repro --force --single-item train`"
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
    attention_file: Path,
    comparison: Path,
    media: Path | None,
    hardest: int,
) -> Summary:
    """Write plots and report into `results`; return mean and standard deviation of each metric.

    Parameters
    ----------
    store
        The feature store.
    models, training
        Folders of the stage `train`: models with folds and parameters; DVCLive's curves.
    predictions
        Of all test parts, from :func:`pipeline.evaluation.prediction.test_folds`.
    results
        Output folder of ``plots/`` and ``report.html``.
    missing, scenarios
        From :func:`pipeline.evaluation.prediction.missing` and
        :func:`pipeline.evaluation.metrics.by_scenario`.
    attention_file
        Written by :func:`pipeline.evaluation.attention.write`.
    comparison
        ``comparison.csv``; shown if it is of the store's corpus.
    media
        The corpus's folder, for waveforms and frames; None leaves them out.
    hardest
        Number of utterances to show whose true class has the lowest probability.
    """
    figures.style()
    plots = results / "plots"
    parameters = json.loads((models / "parameters.json").read_text(encoding="utf-8"))
    corpus, classes, table = store.corpus, parameters["classes"], store.utterances
    assigned = pd.read_csv(models / "folds.csv", keep_default_na=False)
    emotions = assigned.drop_duplicates("utterance").set_index("utterance")["emotion"]
    rows = facts.comparison(comparison, store)
    tables = _tables(
        store, training, predictions, classes, missing=missing, attention_file=attention_file
    )
    tables["layers"] = layers.weights(models)
    summary = metrics.summary(tables["folds"])
    if len(parameters["train"]["seeds"]) > 1:
        together = metrics.summary(metrics.by_fold(metrics.ensemble(predictions)))
        summary = {name: {**summary[name], "ensemble": together[name]["mean"]} for name in summary}
    typical = _median(predictions, classes)
    wrong = prediction.hardest(predictions, hardest)
    shown = _examples(store, models, predictions, [*typical, *wrong], plots=plots, media=media)
    tables["examples"] = pd.DataFrame(shown.values(), columns=_EXAMPLE_COLUMNS)
    for name, values in tables.items():
        write_csv(plots / f"{name}.csv", values.round(6))
    drawn = _figures(predictions, classes, tables, rows["table"])
    for name, figure in drawn.items():
        figures.save(figure, plots / f"{name}.png")
    page = _template().render(
        corpus=corpus,
        model_name=parameters["label"],
        modalities=" + ".join(parameters["model"]["modalities"]),
        protocol=facts.protocol(parameters["split"], assigned, table, store.description.group),
        targets=parameters["train"]["targets"],
        standardisation=standardisation(parameters["model"]["normalise"], parameters["speakers"]),
        context=facts.context(parameters["model"]),
        selection=facts.selection(parameters),
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
        tables={name: values.to_dict("records") for name, values in tables.items()},
        images={name: figures.embed(plots / f"{name}.png") for name in drawn},
        typical=[shown[name] for name in typical],
        hardest=[shown[name] for name in wrong],
        media_missing=sum(example["media_missing"] for example in shown.values()),
        shown=len(shown),
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
    attention_file: Path,
) -> dict[str, pd.DataFrame]:
    """The tables of the page by the name of their CSV file."""
    ablation = [
        {"test_utterances": key, "figure": name, **figure}
        for key, summary in missing.items()
        for name, figure in summary.items()
    ]
    # a model of one modality has no ablation; its table has a header only
    columns = None if ablation else ["test_utterances", "figure", "mean", "deviation"]
    return {
        "folds": metrics.by_fold(predictions),
        "classes": metrics.by_class(predictions, classes),
        "confusion": predictions[["true", "predicted"]].rename(columns={"true": "actual"}),
        "curves": curves(training),
        "calibration": calibration.calibration(predictions, _BINS),
        "missing": pd.DataFrame(ablation, columns=columns),
        "speakers": metrics.by_group(predictions, store.utterances, "speaker"),
        "groups": metrics.by_group(predictions, store.utterances, "group"),
        "scenarios": metrics.by_group(predictions, store.utterances, "scenario"),
        "positions": metrics.by_position(predictions, store.utterances),
        "attention": attention.statistics(attention_file),
        "profile": attention.profile(attention_file),
    }


def _figures(
    predictions: pd.DataFrame,
    classes: list[str],
    tables: dict[str, pd.DataFrame],
    comparison: pd.DataFrame,
) -> dict[str, Figure]:
    """The figures of the page by name."""
    drawn = {
        "curves": figures.curves(tables["curves"]),
        "confusion": figures.confusion(metrics.confusion(predictions, classes), classes),
        "calibration": figures.calibration(tables["calibration"]),
    }
    if len(tables["positions"]) > 1:
        drawn["positions"] = figures.positions(tables["positions"])
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
    """For each class, the test utterance with the median probability of the true class."""
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
    """What the template shows of some test utterances; draws one figure of each in `plots`."""
    seed = predictions["seed"].min()  # the attention file is of this seed too
    by_fold = {model.fold: model for model in trained.models(models) if model.seed == seed}
    rows = predictions[predictions["seed"] == seed].drop_duplicates("utterance")
    rows = rows.set_index("utterance")
    shown: dict[str, dict[str, Any]] = {}
    for fold, chosen in rows.loc[list(dict.fromkeys(utterances))].groupby("fold"):
        classifier = Classifier.load(by_fold[int(str(fold))].path)
        dataset = classifier.dataset(store)
        for name in chosen.index:
            index = store.row_of[name]
            hops = attention.of_utterance(classifier, dataset, index)
            view = examples.view(store, classifier, dataset, index, hops=hops, media=media)
            path = plots / f"attention-{name}.png"
            figure = drawing.figure(view)
            if figure is not None:
                figures.save(figure, path, dpi=100)
            utterance, row = store.utterances.iloc[index], rows.loc[name]
            shown[name] = {
                "utterance": name,
                "speaker": utterance["speaker"],
                "text": utterance.get("text", ""),
                "true": row["true"],
                "predicted": row["predicted"],
                "probability": row[f"p_{row['predicted']}"],
                "probability_true": row[f"p_{row['true']}"],
                "image": figures.embed(path) if figure is not None else None,
                "media_missing": view.media_missing,
            }
    return shown
