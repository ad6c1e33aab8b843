"""Words of clips by a speech recogniser: Whisper, run by faster-whisper.

The recogniser is not part of :class:`~pipeline.predict.Predictor`, which takes words as they are.
:func:`predict` puts the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline import InputError
from pipeline.corpus.utterance import Utterance
from pipeline.features.hub import package_folder
from pipeline.features.recording import of_utterance
from pipeline.predict.prediction import Prediction
from pipeline.predict.predictor import Predictor
from pipeline.predict.speech import RATE, faster_whisper, speech
from pipeline.system.compute import processes
from pipeline.system.values import brief

FOLDER = "data/weights/whisper"
"""The model that is used if none is named."""

_FILES = ("config.json", "model.bin", "tokenizer.json")
_BEAM = 5
_NO_SPEECH = "no words were recognised: nobody seems to speak"


class Recogniser(Protocol):
    """What recognises words; `model` is its name."""

    model: str

    def __call__(self, utterance: Utterance, root: Path) -> str: ...


class Transcriber:
    """Whisper, loaded on first use and then kept for further clips.

    It computes in float32 and chooses the likeliest words (beam search, no sampling), so that the
    same sound gives the same words.

    Parameters
    ----------
    model
        A folder in the format of CTranslate2, ``package:<module>/<folder>`` of an installed
        package, or a name of faster-whisper or the Hugging Face hub, such as ``small`` or
        ``Systran/faster-whisper-small``, which is downloaded unless it is in the hub's cache.
    device
        The name of a torch device; Whisper runs on the CPU unless it is CUDA.
    language
        Code of the language, such as ``en``; None to detect it in each clip.

    Raises
    ------
    InputError
        If faster-whisper is not installed, or there is no such model.
    """

    def __init__(
        self, model: str = FOLDER, device: str = "cpu", language: str | None = None
    ) -> None:
        self.model, self.language = model, language
        self.folder = _folder(model)
        self._device, _, index = device.partition(":")
        self._index = int(index or 0)

    @cached_property
    def _whisper(self) -> Any:
        cuda = self._device == "cuda"
        try:
            return faster_whisper().WhisperModel(
                str(self.folder),
                device="cuda" if cuda else "cpu",
                device_index=self._index if cuda else 0,
                compute_type="float32",
                cpu_threads=processes(0),
                local_files_only=True,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise InputError(f"{self.model}: Whisper cannot be loaded: {error}") from error

    def __call__(self, utterance: Utterance, root: Path) -> str:
        """The words in the recording of an utterance; empty if there is no sound or no speech.

        Parameters
        ----------
        root
            The folder of the recordings.

        Raises
        ------
        InputError
            If the model cannot be loaded, or does not know the language.
        """
        signal, _ = of_utterance(utterance, root, RATE)
        # without silence, in which Whisper recognises words too
        parts = [signal[first:last] for first, last in speech(signal)]
        if not parts:
            return ""
        try:
            segments, _ = self._whisper.transcribe(
                np.concatenate(parts),
                language=self.language,
                beam_size=_BEAM,
                temperature=0.0,
                condition_on_previous_text=False,  # else an error is repeated
            )
            return " ".join(segment.text.strip() for segment in segments).strip()
        except ValueError as error:
            raise InputError(f"{self.model}, language {self.language}: {error}") from error


def predict(
    predictor: Predictor,
    utterances: Sequence[Utterance],
    root: Path,
    recogniser: Recogniser | None = None,
) -> list[Prediction]:
    """Predict the emotion of utterances, after recognising the words of those without text.

    Parameters
    ----------
    utterances, root
        As of :meth:`Predictor.predict`.
    recogniser
        None to take the words as they are.

    Raises
    ------
    InputError
        As :meth:`Transcriber.__call__`.
    """
    if recogniser is None:
        return predictor.predict(utterances, root)
    spoken = [replace(one, text=one.text or recogniser(one, root)) for one in utterances]
    predictions = predictor.predict(spoken, root)
    return [
        prediction
        if one.text
        else replace(
            prediction,
            recogniser=recogniser.model,
            remarks=[*prediction.remarks, *([] if prediction.utterance.text else [_NO_SPEECH])],
        )
        for one, prediction in zip(utterances, predictions, strict=True)
    ]


def _folder(model: str) -> Path:
    """The folder of a model.

    Raises
    ------
    InputError
        If there is none with all files of Whisper, or faster-whisper is not installed; the message
        says how to get it.
    """
    path = Path(model)
    if path.is_file():
        raise InputError(f"{model}: is a file and no model; name clips before --transcribe")
    faster_whisper()
    try:
        if model.startswith("package:"):
            folder = package_folder(model.removeprefix("package:"))
        elif path.is_dir() or model == FOLDER:
            folder = path
        else:
            folder = _of_hub(model)
        missing = [name for name in _FILES if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(f"{folder} has no {', '.join(missing)}")
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"{model}: there is no Whisper model for faster-whisper: {error}\nName one, such as "
            "small or Systran/faster-whisper-small (both are downloaded), or a folder, or "
            f"package:<module>/<folder>; or put {', '.join(_FILES)} of "
            f"https://huggingface.co/Systran/faster-whisper-small into {FOLDER}"
        ) from error
    return folder


def _of_hub(name: str) -> Path:
    """The folder of a model in the hub's cache, where it is downloaded unless it is there."""
    fetch = faster_whisper().download_model
    try:
        return Path(fetch(name, local_files_only=True))
    except OSError:
        pass  # not in the cache
    try:
        return Path(fetch(name))
    except Exception as error:  # of the hub, or of the HTTP library that its version uses
        raise OSError(f"the Hugging Face hub does not provide it ({brief(error)})") from error
