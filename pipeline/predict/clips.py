"""Clips as utterances: their length, and whether they have sound and pictures."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import InputError
from pipeline.corpus import headers
from pipeline.corpus.utterance import WITHIN, Source, Utterance

REGIONS = ("whole", "left", "right")
LONGEST = 600.0
"""Seconds; a longer clip is no utterance."""
LONGEST_RECORDING = 4 * 3600.0
"""Seconds of a timeline; its sound is in memory, 230 MB an hour."""


@dataclass(frozen=True)
class Clip:
    """A clip to predict, or a part of a longer recording.

    Attributes
    ----------
    path
        A file with sound, pictures or both.
    text
        The words; empty if they are unknown.
    start, end
        Seconds in the file; None for its end.
    region
        Where the speaker is in the picture: ``whole``, ``left`` or ``right``.
    dialog, speaker
        Any names, the same for all clips of a dialog and of a speaker; for models that read the
        dialog.
    """

    path: Path
    text: str = ""
    start: float = 0.0
    end: float | None = None
    region: str = "whole"
    dialog: str = ""
    speaker: str = ""

    def utterance(self, longest: float = LONGEST) -> Utterance:
        """As :func:`utterance_of`."""
        found = utterance_of(
            self.path,
            self.text,
            start=self.start,
            end=self.end,
            region=self.region,
            longest=longest,
        )
        return replace(found, speaker=self.speaker)


def read_list(path: Path) -> list[Clip]:
    """Read clips from a CSV file.

    The column ``clip`` is the file, relative to the folder of the list; ``text``, ``start``,
    ``end``, ``region``, ``dialog`` and ``speaker`` are optional.

    Raises
    ------
    InputError
        If the file cannot be read or a value is invalid; the message names the line and column.
    """
    known = ("clip", "text", "start", "end", "region", "dialog", "speaker")
    clips = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            columns = rows.fieldnames or []
            unknown = [name for name in columns if name not in known]
            if "clip" not in columns or unknown:
                raise InputError(
                    f"{path}, line 1: has the columns {', '.join(columns) or '(none)'}; needed is "
                    f"clip, allowed are {', '.join(known[1:])}"
                )
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                if None in row or None in row.values():
                    raise InputError(f"{where}: has not {len(columns)} values")
                end = _seconds(row.pop("end", ""), f"{where}, column end")
                start = _seconds(row.pop("start", ""), f"{where}, column start") or 0.0
                given = {name: value for name, value in row.items() if value and name != "clip"}
                clips.append(Clip(path.parent / row["clip"], start=start, end=end, **given))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV file in UTF-8: {error}") from error
    return clips


def by_dialog(clips: Sequence[Clip]) -> list[list[Clip]]:
    """The clips of each dialog in their order; a clip without a dialog is alone."""
    dialogs: dict[str | int, list[Clip]] = {}
    for number, clip in enumerate(clips):
        dialogs.setdefault(clip.dialog or number, []).append(clip)
    return list(dialogs.values())


def as_dialog(clips: Sequence[Clip]) -> tuple[list[Utterance], Path, list[str]]:
    """The clips of one dialog as utterances in their order.

    Returns
    -------
    tuple
        The utterances, the folder of their recordings, and the faults of clips that cannot be
        read, which are left out.
    """
    read, faults = [], []
    for clip in clips:
        try:
            read.append((clip.path.parent.resolve(), clip.utterance()))
        except InputError as error:
            faults.append(str(error))
    root = Path(os.path.commonpath([folder for folder, _ in read])) if read else Path()
    utterances = [
        replace(
            own,
            dialog="dialog",
            order=number,
            audio=_below(own.audio, folder.relative_to(root)),
            video=_below(own.video, folder.relative_to(root)),
        )
        for number, (folder, own) in enumerate(read)
    ]
    return utterances, root, faults


def _below(source: Source | None, folder: Path) -> Source | None:
    return source and replace(source, path=(folder / source.path).as_posix())


def _seconds(text: str, where: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{where}: {text!r} is not a number of seconds") from None


def utterance_of(
    path: Path,
    text: str = "",
    *,
    start: float = 0.0,
    end: float | None = None,
    region: str,
    longest: float = LONGEST,
) -> Utterance:
    """A clip, or a part of it, as an utterance; parameters of :class:`~pipeline.predict.Predictor`.

    `longest` is the limit of its length in seconds.

    Raises
    ------
    InputError
        If the file cannot be read, or the times or the region are impossible.
    """
    if region not in REGIONS:
        raise InputError(f"region: {region!r} is none of {', '.join(REGIONS)}")
    try:
        header = headers.read(path)
    except headers.HeaderError as error:
        raise InputError(f"{path}: {error}") from error
    stop = header.seconds if end is None else min(end, header.seconds)
    if not (math.isfinite(start) and 0 <= start < stop):
        raise InputError(
            f"{path}: lasts {header.seconds:.2f} s; {start:.2f} s to {stop:.2f} s is no part of it"
        )
    if stop - start > longest:
        what = "one utterance" if longest == LONGEST else "one timeline"
        instead = ", or --long for a timeline of its speech" if longest == LONGEST else ""
        raise InputError(
            f"{path}: {stop - start:.0f} s are more than {what} (at most {longest:.0f} s); "
            f"give start and end{instead}"
        )
    return Utterance(
        path.name,
        path.name,
        start,
        stop,
        text,
        audio=Source(path.name, WITHIN) if header.sound else None,
        video=Source(path.name, region) if header.picture else None,
    )
