"""Clips as utterances: their length, and whether they have sound and pictures."""

from __future__ import annotations

import math
from pathlib import Path

from pipeline import InputError
from pipeline.corpus import headers
from pipeline.corpus.utterance import WITHIN, Source, Utterance

REGIONS = ("whole", "left", "right")
LONGEST = 600.0
"""Seconds; a longer clip is no utterance."""


def utterance_of(
    path: Path, text: str = "", *, start: float = 0.0, end: float | None = None, region: str
) -> Utterance:
    """A clip, or a part of it, as an utterance; parameters of :class:`~pipeline.predict.Predictor`.

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
    if stop - start > LONGEST:
        raise InputError(
            f"{path}: {stop - start:.0f} s are more than one utterance (at most {LONGEST:.0f} s); "
            "give start and end"
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
