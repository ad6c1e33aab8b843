"""Run the reader of a corpus, make its tables, and write them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.corpus import findings
from pipeline.corpus.description import Description
from pipeline.corpus.findings import Item
from pipeline.corpus.reader import Reader
from pipeline.corpus.table import TABLES, CorpusError, write_table
from pipeline.corpus.utterance import COLUMNS, DIMENSIONS, Utterance
from pipeline.system.filesystem import write_csv, write_text


@dataclass(frozen=True)
class Parsed:
    """The content of a copy of a corpus.

    Attributes
    ----------
    description
        The description of the corpus.
    utterances
        The utterance table, sorted by dialog and id; columns of ``TABLES["utterances"]``.
    votes
        One row per utterance, in the same order: its id, and the number of votes for each code.
    details
        Tables of this corpus only, by name.
    items
        The findings, sorted by file and line.
    report
        Counts and findings as JSON; see :func:`pipeline.corpus.findings.report`.
    """

    description: Description
    utterances: pd.DataFrame
    votes: pd.DataFrame
    details: Mapping[str, pd.DataFrame]
    items: list[Item]
    report: dict[str, Any]

    @property
    def media(self) -> list[str]:
        """Paths of all recordings and videos, relative to the root of the corpus."""
        paths = pd.concat([self.utterances["audio"], self.utterances["video"]])
        return [path for path in paths.unique() if path]

    @property
    def summary(self) -> str:
        """The counts as tables for the terminal: emotions, then reasons."""
        emotions = findings.emotions(self.report, self.description.group.one)
        return f"{emotions}\n\n{findings.reasons(self.report['reasons'])}".rstrip()


def parse(reader: Reader, root: str | Path) -> Parsed:
    """Read a copy of a corpus, complete or partial.

    Raises
    ------
    CorpusError
        If `root` is not a copy of the corpus, no utterance could be read from it, or two
        utterances have the same id.
    """
    reading = reader.read(Path(root))
    if not reading.utterances:
        reasons = findings.reasons(findings.count(reading.items))
        raise CorpusError(f"{root}: no utterance could be read\n{reasons}".strip())
    utterances = sorted(reading.utterances, key=lambda utterance: (utterance.dialog, utterance.id))
    for name, count in Counter(utterance.id for utterance in utterances).items():
        if count > 1:
            raise CorpusError(f"utterance {name} occurs {count} times")
    table = _table(utterances)
    items = sorted(reading.items, key=lambda item: (item.file, item.line or 0))
    description = reading.description or reader.description
    report = findings.report(table, description, items, reading.hidden, reading.counts)
    votes = _votes(utterances, reading.categories)
    return Parsed(description, table, votes, reading.details, items, report)


def write(parsed: Parsed, hashes: Mapping[str, str], folder: Path) -> None:
    """Write the tables as CSV, ``corpus.json`` with the description, and ``parse.json``.

    Parameters
    ----------
    parsed
        The content of the copy.
    hashes
        Hash of each media file by path, from :func:`pipeline.corpus.media.hashes`.
    folder
        Gets the :data:`~pipeline.corpus.table.TABLES`, and the details in ``details/``.
    """
    details = folder / "details"
    shutil.rmtree(details, ignore_errors=True)  # they may be those of another format
    details.mkdir(parents=True)
    table = parsed.utterances
    for name in ("audio", "video"):
        table = table.assign(**{f"{name}_sha256": [hashes.get(path, "") for path in table[name]]})
    for name in TABLES:
        write_table(parsed.votes if name == "votes" else table, folder / f"{name}.csv")
    for name, detail in parsed.details.items():
        write_csv(details / f"{name}.csv", detail)
    report = json.dumps(parsed.report, indent=2, ensure_ascii=False)
    for name, text in (("corpus", parsed.description.as_json()), ("parse", report)):
        write_text(folder / f"{name}.json", f"{text}\n")


def _table(utterances: Sequence[Utterance]) -> pd.DataFrame:
    rows = [
        {
            "utterance": utterance.id,
            **{name: utterance.dimensions.get(name, np.nan) for name in DIMENSIONS},
            "audio": utterance.audio.path if utterance.audio else "",
            "audio_place": utterance.audio.place if utterance.audio else "",
            "video": utterance.video.path if utterance.video else "",
            "place": utterance.video.place if utterance.video else "",
            **{name: getattr(utterance, name) for name in COLUMNS},
        }
        for utterance in utterances
    ]
    columns = TABLES["utterances"]
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def _votes(utterances: Sequence[Utterance], categories: Sequence[str]) -> pd.DataFrame:
    """Number of votes for each category; float32, which is enough for thirds of a vote."""
    ids = pd.Series([utterance.id for utterance in utterances], name="utterance")
    counts = np.array(
        [[utterance.votes.get(code, 0.0) for code in categories] for utterance in utterances],
        dtype=np.float32,
    )
    return pd.concat([ids, pd.DataFrame(counts, columns=list(categories))], axis=1)
