"""Word alignments: the ``.wdseg`` files of the release, made with the aligner of CMU Sphinx.

There is one file per utterance. Its times are frames of 10 ms; the end frame is included::

        SFrm  EFrm    SegAScr Word
           0    12     -32011 <s>
          13    41    -120433 EXCUSE
          42    60     -99410 ME(2)
          61    75     -40311 </s>
     Total score:     -292165

The files are ``SessionN/sentences/ForcedAlignment/<dialog>/<utterance>.wdseg``. No stage reads
them, so a copy without them is complete for the pipeline.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.corpus.findings import Item
from pipeline.corpus.iemocap.disk import SESSIONS, Release
from pipeline.corpus.iemocap.reasons import Reason
from pipeline.corpus.table import CorpusError
from pipeline.corpus.textfile import decode

FOLDER = "sentences/ForcedAlignment"
COLUMNS = ("utterance", "word", "start", "end")
"""The columns of the table of words."""

_FRAMES_PER_SECOND = 100
_DECIMALS = 4  # as in the times of the label files
_HEADER = ["SFrm", "EFrm", "SegAScr", "Word"]
_ROW = re.compile(r"([0-9]{1,7})\s+([0-9]{1,7})\s+-?[0-9]{1,15}\s+(\S+)")
_PRONUNCIATION = re.compile(r"(?<=.)\([0-9]+\)$")


class AlignmentError(CorpusError):
    """The file is malformed; the message names file and line."""

    def __init__(self, path: Path, line: int, fault: str) -> None:
        super().__init__(f"{path}:{line}: {fault}")
        self.line = line
        self.fault = fault


@dataclass(frozen=True)
class Word:
    """A word and its times.

    Attributes
    ----------
    text
        In capitals, without the number of the pronunciation: ``ME`` for ``ME(2)``. Silence and
        noises are words too: ``<s>``, ``<sil>``, ``++LAUGHTER++``.
    start, end
        Seconds from the start of the utterance, multiples of 10 ms.
    """

    text: str
    start: float
    end: float


def read(path: str | Path) -> list[Word]:
    """Read a ``.wdseg`` file.

    Raises
    ------
    AlignmentError
        If the header or the last line is missing, or a line is malformed.
    OSError
        If it cannot be read.
    """
    path = Path(path)
    lines, _ = decode(path.read_bytes())
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered or numbered[0][1].split() != _HEADER:
        raise AlignmentError(path, 1, f"does not begin with the header {' '.join(_HEADER)}")
    last, end = numbered[-1]
    if not end.startswith("Total score:"):
        raise AlignmentError(path, last, "does not end with the line 'Total score:'; it is cut off")
    words = []
    for number, line in numbered[1:-1]:
        match = _ROW.fullmatch(line)
        if not match:
            raise AlignmentError(path, number, f"malformed line {line[:80]!r}")
        first, final = int(match[1]), int(match[2])
        if final < first:
            raise AlignmentError(path, number, f"the word ends at frame {final}, before {first}")
        text = _PRONUNCIATION.sub("", match[3])
        # the end frame is part of the word
        words.append(Word(text, first / _FRAMES_PER_SECOND, (final + 1) / _FRAMES_PER_SECOND))
    return words


def read_copy(root: Path, utterances: pd.DataFrame) -> tuple[pd.DataFrame, list[Item]]:
    """Read the alignments of the utterances of a copy.

    Parameters
    ----------
    root
        The copy.
    utterances
        Its utterance table. Alignments of other utterances are skipped, since the times of those
        in the dialog are not known.

    Returns
    -------
    tuple
        A table with `COLUMNS`, in the order of `utterances`, with times in seconds in the dialog;
        and the findings.
    """
    release = Release(root)
    files: dict[str, str] = {}
    present = set(utterances["group"])
    for session in (number for number in SESSIONS if str(number) in present):
        for folder in release.dialogs(session, FOLDER).values():
            files |= release.files(folder, ".wdseg")
    rows: list[tuple[str, str, float, float]] = []
    for name, offset in zip(utterances["utterance"], utterances["start"], strict=True):
        path = files.pop(name, "")
        if not path:
            release.add(Reason.NO_ALIGNMENT, name)
            continue
        try:
            words = read(root / path)
        except AlignmentError as error:
            release.add(Reason.BAD_ALIGNMENT, path, error.line, error.fault)
        except OSError as error:
            release.add(Reason.UNREADABLE, path, detail=error.strerror or "")
        else:
            rows += [
                (name, w.text, round(offset + w.start, _DECIMALS), round(offset + w.end, _DECIMALS))
                for w in words
            ]
    for path in files.values():
        release.add(Reason.ALIGNMENT_NO_LABEL, path)
    return pd.DataFrame(rows, columns=list(COLUMNS)), release.items
