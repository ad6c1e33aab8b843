"""Reader of IEMOCAP.

The corpus is licensed by the SAIL laboratory of the University of Southern California:
https://sail.usc.edu/iemocap/ (C. Busso et al., "IEMOCAP: interactive emotional dyadic motion
capture database", Language Resources and Evaluation 42, 2008). These files are read::

    IEMOCAP_full_release/                                  the root
      Session1 ... Session5/                               one woman and one man each
        dialog/EmoEvaluation/<dialog>.txt                  labels, and the raters' votes
        dialog/transcriptions/<dialog>.txt                 transcripts
        dialog/avi/DivX/<dialog>.avi                       both actors, side by side; listed only
        sentences/wav/<dialog>/<utterance>.wav             listed only

In dialog ``Ses01F_impro01`` of session 1, F wore the motion-capture markers; its utterance
``Ses01F_impro01_M003`` is spoken by M. The label files define the utterances and their times:
one label line is one utterance. Its text, audio and video are empty if the copy lacks them.

Partial and damaged copies are read as far as possible. Everything skipped, missing or unusual is an
:class:`~pipeline.corpus.findings.Item` of the report, with file, line and reason; hidden files
(``._*``, ``.DS_Store``) are only counted. Media are never opened: each folder is listed once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pandas as pd

from pipeline.corpus.description import Description
from pipeline.corpus.findings import Item
from pipeline.corpus.iemocap import alignment, formats, totals
from pipeline.corpus.iemocap.codes import DESCRIPTION
from pipeline.corpus.iemocap.disk import LABELS, SESSIONS, Release, find_sessions
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
        The side of the video on which the actor with the markers sits.
    """

    description: ClassVar[Description] = DESCRIPTION

    marked_actor: Literal["left", "right"] = "left"

    def read(self, root: Path) -> Reading:
        """Read the folder that contains ``Session1`` ... ``Session5``.

        The tables of ``details`` are ``raters``, one row per rater's line, and ``dialogs``.

        Raises
        ------
        CorpusError
            If `root` is not a copy of the release, or no utterance could be read from it.
        """
        present = find_sessions(root)
        release = Release(root)
        rated: list[tuple[Utterance, list[formats.Vote]]] = []
        for session in SESSIONS:
            if session in present:
                rated += read_session(release, session, self.marked_actor)
            else:
                release.add(Reason.NO_SESSION, f"Session{session}")
        if not rated:
            where = f"label lines in SessionN/{LABELS}/<dialog>.txt"
            raise _nothing_read(root, "utterance", where, release.items)
        rated.sort(key=lambda pair: pair[0].id)
        raters = _raters(rated)
        return Reading(
            [utterance for utterance, _ in rated],
            categories=CODES,
            items=release.items,
            hidden=release.hidden,
            details={"raters": raters, "dialogs": _dialogs(rated)},
            counts={"raters": len(raters)},
        )

    def check(self, root: Path, parsed: Parsed) -> tuple[str, bool]:
        """Compare a copy with the full release."""
        compared = totals.compare(parsed.utterances)
        return check(parsed, compared, totals.missing_sessions(compared))

    def words(self, root: Path, utterances: pd.DataFrame) -> tuple[pd.DataFrame, list[Item]]:
        """Read the word alignments of the release."""
        table, items = alignment.read_copy(root, utterances)
        if table.empty:
            where = f"SessionN/{alignment.FOLDER}/<dialog>/<utterance>.wdseg"
            raise _nothing_read(root, "word alignment", where, items)
        return table, items

    def with_places(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Set each speaker's half of the picture by the present `marked_actor`."""
        places = [
            formats.place(dialog, speaker, self.marked_actor)
            if video and (dialog := formats.dialog(name))
            else ""
            for name, speaker, video in zip(
                rows["dialog"], rows["gender"], rows["video"], strict=True
            )
        ]
        return rows.assign(place=places)

    def preview_notes(self, dialog: str) -> list[str]:
        """Say who wears the markers, and what to set if the rows show the listener."""
        parsed = formats.dialog(dialog)
        actor = {"F": "the woman", "M": "the man"}[parsed.marked] if parsed else "the actor"
        return [
            f"By its name, {actor} wears the markers in this dialog and sits on the "
            f"{self.marked_actor} (corpus.iemocap.marked_actor).",
            "Every row should show its own speaker, talking. If the rows show the listener, set "
            f"corpus.iemocap.marked_actor to {formats.OPPOSITE[self.marked_actor]}.",
        ]

    def preview_remark(self, row: pd.Series) -> str:
        """Say whether the speaker wears the markers."""
        dialog = formats.dialog(row["dialog"])
        return "wears the markers" if dialog and dialog.marked == row["gender"] else ""


def _raters(rated: Sequence[tuple[Utterance, list[formats.Vote]]]) -> pd.DataFrame:
    """One row per rater's line, sorted by utterance, then in the order of the label file.

    Scores are empty in categorical rows, votes in attribute rows.
    """
    columns = ["utterance", *formats.Vote.__dataclass_fields__]
    rows = [
        {"utterance": utterance.id} | vars(vote) for utterance, votes in rated for vote in votes
    ]
    return pd.DataFrame(rows, columns=columns)


def _dialogs(rated: Sequence[tuple[Utterance, list[formats.Vote]]]) -> pd.DataFrame:
    """One row per dialog: the parts of its id, its number of utterances and its video."""
    members: dict[str, list[Utterance]] = {}
    for utterance, _ in rated:
        members.setdefault(utterance.dialog, []).append(utterance)
    rows: list[dict[str, Any]] = []
    for name, utterances in sorted(members.items()):
        dialog = formats.dialog(name)
        assert dialog  # checked when its files were listed
        video = utterances[0].video
        rows.append(
            vars(dialog) | {"utterances": len(utterances), "video": video.path if video else ""}
        )
    return pd.DataFrame(rows).rename(columns={"name": "dialog"})


def _nothing_read(root: Path, kind: str, where: str, items: Sequence[Item]) -> CorpusError:
    counts = Counter(item.reason.text for item in items)
    reasons = ", ".join(f"{reason} ({count})" for reason, count in counts.most_common())
    return CorpusError(
        f"{root}: no {kind} could be read; looked for {where}; found: {reasons or 'no file'}"
    )
