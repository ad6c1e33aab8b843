"""The folders and files of a copy of the release, complete or partial."""

from __future__ import annotations

from pathlib import Path

from pipeline.corpus.folder import Folder, not_a_copy
from pipeline.corpus.iemocap import formats
from pipeline.corpus.iemocap.reasons import Reason
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
        If there are none; with a hint if a folder just above or below contains them.
    """
    present = _sessions_in(root)
    if present:
        return present
    remedy = "set corpus.root to the folder that contains them"
    if not root.exists() and not root.is_absolute():
        remedy += (
            "; a queued or temporary experiment does not see a corpus that git ignores: "
            "`dvc exp run --queue --downstream ... train` needs none, see docs/experiments.md"
        )
    elif root.is_dir():
        children = sorted(child for child in root.iterdir() if child.is_dir())
        parents = root.resolve().parents[:4]  # up to the root from SessionN/dialog/avi/DivX
        near = next((folder for folder in [*children, *parents] if _sessions_in(folder)), None)
        remedy = f"{near} contains them; set corpus.root to it" if near else remedy
    raise not_a_copy(root, "IEMOCAP", "the folders Session1 to Session5", remedy)


def _sessions_in(folder: Path) -> list[int]:
    return [session for session in SESSIONS if (folder / f"Session{session}").is_dir()]


class Release(Folder):
    """Access to a copy of the release."""

    reasons = Reason

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._others: dict[str, str] = {}

    def files(self, folder: str, suffix: str) -> dict[str, str]:
        """Return the files of a folder by stem; `suffix` is lower case, upper case matches too."""
        files = {}
        for name in self.names(folder):
            if name.lower().endswith(suffix):
                files[name[: len(name) - len(suffix)]] = f"{folder}/{name}"
            else:
                stem = name.partition(".")[0]
                self._others.setdefault(f"{folder}/{stem}{suffix}", f"{folder}/{name}")
        return files

    def miss(self, expected: str, reason: Reason | None = None, detail: str = "") -> None:
        """Record a missing file; if :meth:`files` saw it in another format, that one."""
        other = self._others.get(expected)
        if other:
            suffix = expected.rpartition(".")[2]
            self.add(Reason.OTHER_FORMAT, other, detail=f"convert it to .{suffix}")
        elif reason:
            self.add(reason, expected, detail=detail)

    def dialogs(self, session: int, folder: str, suffix: str = "") -> dict[formats.Dialog, str]:
        """Return the content of a session's folder by dialog; other names are recorded."""
        paths = {}
        for name, path in self.files(f"Session{session}/{folder}", suffix).items():
            dialog = formats.dialog(name)
            if dialog and dialog.session == session:
                paths[dialog] = path
            else:
                self.add(Reason.NO_DIALOG, path)
        return paths

    def lines(self, file: str) -> list[tuple[int, str]]:
        """Return the lines of a text file with their numbers, stripped, without blank ones."""
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
