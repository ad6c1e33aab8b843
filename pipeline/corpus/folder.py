"""The folder of a corpus: what lies in it, and an account of all that was odd."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pipeline.corpus import findings, headers
from pipeline.corpus.findings import Item
from pipeline.corpus.headers import Header
from pipeline.corpus.table import CorpusError

_EXCERPT = 160  # characters of a detail, such as a line that the report quotes


class Reason(findings.Reason):
    """What can be said of any corpus; a reader has its own reasons beside these."""

    NO_FOLDER = "folder missing", "skipped"
    NO_FILE = "file missing", "skipped"
    UNREADABLE = "cannot be read from the disk", "skipped"
    UNNAMED = "not named as a recording of the corpus", "skipped"
    BAD_LINE = "malformed line", "skipped"
    UNKNOWN_EMOTION = "unknown emotion", "skipped"
    DUPLICATE = "id seen before", "skipped"
    NO_LABEL = "recording without a label", "skipped"
    BAD_AUDIO = "recording that cannot be opened", "kept without it"
    BAD_VIDEO = "video that cannot be opened", "kept without it"
    NO_AUDIO = "recording missing", "kept"
    NO_VIDEO = "video missing", "kept"
    NO_SOUND = "video without sound", "kept"
    NO_PICTURE = "video without pictures", "kept"
    WINDOWS_1252 = "not UTF-8, read as Windows-1252", "kept"
    UTF_16 = "UTF-16, read as such", "kept"


class Folder:
    """Access to a copy that keeps account of what it meets; paths are relative to its root.

    Attributes
    ----------
    items
        All that was recorded with :meth:`add`.
    hidden
        How many hidden files were passed over.
    """

    reasons: ClassVar[type[findings.Reason]] = Reason
    """The class of its reasons, which has those that this class gives by their names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.items: list[Item] = []
        self.hidden = 0

    def add(
        self, reason: findings.Reason, file: str, line: int | None = None, detail: str = ""
    ) -> None:
        """Record a finding; names that are not UTF-8 on disk are made so."""
        file = file.encode(errors="replace").decode()
        self.items.append(Item(reason, file, line, detail[:_EXCERPT]))

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder; hidden ones are only counted."""
        try:
            names = sorted(os.listdir(self.root / folder))  # noqa: PTH208  names only, no stat
        except (FileNotFoundError, NotADirectoryError):
            self.add(self.reasons["NO_FOLDER"], folder)
            return []
        except OSError as error:
            self.add(self.reasons["UNREADABLE"], folder, detail=error.strerror or "")
            return []
        shown = [name for name in names if not name.startswith(".")]
        self.hidden += len(names) - len(shown)
        return shown

    def files(self, folder: str, suffix: str) -> dict[str, str]:
        """Return the files of a folder by stem; `suffix` is in lower case, theirs in any."""
        return {
            name[: len(name) - len(suffix)]: name if folder in ("", ".") else f"{folder}/{name}"
            for name in self.names(folder)
            if name.lower().endswith(suffix)
        }

    def headers(self, paths: Mapping[str, str], bad: Reason) -> dict[str, Header]:
        """Read the headers of media, by id as `paths`; what cannot be opened is recorded."""
        found = {}
        for name, header in headers.read_all(self.root, paths).items():
            if isinstance(header, str):
                self.add(bad, paths[name], detail=header)
            else:
                found[name] = header
        return found

    def encoding(self, file: str, encoding: str) -> None:
        """Record a text file that is not UTF-8; of :func:`pipeline.corpus.textfile.decode`."""
        if encoding != "utf-8":
            self.add(self.reasons[encoding.replace("-", "_").upper()], file)


def present(root: Path, title: str, looked_for: str) -> None:
    """Check that a corpus's folder is there.

    Raises
    ------
    CorpusError
        With what was looked for, and what to do.
    """
    if not root.is_dir():
        fault = "is no folder" if root.exists() else "does not exist"
        raise CorpusError(
            f"{root}: {fault}; looked for {looked_for} in it; set corpus.root to the folder of "
            f"{title}"
        )
