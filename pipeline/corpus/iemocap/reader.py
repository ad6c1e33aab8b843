"""The IEMOCAP release: from the folders of a copy to utterances.

The corpus is licensed by the SAIL laboratory of the University of Southern California:
https://sail.usc.edu/iemocap/ (C. Busso et al., "IEMOCAP: interactive emotional dyadic motion
capture database", Language Resources and Evaluation 42, 2008). What is read of it::

    IEMOCAP_full_release/                                  the root
      Session1 ... Session5/                               one woman and one man each
        dialog/EmoEvaluation/<dialog>.txt                  labels, and every rater's votes
        dialog/transcriptions/<dialog>.txt                 transcripts
        dialog/avi/DivX/<dialog>.avi                       both actors side by side; listed only
        sentences/wav/<dialog>/<utterance>.wav             listed only

A dialog ``Ses01F_impro01`` is of session 1, and F wore the motion-capture markers; its utterance
``Ses01F_impro01_M003`` is spoken by M. Label files are the authority: an utterance is a label line,
with its times. Text, audio and video are looked up for it, and are empty where a copy lacks them.

Partial and damaged copies are read as far as they go. All that is skipped, missing or odd is an
:class:`~pipeline.corpus.findings.Item` of the report, with file, line and reason; hidden files
(``._*``, ``.DS_Store``) are only counted. Media are never opened: each folder is listed once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pandas as pd

from pipeline.corpus.description import Description
from pipeline.corpus.findings import Item
from pipeline.corpus.iemocap import alignment, formats, seats, totals
from pipeline.corpus.iemocap.codes import DESCRIPTION
from pipeline.corpus.iemocap.disk import LABELS, SESSIONS, Copy, find_sessions
from pipeline.corpus.iemocap.reasons import Reason
from pipeline.corpus.iemocap.session import read_session
from pipeline.corpus.iemocap.votes import CODES
from pipeline.corpus.reader import Reader, Reading
from pipeline.corpus.table import CorpusError
from pipeline.corpus.totals import check
from pipeline.corpus.utterance import Utterance

if TYPE_CHECKING:
    from pipeline.corpus.parsing import Parsed


class Iemocap(Reader):
    """The reader of IEMOCAP.

    Attributes
    ----------
    marked_actor
        The side of the video where the actor with the markers sits.
    """

    description: ClassVar[Description] = DESCRIPTION

    marked_actor: Literal["left", "right"] = "left"

    def read(self, root: Path) -> Reading:
        """Read the folder that holds ``Session1`` ... ``Session5``.

        ``details`` are ``raters``, every rater's line of the utterances, and ``dialogs``.

        Raises
        ------
        CorpusError
            If `root` is no copy of the release, or not one utterance could be read from it.
        """
        present = find_sessions(root)
        copy = Copy(root)
        found: list[tuple[Utterance, list[formats.Vote]]] = []
        for session in SESSIONS:
            if session in present:
                found += read_session(copy, session, self.marked_actor)
            else:
                copy.add(Reason.NO_SESSION, f"Session{session}")
        if not found:
            where = f"label lines in SessionN/{LABELS}/<dialog>.txt"
            raise _nothing_read(root, "utterance", where, copy.items)
        found.sort(key=lambda pair: pair[0].id)
        raters = _raters(found)
        return Reading(
            [utterance for utterance, _ in found],
            categories=CODES,
            items=copy.items,
            hidden=copy.hidden,
            details={"raters": raters, "dialogs": _dialogs(found)},
            counts={"raters": len(raters)},
        )

    def check(self, root: Path, parsed: Parsed) -> tuple[str, bool]:
        """Compare a copy with the full release."""
        compared = totals.compare(parsed.utterances)
        return check(parsed, compared, totals.missing_sessions(compared))

    def words(self, root: Path, utterances: pd.DataFrame) -> tuple[pd.DataFrame, list[Item]]:
        """Read the release's word alignments, where a copy has them."""
        found, items = alignment.read_copy(root, utterances)
        if found.empty:
            where = f"SessionN/{alignment.FOLDER}/<dialog>/<utterance>.wdseg"
            raise _nothing_read(root, "word alignment", where, items)
        return found, items

    def seated(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The utterance table with each speaker's half for the present `marked_actor`."""
        return seats.seated(rows, self.marked_actor)

    def seats(self, dialog: str) -> list[str]:
        """Who wears the markers, and what to set if the rows show the listener."""
        return seats.notes(dialog, self.marked_actor)

    def remark(self, row: pd.Series) -> str:
        """Whether the speaker wears the markers."""
        return seats.remark(row["dialog"], row["gender"])


def _raters(found: Sequence[tuple[Utterance, list[formats.Vote]]]) -> pd.DataFrame:
    """One row per rater's line, by utterance and in the label file's order.

    Scores are empty in categorical rows, votes in attribute rows.
    """
    columns = ["utterance", *(name for name in formats.Vote.__dataclass_fields__)]
    rows = [
        {"utterance": utterance.id} | vars(vote) for utterance, given in found for vote in given
    ]
    return pd.DataFrame(rows, columns=columns)


def _dialogs(found: Sequence[tuple[Utterance, list[formats.Vote]]]) -> pd.DataFrame:
    """One row per dialog: what its id says, and what the utterances have of it."""
    members: dict[str, list[Utterance]] = {}
    for utterance, _ in found:
        members.setdefault(utterance.dialog, []).append(utterance)
    rows: list[dict[str, Any]] = []
    for name, utterances in sorted(members.items()):
        dialog = formats.dialog(name)
        assert dialog  # the names come from files that were taken for a dialog's
        video = utterances[0].video
        about = {key: value for key, value in asdict(dialog).items() if key != "name"}
        rows.append(
            {"dialog": name}
            | about
            | {"utterances": len(utterances), "video": video.path if video else ""}
        )
    return pd.DataFrame(rows)


def _nothing_read(root: Path, what: str, where: str, items: Sequence[Item]) -> CorpusError:
    counts = Counter(item.reason.text for item in items)
    found = ", ".join(f"{reason} ({count})" for reason, count in counts.most_common())
    return CorpusError(
        f"{root}: not one {what} could be read; looked for {where}; found: {found or 'no file'}"
    )
