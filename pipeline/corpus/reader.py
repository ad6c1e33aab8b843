"""A corpus is a reader: it turns a folder into utterances, with a report of all that it skipped.

Each is one class, named in :data:`pipeline.registry.CORPORA`, and the only code that knows the
folders, names and codes of its corpus. Its fields are the parameters of the corpus, the group of
``params.yaml`` with its name, such as ``corpus.iemocap``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from pipeline.corpus.description import Description
from pipeline.corpus.findings import Item
from pipeline.corpus.table import CorpusError
from pipeline.corpus.utterance import Utterance
from pipeline.params.types import Group

if TYPE_CHECKING:
    from pipeline.corpus.parsing import Parsed


@dataclass(frozen=True)
class Reading:
    """What a reader found.

    Attributes
    ----------
    utterances
        In any order.
    categories
        The codes that raters can vote for; empty where nobody votes.
    items
        All that is skipped, missing or odd.
    hidden
        How many hidden files were passed over.
    details
        Tables that this corpus alone has, by name.
    counts
        Counts that this corpus alone has, for the report.
    description
        Of this copy, where its files decide what the codes are; else None.
    """

    utterances: Sequence[Utterance]
    categories: Sequence[str] = ()
    items: Sequence[Item] = ()
    hidden: int = 0
    details: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)
    description: Description | None = None


class Reader(Group):
    """Base of all readers; the parameters of a corpus are fields.

    Attributes
    ----------
    description
        What later stages are told of the corpus.
    """

    description: ClassVar[Description]

    @abstractmethod
    def read(self, root: Path) -> Reading:
        """Read a copy of the corpus, whole or partial; of media at most the headers.

        Raises
        ------
        CorpusError
            If `root` is no copy of the corpus.
        """

    def check(self, root: Path, parsed: Parsed) -> tuple[str, bool]:
        """What to say of a copy, and whether it is whole as far as one can tell."""
        return parsed.summary, True

    def words(self, root: Path, utterances: pd.DataFrame) -> tuple[pd.DataFrame, list[Item]]:
        """The word alignments of a copy: utterance, word, start and end, seconds in the dialog.

        Raises
        ------
        CorpusError
            If there is none.
        """
        raise CorpusError(f"{self.description.title} has no word alignments")

    def seated(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The utterance table with each speaker's place by the present parameters."""
        return rows

    def seats(self, dialog: str) -> list[str]:
        """What to look for in a preview of a dialog, and what to set if it is not there."""
        return ["Every row should show its own speaker, talking."]

    def remark(self, row: pd.Series) -> str:
        """What a preview says of the speaker of an utterance beside the name."""
        return ""
