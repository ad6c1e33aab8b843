"""The page of a run: gathers numbers and figures, fills the template, writes plots beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml

from pipeline import attention, evaluation
from pipeline.batches import Examples
from pipeline.models.classifier import Classifier
from pipeline.report import figures, looks
from pipeline.store import FeatureStore

_BINS = 10  # of the reliability curve

Summary = dict[str, dict[str, float]]


def curves(folder: Path) -> pd.DataFrame:
    """DVCLive's curves of all models: a row a validation.

    Columns: fold, with several seeds seed, epoch, and one a figure.
    """
    tables = []
    for run in folder.glob("fold-*"):
        fold, _, seed = run.name.removeprefix("fold-").partition("-seed-")
        metrics = run / "plots" / "metrics"
        columns = {
            str(path.relative_to(metrics).with_suffix("")): pd.read_csv(path, sep="\t").iloc[:, -1]
            for path in sorted(metrics.rglob("*.tsv"))
        }
        table = pd.DataFrame(columns)
        table.insert(0, "epoch", table.pop("epoch"))
        if seed:
            table.insert(0, "seed", int(seed))
        table.insert(0, "fold", int(fold))
        tables.append(table)
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
        Of all folds' test parts, from :func:`pipeline.evaluation.test_folds`.
    results
        Folder; gets ``plots/`` and ``report.html``.
    missing
        From :func:`pipeline.evaluation.missing`.
    looked
        The file of :func:`pipeline.attention.write`.
    comparison
        The table of :mod:`pipeline.comparison`; shown if it is of the store's corpus.
    media
        The corpus's folder, for waveforms and frames; None to leave them out.
    hardest
        How many of the utterances that the models were most wrong about are shown.
    """
    figures.style()
    plots = results / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    parameters = json.loads((models / "parameters.json").read_text(encoding="utf-8"))
    classes = parameters["classes"]
    assigned = pd.read_csv(models / "folds.csv", keep_default_na=False)
    emotions = assigned.drop_duplicates("utterance").set_index("utterance")["emotion"]
    folds = evaluation.by_fold(predictions)
    summary = evaluation.summary(folds)
    calibration = evaluation.calibration(predictions, _BINS)

    tables = {
        "folds": folds,
        "classes": evaluation.by_class(predictions, classes),
        "curves": curves(training),
        "calibration": calibration,
        "speakers": evaluation.by_group(predictions, store.utterances, "speaker"),
        "sessions": evaluation.by_group(predictions, store.utterances, "session"),
        "attention": attention.statistics(looked),
        "profile": attention.profile(looked),
    }
    for name, table in tables.items():
        table.round(6).to_csv(plots / f"{name}.csv", index=False, lineterminator="\n")
    pairs = predictions[["true", "predicted"]].rename(columns={"true": "actual"})
    pairs.to_csv(plots / "confusion.csv", index=False, lineterminator="\n")
    drawn = {
        "curves": figures.curves(tables["curves"]),
        "confusion": figures.confusion(evaluation.confusion(predictions, classes), classes),
        "calibration": figures.calibration(calibration),
    }
    if len(tables["attention"]):
        drawn["attention"] = figures.attention(tables["attention"], tables["profile"])
    for name, figure in drawn.items():
        figures.save(figure, plots / f"{name}.png")

    typical = _median(predictions, classes)
    wrong = evaluation.hardest(predictions, hardest)
    examples = _examples(store, models, predictions, [*typical, *wrong], plots=plots, media=media)
    page = _template().render(
        corpus=store.file.attrs["corpus"],
        model_name=parameters["label"],
        modalities=" + ".join(parameters["model"]["modalities"]),
        protocol=protocol(parameters["split"], assigned, store.utterances)
        + _targets(parameters["train"]),
        classes=classes,
        summary=summary,
        missing=missing,
        definitions=evaluation.METRICS,
        seeds=parameters["train"]["seeds"],
        majority=_majority(predictions),
        counts=_counts(store.utterances, emotions),
        left_out=_left_out(store.utterances, emotions),
        corpus_rows=_corpus_rows(emotions, store.utterances, classes),
        comparison=_comparison(comparison, str(store.file.attrs["corpus"])),
        streams=_streams(store, parameters["model"]),
        parameter_counts=parameters["parameters"],
        ece=evaluation.expected_calibration_error(calibration),
        bins=_BINS,
        tables={name: table.to_dict("records") for name, table in tables.items()},
        images={name: figures.embed(plots / f"{name}.png") for name in drawn},
        typical=[examples[name] for name in typical],
        hardest=[examples[name] for name in wrong],
        without_media=sum(not example["media"] for example in examples.values()),
        media=media is not None,
        parameters=yaml.safe_dump(parameters, sort_keys=False, width=100),
        extractors=json.dumps(json.loads(store.file.attrs["extractors"]), indent=2, sort_keys=True),
    )
    (results / "report.html").write_text(page, encoding="utf-8")
    return summary


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


def protocol(split: dict[str, Any], assigned: pd.DataFrame, table: pd.DataFrame) -> str:
    """How utterances were divided, and whether speakers really are kept apart.

    Parameters
    ----------
    split
        The parameters `split`.
    assigned
        ``folds.csv``: utterance, fold, part.
    table
        The utterance table.
    """
    name = {
        "session": "leave one session out",
        "speaker": "one speaker tests, the other of the session develops",
        "random": "random, stratified",
        "file": f"the list splits/{split['list']}.csv",
    }[split["protocol"]]
    folds = assigned.merge(table[["utterance", "speaker"]], on="utterance")
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


def _comparison(path: Path, corpus: str) -> dict[str, Any]:
    """The rows of the comparison, if it is of this corpus, and the corpus it is of."""
    table = pd.read_csv(path, keep_default_na=False)
    found = table["corpus"].iloc[0] if len(table) else ""
    rows = table.to_dict("records") if found == corpus else []
    return {"corpus": found, "rows": rows}


def _streams(store: FeatureStore, model: dict[str, Any]) -> list[dict[str, Any]]:
    read_by = {}
    for modality in model["modalities"]:
        names = model["streams"][modality]
        read_by |= dict.fromkeys([names] if isinstance(names, str) else names, modality)
    if model["prosody"] is not None:
        read_by[model["prosody"]] = "audio, joined"
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
    first, *others = evaluation.models(models)
    trained = {model.fold: model for model in (first, *others) if model.seed == first.seed}
    rows = predictions[predictions["seed"] == first.seed].drop_duplicates("utterance")
    rows = rows.set_index("utterance")
    index = {name: row for row, name in enumerate(store.utterances["utterance"])}
    found: dict[str, dict[str, Any]] = {}
    for fold, names in rows.loc[list(dict.fromkeys(utterances))].groupby("fold").groups.items():
        classifier = Classifier.load(trained[fold].path)
        examples = Examples(store, classifier.settings, classifier.max_steps)
        for name in names:
            hops = attention.of_utterance(classifier, examples, index[name])
            seen = looks.look(store, classifier, examples, index[name], hops=hops, media=media)
            path = plots / f"attention-{name}.png"
            figure = looks.figure(seen)
            if figure is not None:
                figures.save(figure, path, dpi=100)
            about, row = store.utterances.iloc[index[name]], rows.loc[name]
            found[name] = {
                "utterance": name,
                "speaker": about["speaker"],
                "text": about.get("text", ""),
                "true": row["true"],
                "predicted": row["predicted"],
                "probability": row[f"p_{row['predicted']}"],
                "probability_true": row[f"p_{row['true']}"],
                "image": figures.embed(path) if figure is not None else None,
                "media": seen.waveform is not None or bool(seen.frames),
            }
    return found
