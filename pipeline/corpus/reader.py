"""Base of the corpus readers: they turn a folder into utterances and report what they skip.

Each reader is one class, listed in :data:`pipeline.registry.CORPORA`. Only the reader knows the
folders, names and codes of its corpus. Its fields are the parameters of the corpus, such as the
group ``corpus.iemocap`` of ``params.yaml``.
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
    """The result of a reader.

    Attributes
    ----------
    utterances
        In any order.
    categories
        The codes that raters can vote for; empty if there are no votes.
    items
        The findings: what is skipped, missing or unusual.
    hidden
        Number of hidden files, which are ignored.
    details
        Tables of this corpus only, by name.
    counts
        Counts of this corpus only, for the report.
    description
        Description of this copy, if the codes depend on its files; else None.
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
        What later stages need to know about the corpus.
    dialogs
        Whether its utterances are in dialogs, or each is alone.
    """

    description: ClassVar[Description]
    dialogs: ClassVar[bool] = True

    @abstractmethod
    def read(self, root: Path) -> Reading:
        """Read a copy of the corpus, complete or partial; of media, at most the headers.

        Raises
        ------
        CorpusError
            If `root` is not a copy of the corpus.
        """

    def check(self, root: Path, parsed: Parsed) -> tuple[str, bool]:
        """Return a report about a copy, and whether it has all known totals."""
        return parsed.summary, True

    def words(self, root: Path, utterances: pd.DataFrame) -> tuple[pd.DataFrame, list[Item]]:
        """Read the word alignments: utterance, word, start and end in seconds in the dialog.

        Raises
        ------
        CorpusError
            If there are none.
        """
        raise CorpusError(f"{self.description.title} has no word alignments")

    def with_places(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Set the place of each speaker in the video by the present parameters."""
        return rows

    def preview_notes(self, dialog: str) -> list[str]:
        """Say what the preview of a dialog should show, and what to set if it does not."""
        return ["Every row should show its own speaker, talking."]

    def preview_remark(self, row: pd.Series) -> str:
        """Remark on the speaker of an utterance, shown beside the name."""
        return ""
