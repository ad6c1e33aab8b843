"""From a reader to the tables of a corpus: put together, checked, and written."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.corpus import findings
from pipeline.corpus.description import Description
from pipeline.corpus.findings import Item
from pipeline.corpus.reader import Reader, Reading
from pipeline.corpus.table import TABLES, CorpusError, write_table
from pipeline.corpus.utterance import DIMENSIONS, Utterance
from pipeline.system.filesystem import write_csv, write_text


@dataclass(frozen=True)
class Parsed:
    """What a copy of a corpus holds.

    Attributes
    ----------
    description
        The corpus.
    utterances
        The utterance table, sorted by dialog and id; columns of ``TABLES["utterances"]``.
    votes
        One row per utterance, in the same order: its id, and how many raters chose each code.
    details
        Tables that this corpus alone has, by name.
    items
        All that is skipped, missing or odd, by file and line.
    report
        Counts and items as JSON; see :func:`pipeline.corpus.findings.report`.
    """

    description: Description
    utterances: pd.DataFrame
    votes: pd.DataFrame
    details: Mapping[str, pd.DataFrame]
    items: list[Item]
    report: dict[str, Any]

    @property
    def media(self) -> list[str]:
        """Paths of all recordings and videos below the corpus's root."""
        paths = pd.concat([self.utterances["audio"], self.utterances["video"]])
        return [path for path in paths.unique() if path]

    @property
    def summary(self) -> str:
        """The counts as tables for the terminal."""
        return findings.summary(self.report, self.description)


def parse(reader: Reader, root: str | Path) -> Parsed:
    """Read a copy of a corpus, whole or partial.

    Raises
    ------
    CorpusError
        If `root` is no copy of the corpus, not one utterance could be read from it, or the reader
        found an id twice.
    """
    reading = reader.read(Path(root))
    if not reading.utterances:
        found = findings.reasons(findings.count(reading.items))
        raise CorpusError(f"{root}: not one utterance could be read\n{found}".strip())
    spoken = sorted(reading.utterances, key=lambda utterance: (utterance.dialog, utterance.id))
    _check(spoken)
    table = _table(spoken)
    items = sorted(reading.items, key=lambda item: (item.file, item.line or 0))
    description = reading.description or reader.description
    report = findings.report(table, description, items, reading.hidden, reading.counts)
    votes = _votes(spoken, reading)
    return Parsed(description, table, votes, reading.details, items, report)


def write(parsed: Parsed, hashes: Mapping[str, str], folder: Path) -> None:
    """Write the tables as CSV, ``corpus.json`` with the description, and ``parse.json``.

    Parameters
    ----------
    parsed
        The corpus.
    hashes
        Of its media by path, from :func:`pipeline.corpus.media.hashes`.
    folder
        Gets the :data:`~pipeline.corpus.table.TABLES`, and the corpus's own in ``details/``.
    """
    own = folder / "details"
    shutil.rmtree(own, ignore_errors=True)  # of another format, perhaps
    own.mkdir(parents=True)
    table = parsed.utterances
    for name in ("audio", "video"):
        table = table.assign(**{f"{name}_sha256": [hashes.get(path, "") for path in table[name]]})
    for name in TABLES:
        write_table(parsed.votes if name == "votes" else table, folder / f"{name}.csv")
    for name, detail in parsed.details.items():
        write_csv(own / f"{name}.csv", detail)
    report = json.dumps(parsed.report, indent=2, ensure_ascii=False)
    for name, text in (("corpus", parsed.description.as_json()), ("parse", report)):
        write_text(folder / f"{name}.json", f"{text}\n")


def _check(spoken: list[Utterance]) -> None:
    """Raise where utterances are no corpus."""
    for name, count in Counter(utterance.id for utterance in spoken).items():
        if count > 1:
            raise CorpusError(f"utterance {name} is there {count} times")


def _table(spoken: list[Utterance]) -> pd.DataFrame:
    rows = [
        {
            "utterance": utterance.id,
            **{name: utterance.dimensions.get(name, np.nan) for name in DIMENSIONS},
            "audio": utterance.audio.path if utterance.audio else "",
            "audio_place": utterance.audio.place if utterance.audio else "",
            "video": utterance.video.path if utterance.video else "",
            "place": utterance.video.place if utterance.video else "",
            **{name: getattr(utterance, name) for name in _SAME},
        }
        for utterance in spoken
    ]
    columns = TABLES["utterances"]
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


_SAME = [
    name
    for name in TABLES["utterances"]
    if name not in ("utterance", "audio", "audio_place", "video", "place", *DIMENSIONS)
]
"""Columns that are named as attributes of utterances."""


def _votes(spoken: list[Utterance], reading: Reading) -> pd.DataFrame:
    """How many raters chose each of the categories; float32, as many digits as thirds need."""
    ids = pd.Series([utterance.id for utterance in spoken], name="utterance")
    counts = np.array(
        [[utterance.votes.get(code, 0.0) for code in reading.categories] for utterance in spoken],
        dtype=np.float32,
    )
    return pd.concat([ids, pd.DataFrame(counts, columns=list(reading.categories))], axis=1)
