"""The model card of a bundle, from what the stages recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCardData

from pipeline import params
from pipeline.bundle.evaluated import Evaluated
from pipeline.corpus import labels
from pipeline.corpus.description import Description
from pipeline.evaluation import metrics
from pipeline.features.pretrained import RANDOM
from pipeline.params.types import own_paths
from pipeline.registry import CORPORA, EXTRACTORS
from pipeline.report import facts
from pipeline.store import FeatureStore
from pipeline.store.dataset import standardisation

LIBRARY = "modality-hopping"

_EMBEDDED = "the synthetic embedded corpus"
_SYNTHETIC = "It is synthetic: computed voices and drawn faces, of nobody."
_UNKNOWN = "It is not recorded here; ask those to whom the recordings belong."

_INPUTS = {"audio": "sound", "text": "words", "video": "pictures"}
_TASKS = {"video": "video-classification", "audio": "audio-classification"}
_OF_HUB = {"weighted_accuracy": "accuracy", "unweighted_accuracy": "recall"}  # others: first word


def title(store: FeatureStore, settings: params.Params) -> str:
    """The name of the corpus, for people; the embedded one has only the format of its title."""
    return _EMBEDDED if settings.corpus.name == params.EMBEDDED else store.description.title


def render(
    config: Mapping[str, Any],
    words: Mapping[str, Sequence[str]],
    evaluated: Evaluated,
    store: FeatureStore,
    *,
    settings: params.Params,
    name: str | None,
) -> str:
    """The card as Markdown, with the metadata of the hub in front.

    Parameters
    ----------
    config, words
        The configuration of the bundle, and the words of token ids by stream.
    evaluated
        Parameters, folds and figures of the models.
    store
        The feature store.
    settings
        All parameters; those of the corpus are read.
    name
        The name of the bundle on the hub; None if there is none yet.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.bundle", "."),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parameters, table, description = evaluated.parameters, store.utterances, store.description
    tested = evaluated.tested
    labelled = evaluated.folds.drop_duplicates("utterance").set_index("utterance")["emotion"]
    frequent = facts.majority(tested)
    baseline = metrics.summary(metrics.by_fold(tested.assign(predicted=frequent["name"])))
    is_embedded = settings.corpus.name == params.EMBEDDED
    licence = CORPORA[settings.corpus.format].licence or _UNKNOWN
    normalise = parameters["model"]["normalise"]
    modalities = parameters["model"]["modalities"]
    inputs = [_INPUTS[modality] for modality in modalities]
    return environment.get_template("README.md.j2").render(
        header=_header(config, evaluated, store, modalities),
        library=LIBRARY,
        name=name or "USER/NAME",
        config=config,
        words=words,
        is_embedded=is_embedded,
        licence=_SYNTHETIC if is_embedded else licence,
        meanings=_meanings(config["classes"], parameters["labels"]["scheme"], description),
        inputs=" and ".join(", ".join(inputs).rsplit(", ", 1)),
        folds=sorted({model["fold"] for model in config["models"]}),
        all_folds=sorted(set(evaluated.folds["fold"])),
        seeds=parameters["train"]["seeds"],
        protocol=facts.protocol(parameters["split"], evaluated.folds, table, description.group),
        selection=facts.selection(parameters),
        targets=parameters["train"]["targets"],
        standardisation=standardisation(normalise, parameters["speakers"]),
        by_speaker=normalise == "speaker",
        counts=facts.counts(table, labelled),
        left_out=facts.left_out(table, labelled, parameters["labels"]["scenarios"]),
        caution=description.caution,
        figures=evaluated.figures,
        missing=evaluated.missing,
        baseline=baseline,
        frequent=frequent,
        definitions=metrics.METRICS,
        parameter_counts=parameters["parameters"],
        files=_files(config),
    )


def _header(
    config: Mapping[str, Any], evaluated: Evaluated, store: FeatureStore, modalities: Sequence[str]
) -> str:
    """The metadata of the hub, as YAML."""
    task = next((_TASKS[name] for name in _TASKS if name in modalities), "text-classification")
    number = evaluated.folds["fold"].nunique()
    results = [
        EvalResult(
            task_type=task,
            task_name="emotion recognition",
            dataset_type=store.corpus,
            dataset_name=config["corpus"],
            dataset_split=f"test parts of {number} fold{'' if number == 1 else 's'}",
            metric_type=_OF_HUB.get(metric, metric.partition("_")[0]),
            metric_name=definition,
            metric_value=evaluated.figures[metric]["mean"],
        )
        for metric, definition in metrics.METRICS.items()
    ]
    tags = ["emotion-recognition", "speech-emotion-recognition", "multimodal", *modalities]
    return ModelCardData(
        license="other",
        library_name=LIBRARY,
        pipeline_tag=task,
        tags=tags if len(modalities) > 1 else [tag for tag in tags if tag != "multimodal"],
        model_name=config["label"],
        eval_results=results,
    ).to_yaml()


def _meanings(
    classes: Sequence[str], scheme: str | dict[str, str], description: Description
) -> dict[str, str]:
    """By class, what its codes stand for."""
    mapping = labels.scheme(scheme, description).mapping
    return {
        name: ", ".join(description.emotions[code] for code in mapping if mapping[code] == name)
        for name in classes
    }


def _files(config: Mapping[str, Any]) -> list[dict[str, str]]:
    """The pretrained files that the bundle lacks: stream, parameter and recorded name."""
    rows = []
    for name, stream in config["streams"].items():
        if "vocabulary" in stream:  # its vectors are among the weights
            continue
        for key in own_paths(EXTRACTORS[stream["modality"]][stream["extractor"]].load()):
            value = stream["parameters"][key]
            if value != RANDOM:
                rows.append({"stream": name, "parameter": key, "value": value})
    return rows
