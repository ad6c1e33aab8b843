"""Predictions for recordings that are in no feature store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline import InputError
from pipeline.corpus.utterance import Utterance
from pipeline.features.extractor import Steps, extracted
from pipeline.models.classifier import Classifier
from pipeline.predict.clips import Clip, as_dialog
from pipeline.predict.loading import check_extractable, loaders
from pipeline.predict.prediction import Hop, Prediction
from pipeline.predict.readers import Reader, reader_of
from pipeline.store.batches import Item, Window, collate
from pipeline.store.dialogs import Neighbours
from pipeline.system import compute

_ALONE = "the models read the dialog, and no other utterance of it was given"
_AT_ONCE = 64  # utterances whose sound and text features are in memory


class Predictor:
    """An ensemble of trained models, and the extractors of their streams.

    Parameters
    ----------
    classifiers
        Models that were trained with the same parameters and streams.
    device
        Name of a torch device, for extractors and models.
    streams
        By stream, parameters that replace those of training, such as the path of weights on this
        machine.

    Raises
    ------
    InputError
        If a stream cannot be extracted here, or only with other features than in training.
    """

    def __init__(
        self,
        classifiers: Sequence[Classifier],
        device: str = "cpu",
        streams: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.classifiers = [classifier.to(device).eval() for classifier in classifiers]
        self.device = device
        first = self.classifiers[0]
        check_extractable(first)
        self.classes = first.classes
        self.settings = first.settings
        self.has_context = first.settings.context != "none"
        self.readers = [
            reader_of(name, specified, dict((streams or {}).get(name, {})))
            for name, specified in first.extractors.items()
        ]
        for reader in self.readers:
            reader.check(first.identities[reader.name], device)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        *,
        folds: Sequence[int] | None = None,
        seeds: Sequence[int] | None = None,
        device: str = "auto",
        streams: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Predictor:
        """Load the models of a folder.

        Parameters
        ----------
        folder
            Written by the stage ``train``, or a bundle (:mod:`pipeline.bundle`).
        folds, seeds
            Those to use; None for all.
        device
            ``auto``, ``cpu``, ``cuda`` or ``mps``.
        streams
            See :class:`Predictor`.

        Raises
        ------
        InputError
            If there is no such model or device, or for the reasons of :class:`Predictor`.
        """
        trained = loaders(Path(folder))
        chosen = [
            load
            for (fold, seed), load in trained.items()
            if (folds is None or fold in folds) and (seeds is None or seed in seeds)
        ]
        if not chosen:
            raise InputError(
                f"{folder}: has no model of folds {folds} and seeds {seeds}; there are (fold, "
                f"seed) {', '.join(map(str, sorted(trained)))}"
            )
        classifiers = [load() for load in chosen]
        return cls(classifiers, str(compute.device(device)), streams)

    def __call__(
        self,
        clip: Path | str,
        text: str = "",
        *,
        start: float = 0.0,
        end: float | None = None,
        region: str = "whole",
    ) -> Prediction:
        """Predict the emotion of one clip.

        Parameters and errors are those of :class:`~pipeline.predict.clips.Clip` and its
        :meth:`~pipeline.predict.clips.Clip.utterance`.
        """
        path = Path(clip)
        utterance = Clip(path, text, start, end, region).utterance()
        return self.predict([utterance], path.parent)[0]

    def dialog(self, clips: Sequence[Clip]) -> list[Prediction]:
        """Predict the emotion of the utterances of a dialog, in their order.

        Models with context read the utterances around each one, and who speaks (`Clip.speaker`).

        Raises
        ------
        InputError
            If a clip cannot be read.
        """
        utterances, root, faults = as_dialog(clips)
        if faults:
            raise InputError("; ".join(faults))
        return self.predict(utterances, root)

    @torch.inference_mode()
    def predict(self, utterances: Sequence[Utterance], root: Path) -> list[Prediction]:
        """Predict the emotion of several utterances; those of one dialog are context.

        Each film is decoded once. Memory holds the embeddings of all frames, the summaries of all
        utterances, and the other features of a few.

        Parameters
        ----------
        utterances
            As a corpus has them.
        root
            The folder of their recordings.
        """
        films = [reader for reader in self.readers if reader.extractor.together]
        others = [reader for reader in self.readers if not reader.extractor.together]
        embeddings = self._extract(films, utterances, root)
        read: list[tuple[list[torch.Tensor], Prediction]] = []
        for first in range(0, len(utterances), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            features = self._extract(others, utterances[part], root)
            features |= {name: steps[part] for name, steps in embeddings.items()}
            read += [
                self._read(utterance, {name: steps[row] for name, steps in features.items()})
                for row, utterance in enumerate(utterances[part])
            ]
        probabilities = self._classified([summaries for summaries, _ in read], utterances)
        sizes = Counter(one.dialog for one in utterances)
        return [
            replace(
                one,
                probabilities=dict(zip(self.classes, row.tolist(), strict=True)),
                remarks=[*one.remarks, _ALONE]
                if self.has_context and sizes[one.utterance.dialog] == 1
                else one.remarks,
            )
            for (_, one), row in zip(read, probabilities, strict=True)
        ]

    def _classified(
        self, summaries: Sequence[Sequence[torch.Tensor]], utterances: Sequence[Utterance]
    ) -> np.ndarray:
        """[N, classes] probabilities, the mean over the models.

        `summaries` are those of each utterance by each model; without context, the logits.
        """
        if not utterances:
            return np.zeros((0, len(self.classes)))
        windows: list[Window] = []
        if self.has_context:
            neighbours = Neighbours(
                [one.dialog for one in utterances],
                [one.order for one in utterances],
                [one.speaker for one in utterances],
                window=self.settings.context_window,
                future=self.settings.context == "both",
            )
            _, windows = neighbours.windows(range(len(utterances)))
            windows = [window.to(self.device) for window in windows]
        total = np.zeros((len(utterances), len(self.classes)))
        for classifier, own in zip(self.classifiers, zip(*summaries, strict=True), strict=True):
            read = torch.cat(own)
            logits = classifier.model.classify(read, windows) if windows else read
            total += logits.cpu().double().softmax(dim=1).numpy()
        return total / len(self.classifiers)

    def _extract(
        self, readers: Sequence[Reader], utterances: Sequence[Utterance], root: Path
    ) -> dict[str, list[Steps]]:
        """The features of all utterances, by stream."""
        features: dict[str, list[Steps]] = {}
        for modality in dict.fromkeys(reader.modality for reader in readers):
            own = [reader for reader in readers if reader.modality == modality]
            context = own[0].context(root, self.device)
            features |= {each.name: steps for each, steps in extracted(own, utterances, context)}
        return features

    def _read(
        self, utterance: Utterance, features: dict[str, Steps]
    ) -> tuple[list[torch.Tensor], Prediction]:
        """What :meth:`_classified` takes, and the prediction without probabilities."""
        arrays = {
            reader.name: self._values(reader, features[reader.name]) for reader in self.readers
        }
        sequences = [r.name for r in self.readers if r.extractor.kind != "utterance"]
        item: Item = {
            "utterance": utterance.id,
            "label": -1,
            "streams": arrays,
            "lengths": {name: len(arrays[name]) for name in sequences},
        }
        batch = collate([item]).to(self.device)
        summaries: list[torch.Tensor] = []
        weights: list[np.ndarray] = []
        for classifier in self.classifiers:
            summary, attended = (
                classifier.joint(batch) if self.has_context else classifier(batch, attention=True)
            )
            summaries.append(summary)
            own = [hop[0].float().cpu().numpy().astype(np.float64) for hop in attended]
            weights = [a + b for a, b in zip(weights, own, strict=True)] if weights else own
        number = len(self.classifiers)
        targets = self.classifiers[0].model.targets
        hops = [
            self._hop(target, own / number, arrays, features)
            for target, own in zip(targets, weights, strict=True)
        ]
        missing, remarks = self._incomplete(arrays, features)
        if self.settings.normalise == "speaker":
            remarks.append("features are standardised by the training part: the speaker is unknown")
        parameters = {reader.name: reader.extractor.parameters() for reader in self.readers}
        return summaries, Prediction(utterance, {}, hops, missing, remarks, parameters)

    def _values(self, reader: Reader, steps: Steps) -> np.ndarray:
        """The values as a model reads them from a store: of the stored type, truncated."""
        values = steps.values
        if values.dtype.kind != "f":
            return values.astype(np.int64)[: self._limit(reader.name)]
        if reader.extractor.kind == "utterance":
            return values.astype(np.float32)
        stored = values.astype(reader.extractor.dtype).astype(np.float32)
        return stored[: self._limit(reader.name)]

    def _limit(self, stream: str) -> int:
        classifier = self.classifiers[0]
        (modality,) = [
            name for name in self.settings.modalities if stream in self.settings.streams.names(name)
        ]
        return int(classifier.max_steps[modality])

    def _hop(
        self,
        target: str,
        weights: np.ndarray,
        arrays: dict[str, np.ndarray],
        features: dict[str, Steps],
    ) -> Hop:
        """The attention with the words and times of the steps of all streams of the modality."""
        lengths = {name: len(arrays[name]) for name in self.settings.streams.names(target)}
        states = {reader.name: reader.state for reader in self.readers}
        words: list[str] = []
        times: list[np.ndarray] = []
        for name, length in lengths.items():
            steps = features[name]
            times.append(np.full(length, np.nan) if steps.times is None else steps.times[:length])
            if target == "text":
                tokens = steps.values if steps.tokens is None else steps.tokens
                vocabulary = states[name].get("vocabulary")
                words += [
                    f"#{n}" if vocabulary is None else str(vocabulary[token])
                    for n, token in enumerate(tokens[:length])
                ]
        count = sum(lengths.values())
        return Hop(target, weights[:count], words, np.concatenate(times), lengths)

    def _incomplete(
        self, arrays: dict[str, np.ndarray], features: dict[str, Steps]
    ) -> tuple[dict[str, str], list[str]]:
        """The modalities without features, and other problems."""
        missing: dict[str, str] = {}
        remarks: list[str] = []
        for modality in self.settings.modalities:
            names = self.settings.read_of(modality)
            problems = [f"{name}: {p}" for name in names if (p := features[name].problem)]
            if all(not len(arrays[n]) or np.isnan(arrays[n]).all() for n in names):
                missing[modality] = "; ".join(problems) or "no features"
            else:
                remarks += problems
        return missing, remarks
