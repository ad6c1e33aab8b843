"""Accuracy with true and with recognised words, of clips cut from the embedded films.

``python -m benchmarks.transcribing MODEL`` needs the extra ``asr`` and trained models
(``dvc repro train``), and prints JSON and a Markdown table. MODEL is a Whisper model of
faster-whisper, as of ``--transcribe``. Each clip is a test utterance of a fold, cut from the film
and the sound of its dialog, in which other actors may talk too, and is predicted by the model of
its fold: with the words of the transcript, with those recognised in its sound, and without words.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks import results
from benchmarks.extraction import RELEASE
from embedded import lines
from pipeline import InputError
from pipeline.corpus.table import read_table
from pipeline.corpus.utterance import WITHIN, Source, Utterance, from_table
from pipeline.evaluation.metrics import unweighted_accuracy, weighted_accuracy
from pipeline.predict import Predictor
from pipeline.predict.arguments import paths_of_weights
from pipeline.predict.transcribing import Transcriber

WAYS = ("true_words", "recognised_words", "no_words")


def measure(
    clips: pd.DataFrame, root: Path, models: Path, transcriber: Transcriber
) -> dict[str, float]:
    """The figures.

    Parameters
    ----------
    clips
        Rows of the utterance table, with the columns ``fold`` and ``truth`` (the class).
    root
        The folder of the release.
    models
        The folder of the trained models.
    """
    streams = paths_of_weights(Path("params.yaml"))
    truth: list[str] = []
    found: dict[str, list[str]] = {way: [] for way in WAYS}
    errors = words = 0
    for fold in tqdm(clips["fold"].unique().tolist(), "transcribe", unit="fold"):
        rows = clips[clips["fold"] == fold]
        predictor = Predictor.load(models, folds=[fold], streams=streams)
        given = [cut(one) for one in from_table(rows)]
        heard = [replace(one, text=transcriber(one, root)) for one in given]
        unknown = [replace(one, text="") for one in given]
        truth += rows["truth"].tolist()
        for way, utterances in zip(WAYS, (given, heard, unknown), strict=True):
            found[way] += [one.emotion for one in predictor.predict(utterances, root)]
        for one, other in zip(given, heard, strict=True):
            said = plain(lines.spoken(one.text))
            errors, words = errors + distance(said, plain(other.text)), words + len(said)
    figures: dict[str, float] = {"clips": len(truth), "word_error_rate": round(errors / words, 3)}
    for way in WAYS:
        predicted = np.array(found[way])
        figures[f"wa_{way}"] = round(weighted_accuracy(np.array(truth), predicted), 3)
        figures[f"ua_{way}"] = round(unweighted_accuracy(np.array(truth), predicted), 3)
    pairs = zip(found["true_words"], found["recognised_words"], strict=True)
    figures["changed_by_recognition"] = round(sum(a != b for a, b in pairs) / len(truth), 3)
    return figures


def cut(utterance: Utterance) -> Utterance:
    """The part of the dialog's sound and film in place of the utterance's own recording."""
    session = f"Session{int(utterance.dialog[3:5])}"
    sound = Source(f"{session}/dialog/wav/{utterance.dialog}.wav", WITHIN)
    return replace(utterance, audio=sound)


def plain(text: str) -> list[str]:
    """The words in lower case without punctuation."""
    return re.findall(r"[a-z0-9']+", text.lower())


def distance(said: Sequence[str], heard: Sequence[str]) -> int:
    """The least number of words to replace, insert or delete (Levenshtein distance)."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(said, 1):
        before, row[0] = row[0], number
        for place, other in enumerate(heard, 1):
            cost = min(before + (word != other), row[place] + 1, row[place - 1] + 1)
            before, row[place] = row[place], cost
    return row[-1]


def chosen(table: pd.DataFrame, folds: pd.DataFrame, root: Path, count: int) -> pd.DataFrame:
    """Test utterances whose dialog has film and sound, spread evenly over the folds."""
    test = folds[folds["part"] == "test"].rename(columns={"emotion": "truth"})
    rows = table.merge(test[["utterance", "fold", "truth"]], on="utterance").sort_values("fold")
    paths = [cut(one) for one in from_table(rows)]
    there = [
        bool(
            one.video
            and one.audio
            and all((root / s.path).exists() for s in (one.audio, one.video))
        )
        for one in paths
    ]
    rows = rows[there]
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transcribing", description=__doc__)
    default = "default: %(default)s"
    parser.add_argument("model", metavar="MODEL", help="Whisper model, as of --transcribe")
    parser.add_argument("--clips", type=int, default=100, help=f"number of clips; {default}")
    parser.add_argument("--corpus", type=Path, default=Path("data/raw/embedded"), help=default)
    parser.add_argument("--interim", type=Path, default=Path("data/interim/embedded"), help=default)
    parser.add_argument("--models", type=Path, default=Path("models"), help=default)
    options = parser.parse_args(arguments)
    table, folds = options.interim / "utterances.csv", options.models / "folds.csv"
    for required in (options.corpus / RELEASE, table, folds):
        if not required.exists():
            parser.error(f"{required} is missing; run `dvc repro train`")
    root = options.corpus / RELEASE
    try:
        transcriber = Transcriber(options.model, language="en")
        clips = chosen(read_table(table), pd.read_csv(folds), root, options.clips)
        results.show(measure(clips, root, options.models, transcriber))
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
