"""The folders and files of a copy of the release, whole or partial."""

from __future__ import annotations

from pathlib import Path

from pipeline.corpus.folder import Folder
from pipeline.corpus.iemocap import formats
from pipeline.corpus.iemocap.reasons import Reason
from pipeline.corpus.table import CorpusError
from pipeline.corpus.textfile import decode

SESSIONS = range(1, 6)
LABELS = "dialog/EmoEvaluation"
TRANSCRIPTS = "dialog/transcriptions"
VIDEO = "dialog/avi/DivX"
AUDIO = "sentences/wav"


def find_sessions(root: Path) -> list[int]:
    """Return the sessions of the copy at `root`.

    Raises
    ------
    CorpusError
        If there are none; with a hint where the sessions lie just above or below.
    """
    remedy = "set corpus.root to the folder that holds them"
    if not root.is_dir():
        fault = "is no folder" if root.exists() else "does not exist"
        if not root.exists() and not root.is_absolute():
            remedy += (
                "; a queued or temporary experiment sees no corpus that git ignores: "
                "`dvc exp run --queue --downstream ... train` needs none, see docs/experiments.md"
            )
        raise CorpusError(f"{root}: {fault}; looked for Session1 to Session5 in it; {remedy}")
    present = _sessions_in(root)
    if present:
        return present
    children = sorted(child for child in root.iterdir() if child.is_dir())
    parents = root.resolve().parents[:4]  # up to the root from SessionN/dialog/avi/DivX
    near = next((folder for folder in [*children, *parents] if _sessions_in(folder)), None)
    remedy = f"{near} holds them; set corpus.root to it" if near else remedy
    raise CorpusError(
        f"{root}: is no copy of IEMOCAP; looked for the folders Session1 to Session5 in it and "
        f"found none; {remedy}"
    )


def _sessions_in(folder: Path) -> list[int]:
    return [session for session in SESSIONS if (folder / f"Session{session}").is_dir()]


class Copy(Folder):
    """Access to a copy of the release."""

    reasons = Reason

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._others: dict[str, str] = {}

    def files(self, folder: str, suffix: str) -> dict[str, str]:
        """Return the files of a folder by stem; `suffix` is in lower case, theirs in any."""
        found = {}
        for name in self.names(folder):
            if name.lower().endswith(suffix):
                found[name[: len(name) - len(suffix)]] = f"{folder}/{name}"
            else:
                stem = name.partition(".")[0]
                self._others.setdefault(f"{folder}/{stem}{suffix}", f"{folder}/{name}")
        return found

    def miss(self, expected: str, reason: Reason | None = None, detail: str = "") -> None:
        """Record a file that is not there: by its other format if :meth:`files` saw one."""
        other = self._others.get(expected)
        if other:
            suffix = expected.rpartition(".")[2]
            self.add(Reason.OTHER_FORMAT, other, detail=f"convert it to .{suffix}")
        elif reason:
            self.add(reason, expected, detail=detail)

    def dialogs(self, session: int, folder: str, suffix: str = "") -> dict[formats.Dialog, str]:
        """Return what is in a session's folder by dialog; other names are recorded."""
        found = {}
        for name, path in self.files(f"Session{session}/{folder}", suffix).items():
            dialog = formats.dialog(name)
            if dialog and dialog.session == session:
                found[dialog] = path
            else:
                self.add(Reason.NO_DIALOG, path)
        return found

    def lines(self, file: str) -> list[tuple[int, str]]:
        """Return the lines of a text file that are not blank, stripped, numbered from 1."""
        try:
            content = (self.root / file).read_bytes()
        except OSError as error:  # such as a bad sector, or no permission
            self.add(Reason.UNREADABLE, file, detail=error.strerror or "")
            return []
        lines, encoding = decode(content)
        self.encoding(file, encoding)
        numbered = ((number, line.strip()) for number, line in enumerate(lines, 1))
        filled = [(number, line) for number, line in numbered if line]
        if not filled:
            self.add(Reason.EMPTY, file)
        return filled
