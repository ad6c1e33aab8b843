"""Small feature stores of random numbers from which the classes can be learnt."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import h5py
import numpy as np
import pandas as pd
from pydantic import PrivateAttr

from pipeline import params
from pipeline.corpus.iemocap.codes import DESCRIPTION
from pipeline.corpus.utterance import Utterance
from pipeline.features.extraction import extract
from pipeline.features.extractor import Context, Extractor, State, Steps
from pipeline.store import writing

CODES = ("ang", "exc", "hap", "sad", "fru", "sur", "neu")
VOTED = ("neu", "ang", "hap", "exc", "sad", "fru", "fea", "sur", "dis", "oth")


def table(utterances_a_dialog: int = 7, sessions: int = 5) -> pd.DataFrame:
    """An utterance table with one dialog per session, sorted by id; emotions take turns."""
    rows = []
    for session in range(1, sessions + 1):
        dialog = f"Ses0{session}F_impro01"
        for number in range(utterances_a_dialog):
            gender = "FM"[number % 2]
            rows.append(
                {
                    "utterance": f"{dialog}_{gender}{number:03d}",
                    "dialog": dialog,
                    "order": number,
                    "group": str(session),
                    "scenario": "improvised",
                    "part": "",
                    "speaker": f"Ses0{session}{gender}",
                    "gender": gender,
                    "start": 2.0 * number,
                    "end": 2.0 * number + 1.5,
                    "emotion": CODES[number % len(CODES)],
                    "valence": 2.5,
                    "activation": 2.5,
                    "dominance": 2.5,
                    "text": "so it is",
                    "audio": f"{dialog}.wav",
                    "video": f"{dialog}.avi",
                    "place": "left",
                }
            )
    return pd.DataFrame(rows).sort_values("utterance", ignore_index=True)


def votes(utterances: pd.DataFrame) -> pd.DataFrame:
    """A votes table: two votes for the emotion, one for ``oth``."""
    counts = {code: 2.0 * (utterances["emotion"] == code) + (code == "oth") for code in VOTED}
    return pd.DataFrame({"utterance": utterances["utterance"], **counts})


CONTEXT = Context(Path("nowhere"), "cpu", params.Text(marks="word", include_text=True, streams={}))


def spoken(utterances: pd.DataFrame) -> list[Utterance]:
    """The utterances of a table; the text of each is its emotion code."""
    columns = ["utterance", "dialog", "start", "end", "emotion"]
    rows = utterances[columns].itertuples(index=False)
    return [Utterance(row[0], row[1], row[2], row[3], text=row[4]) for row in rows]


class Noise(Extractor):
    """Noise around a mean that depends on the emotion; `calls` lists the extracted dialogs."""

    kind: ClassVar = "sequence"
    version: ClassVar = 1
    libraries: ClassVar = ("numpy",)

    extractor: Literal["noise"] = "noise"
    stream: str = "mfcc"
    width: int = 4
    step: float = 0.01
    window: float = 0.025
    crop: int = 112
    _calls: list[str] = PrivateAttr(default_factory=list)
    _fails_at: str = PrivateAttr("")

    @property
    def calls(self) -> list[str]:
        return self._calls

    def failing(self, dialog: str) -> Noise:
        """Return the extractor, which now raises an error at a dialog."""
        self._fails_at = dialog
        return self

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        dialog = utterances[0].dialog
        if dialog == self._fails_at:
            raise RuntimeError("killed")
        self._calls.append(dialog)
        random = np.random.default_rng([ord(letter) for letter in dialog + self.stream])
        steps = []
        for number, utterance in enumerate(utterances):
            length = int(random.integers(1, 9))
            problem = ""
            if dialog.startswith("Ses02") and not number:
                length, problem = 0, "nothing to see"
            mean = np.eye(len(CODES), self.width)[CODES.index(utterance.text)]
            values = mean + random.normal(0, 0.1, (length, self.width))
            steps.append(
                Steps(values.astype(np.float32), np.arange(length, dtype=float), problem=problem)
            )
        return steps


class Words(Extractor):
    """Token ids: the word depends on the emotion."""

    kind: ClassVar = "tokens"
    version: ClassVar = 1

    extractor: Literal["words"] = "words"

    def prepare(self, utterances: Sequence[Utterance], context: Context) -> State:
        vectors = np.random.default_rng(0).normal(size=(2 + len(CODES), 6)).astype(np.float32)
        return {"vocabulary": np.array(["<pad>", "<unk>", *CODES]), "vectors": vectors}

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        ids = [2 + CODES.index(utterance.text) for utterance in utterances]
        return [Steps(np.full(3, number, np.int32)) for number in ids]


class Summary(Extractor):
    """One row per utterance, around a mean that depends on the emotion."""

    kind: ClassVar = "utterance"
    version: ClassVar = 1

    extractor: Literal["summary"] = "summary"

    def names(self) -> list[str]:
        return ["F0", "loudness", "voicing"]

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        random = np.random.default_rng([ord(letter) for letter in utterances[0].dialog])
        classes = [CODES.index(utterance.text) for utterance in utterances]
        values = np.eye(len(CODES), 3)[classes] + random.normal(5, 0.1, (len(classes), 3))
        return [Steps(row) for row in values.astype(np.float32)]


def streams(**options: Any) -> dict[str, dict[str, Extractor]]:
    """The extractors by modality and stream; `options` are their dtype or compression."""
    return {
        "audio": {"mfcc": Noise(**options), "prosody": Summary(**options)},
        "text": {"glove": Words(**options)},
        "visual": {"resnet": Noise(stream="resnet", width=5, **options)},
    }


def make_store(
    folder: Path,
    utterances: pd.DataFrame | None = None,
    *,
    include_text: bool = True,
    **options: Any,
) -> Path:
    """Write a store with votes and the streams mfcc (4 values), resnet (5), glove and prosody.

    Returns its folder, `folder` / "store"; `options` are those of :func:`streams`.
    """
    utterances = table() if utterances is None else utterances
    output = folder / "store"
    extractors = streams(**options)
    for modality, of_modality in extractors.items():
        extract(
            modality,
            of_modality,
            spoken(utterances),
            CONTEXT,
            kept=folder / "kept" / modality,
            output=output / modality,
            include_text=include_text,
        )
    writing.write_table(
        output,
        utterances,
        votes(utterances),
        {modality: list(of_modality) for modality, of_modality in extractors.items()},
        corpus="synthetic",
        description=DESCRIPTION,
        include_text=include_text,
    )
    return output


def without_prosody(store: Path, output: Path, rows: Sequence[int]) -> Path:
    """Copy a store to `output`; the prosody of some `rows` is missing (NaN)."""
    shutil.copytree(store, output)
    with h5py.File(output / "audio/prosody.h5", "r+") as file:
        for row in rows:
            file["values"][row] = np.nan
    return output
