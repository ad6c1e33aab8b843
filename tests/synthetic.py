"""Small feature stores of random numbers whose classes can be learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipeline.corpus.iemocap.codes import DESCRIPTION
from pipeline.features import extraction
from pipeline.features.mfcc import Mfcc
from pipeline.store import writing


def stored(
    include_text: bool = True,
    dtype: Literal["float32", "float16"] = "float32",
    compression: Literal["none", "lzf", "gzip"] = "none",
    chunk: int = 64,
) -> writing.Storage:
    """How a store is written, all its streams alike; chunks in KiB."""
    alike = Mfcc(dtype=dtype, compression=compression)
    names = ("mfcc", "resnet", "glove", "prosody")
    return writing.Storage(include_text, dict.fromkeys(names, alike), 1024 * chunk)


CODES = ("ang", "exc", "hap", "sad", "fru", "sur", "neu")
VOTED = ("neu", "ang", "hap", "exc", "sad", "fru", "fea", "sur", "dis", "oth")


def table(utterances_a_dialog: int = 7, sessions: int = 5) -> pd.DataFrame:
    """An utterance table of one dialog a session, sorted by id; emotions run through the codes."""
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
    """A votes table: two raters for the emotion, one for other."""
    counts = {code: 2.0 * (utterances["emotion"] == code) + (code == "oth") for code in VOTED}
    return pd.DataFrame({"utterance": utterances["utterance"], **counts})


def described(stream: str, **parameters: Any) -> dict[str, Any]:
    """What a modality of one stream says of itself."""
    identity = {"extractor": "synthetic", "version": 1, "parameters": parameters, "weights": {}}
    provenance = {"versions": {"numpy": np.__version__}, "processor": "any"}
    return {stream: {"identity": identity, "provenance": provenance, "utterances": ""}}


class Noise:
    """An extractor of noise around a mean that the emotion decides; counts its dialogs."""

    def __init__(self, stream: str, width: int, *, fail_at: str | None = None) -> None:
        self.stream = stream
        self.width = width
        self.fail_at = fail_at
        self.calls: list[str] = []

    def identity(self) -> dict[str, Any]:
        return described(self.stream, width=self.width)

    def sources(self, rows: pd.DataFrame) -> list[Path]:
        return []

    def dialog(self, rows: pd.DataFrame) -> tuple[dict[str, np.ndarray], list[extraction.Problem]]:
        dialog = rows["dialog"].iloc[0]
        if dialog == self.fail_at:
            raise RuntimeError("killed")
        self.calls.append(dialog)
        random = np.random.default_rng([ord(letter) for letter in dialog + self.stream])
        lengths = random.integers(1, 9, len(rows))
        problems = []
        if dialog.startswith("Ses02"):
            lengths[0] = 0
            problems = [extraction.Problem(rows["utterance"].iloc[0], "nothing to see")]
        classes = [CODES.index(code) for code in rows["emotion"]]
        means = np.repeat(np.eye(len(CODES), self.width)[classes], lengths, axis=0)
        values = (means + random.normal(0, 0.1, means.shape)).astype(np.float32)
        return {
            f"{self.stream}/values": values,
            f"{self.stream}/lengths": lengths.astype(np.int64),
            f"{self.stream}/times": np.arange(len(values), dtype=np.float64),
        }, problems

    def constants(self) -> dict[str, np.ndarray]:
        return {f"{self.stream}/remark": np.array(["naïve", "ångström"])}


class Words:
    """An extractor of token ids: the emotion decides the word."""

    def identity(self) -> dict[str, Any]:
        return described("glove")

    def sources(self, rows: pd.DataFrame) -> list[Path]:
        return []

    def dialog(self, rows: pd.DataFrame) -> tuple[dict[str, np.ndarray], list[extraction.Problem]]:
        ids = [2 + CODES.index(code) for code in rows["emotion"]]
        return {
            "glove/values": np.repeat(ids, 3).astype(np.int32),
            "glove/lengths": np.full(len(rows), 3, dtype=np.int64),
        }, []

    def constants(self) -> dict[str, np.ndarray]:
        vectors = np.random.default_rng(0).normal(size=(2 + len(CODES), 6)).astype(np.float32)
        return {
            "glove/vocabulary": np.array(["<pad>", "<unk>", *CODES]),
            "glove/vectors": vectors,
        }


class Summary:
    """An extractor of one row an utterance, around a mean that the emotion decides."""

    def identity(self) -> dict[str, Any]:
        return described("prosody")

    def sources(self, rows: pd.DataFrame) -> list[Path]:
        return []

    def dialog(self, rows: pd.DataFrame) -> tuple[dict[str, np.ndarray], list[extraction.Problem]]:
        random = np.random.default_rng([ord(letter) for letter in rows["dialog"].iloc[0]])
        classes = [CODES.index(code) for code in rows["emotion"]]
        values = np.eye(len(CODES), 3)[classes] + random.normal(5, 0.1, (len(rows), 3))
        return {"prosody/values": values.astype(np.float32)}, []

    def constants(self) -> dict[str, np.ndarray]:
        return {"prosody/names": np.array(["F0", "loudness", "voicing"])}


def make_store(
    folder: Path, utterances: pd.DataFrame | None = None, storage: writing.Storage | None = None
) -> Path:
    """A store of votes and the streams mfcc (4 values), resnet (5), glove (9 tokens), prosody."""
    utterances = table() if utterances is None else utterances
    extractors: dict[str, extraction.Extractor] = {
        "audio": Noise("mfcc", 4),
        "prosody": Summary(),
        "visual": Noise("resnet", 5),
        "text": Words(),
    }
    for name, extractor in extractors.items():
        extraction.extract(
            extractor,
            utterances,
            parts=folder / f"{name}.parts",
            output=folder / f"{name}.h5",
            report=folder / f"{name}.json",
        )
    output = folder / "store.h5"
    writing.assemble(
        utterances,
        votes(utterances),
        [folder / f"{name}.h5" for name in sorted(extractors)],
        output,
        corpus="synthetic",
        parameters={
            "audio": {"streams": {"mfcc": {"step": 0.01, "window": 0.025}}},
            "visual": {"streams": {"resnet": {"crop": 112}}},
        },
        storage=storage or stored(),
        description=DESCRIPTION,
    )
    return output
