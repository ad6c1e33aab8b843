"""A copy of a corpus on disk: what is in its folders, and a record of everything unusual."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from pipeline.corpus import findings, headers
from pipeline.corpus.findings import Item
from pipeline.corpus.headers import Header
from pipeline.corpus.table import CorpusError
from pipeline.corpus.textfile import Row, read_csv
from pipeline.corpus.utterance import WITHIN, Source, Utterance

_EXCERPT = 160  # characters of a detail, such as a line of a file
_TOLERANCE = 0.1  # seconds that an utterance may end after its file


class Reason(findings.Reason):
    """Reasons that apply to any corpus; a reader may have reasons of its own beside these."""

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
    BEYOND = "ends after its file does", "kept as far as it goes"
    WINDOWS_1252 = "not UTF-8, read as Windows-1252", "kept"
    UTF_16 = "UTF-16, read as such", "kept"


class Folder:
    """Access to a copy of a corpus, with a record of findings; paths are relative to its root.

    Attributes
    ----------
    items
        The findings, recorded with :meth:`add`.
    hidden
        Number of hidden files, which are ignored.
    """

    reasons: ClassVar[type[findings.Reason]] = Reason
    """The reasons that this class uses by name; a subclass may replace them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.items: list[Item] = []
        self.hidden = 0

    def add(
        self, reason: findings.Reason, file: str, line: int | None = None, detail: str = ""
    ) -> None:
        """Record a finding; in file names, bytes that are not UTF-8 are replaced."""
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
        visible = [name for name in names if not name.startswith(".")]
        self.hidden += len(names) - len(visible)
        return visible

    def files(self, folder: str, suffix: str) -> dict[str, str]:
        """Return the files of a folder by stem; `suffix` is lower case, upper case matches too."""
        return {
            name[: len(name) - len(suffix)]: name if folder in ("", ".") else f"{folder}/{name}"
            for name in self.names(folder)
            if name.lower().endswith(suffix)
        }

    def rows(self, file: str, required: Collection[str]) -> list[Row]:
        """Read a CSV file with the required columns; malformed rows are recorded and left out.

        A missing file is recorded and has no rows.

        Raises
        ------
        CorpusError
            If the file cannot be read, or lacks a column or has it twice.
        """
        if not (self.root / file).is_file():
            self.add(Reason.NO_FILE, file)
            return []
        content = read_csv(self.root / file, required)
        self.encoding(file, content.encoding)
        for row in content.rows:
            if row.fault:
                self.add(Reason.BAD_LINE, file, row.line, row.fault)
        return [row for row in content.rows if not row.fault]

    def encoding(self, file: str, encoding: str) -> None:
        """Record an encoding other than UTF-8, from :func:`pipeline.corpus.textfile.decode`."""
        if encoding != "utf-8":
            self.add(self.reasons[encoding.replace("-", "_").upper()], file)

    def headers(self, paths: Iterable[str], bad: Reason) -> dict[str, Header]:
        """Read the headers of recordings by path; those that cannot be opened are recorded."""
        opened = {}
        for path, header in headers.read_all(self.root, paths).items():
            if isinstance(header, str):
                self.add(bad, path, detail=header)
            else:
                opened[path] = header
        return opened

    def with_media(self, utterances: Iterable[Utterance]) -> list[Utterance]:
        """Open the recordings and videos of utterances, and complete the utterances by them.

        A source without sound or pictures, or that cannot be opened, is recorded and removed. An
        utterance that is not :data:`~pipeline.corpus.utterance.WITHIN` a recording, or whose end is
        NaN, gets the end of its file.
        """
        utterances = list(utterances)
        audio = {utterance.audio.path for utterance in utterances if utterance.audio}
        video = {utterance.video.path for utterance in utterances if utterance.video}
        opened = self.headers(sorted(video), Reason.BAD_VIDEO)
        opened |= self.headers(sorted(audio - video), Reason.BAD_AUDIO)
        sound = {path for path, header in opened.items() if header.sound}
        pictures = {path for path, header in opened.items() if header.picture}
        for reason, paths in (
            (Reason.NO_SOUND, (audio & opened.keys()) - sound),
            (Reason.NO_PICTURE, (video & opened.keys()) - pictures),
        ):
            for path in sorted(paths):
                self.add(reason, path)
        return [
            replace(
                utterance,
                end=self._end(utterance, opened),
                audio=_if_in(utterance.audio, sound),
                video=_if_in(utterance.video, pictures),
            )
            for utterance in utterances
        ]

    def _end(self, utterance: Utterance, opened: Mapping[str, Header]) -> float:
        """The end of an utterance, in seconds, by the headers of its files."""
        sources = [source for source in (utterance.audio, utterance.video) if source]
        ends = [opened[source.path].seconds for source in sources if source.path in opened]
        unknown = math.isnan(utterance.end)
        if not ends:
            return utterance.start if unknown else utterance.end
        if not utterance.audio or utterance.audio.place != WITHIN:
            return ends[0]
        end = max(utterance.start, ends[0] if unknown else utterance.end)
        if end > max(ends) + _TOLERANCE:
            detail = f"{utterance.id}: {end:.2f} s, the file has {max(ends):.2f} s"
            self.add(Reason.BEYOND, sources[0].path, detail=detail)
        return end


def _if_in(source: Source | None, paths: Container[str]) -> Source | None:
    return source if source and source.path in paths else None


def not_a_copy(root: Path, title: str, contents: str, remedy: str = "") -> CorpusError:
    """The error of a folder without the files of a corpus.

    Parameters
    ----------
    root
        The folder; it need not exist.
    title
        Name of the corpus.
    contents
        The files that were looked for.
    remedy
        What to do; by default, to set ``corpus.root``.
    """
    fault = "does not exist"
    if root.exists():
        fault = f"is not a copy of {title}" if root.is_dir() else "is not a folder"
    remedy = remedy or f"set corpus.root to the folder of {title}"
    return CorpusError(f"{root}: {fault}; looked for {contents} in it; {remedy}")
