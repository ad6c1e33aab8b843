"""The last file of each stream, which outlives the run that wrote it.

It is kept beside the outputs of the stage, since DVC deletes those before it runs the stage again,
and shares its bytes on the disk with them: the output is a hard link to it.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import InputError
from pipeline.features.checking import check
from pipeline.features.planning import Plan
from pipeline.features.stream import ALIGNED, SCHEMA_VERSION, Stream
from pipeline.features.streamfile import Arrays
from pipeline.system.filesystem import unreadable
from pipeline.system.hdf5 import reading


class Former:
    """The last file of a stream: which of its dialogs are as they would be computed again.

    Attributes
    ----------
    rows
        First utterance, and the one after the last, of each dialog that is taken over.
    is_whole
        Whether the file is the one that would be written.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.rows: dict[str, tuple[int, int]] = {}
        self.is_whole = False
        self.stream: Stream | None = None
        self._plan = plan
        self._file: Any = None

    def __enter__(self) -> Former:
        try:
            self._file = reading(self.path)
        except FileNotFoundError:
            return self
        except OSError as error:
            if error.errno:
                raise InputError(
                    f"{unreadable(self.path, error)}; or delete it, and it is computed again"
                ) from error
            return self  # no HDF5 file any more: computed again
        self.stream = Stream(self.path.stem, self._file)
        if self._file.attrs.get("schema_version") == SCHEMA_VERSION:
            self._compare(self.stream)
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read from it any more, and it can be replaced."""
        if self._file is not None:
            self._file.close()

    @property
    def size(self) -> int:
        """Bytes of the file; 0 if there is none."""
        return self.path.stat().st_size if self.stream else 0

    def _compare(self, stream: Stream) -> None:
        found = check(stream)
        if found.beyond:
            return
        plan, group = self._plan, stream.group
        names, sizes = group["dialogs"].asstr()[:].tolist(), group["sizes"][:].tolist()
        keys, ends = group["keys"].asstr()[:].tolist(), np.cumsum(sizes).tolist()
        spells = bool(group.attrs["include_text"])
        for name, key, end, size in zip(names, keys, ends, sizes, strict=True):
            rows = range(end - size, end)
            lacks_tokens = plan.include_text and not spells
            if plan.keys.get(name) == key and not lacks_tokens and found.rows.isdisjoint(rows):
                self.rows[name] = (end - size, end)
        self.is_whole = (
            names == list(plan.keys)
            and len(self.rows) == len(names)
            and plan.include_text == spells
            and group["values"].compression == _compression(plan, group["values"].size)
        )

    def read(self, dialog: str) -> Arrays:
        """Columns of a dialog that is taken over."""
        assert self.stream
        start, end = self.stream.offsets[list(self.rows[dialog])]
        group = self.stream.group
        return {name: group[name][start:end] for name in ALIGNED if name in group}

    def facts(self, dialog: str) -> tuple[np.ndarray, list[tuple[int, str]]]:
        """Lengths of a dialog's utterances, and the position and reason of its problems."""
        assert self.stream
        first, last = self.rows[dialog]
        rows, reasons = self._problems
        places = slice(*np.searchsorted(rows, [first, last]))
        problems = list(zip((rows[places] - first).tolist(), reasons[places], strict=True))
        return self.stream.lengths[first:last], problems

    @cached_property
    def _problems(self) -> tuple[np.ndarray, list[str]]:
        """Rows, which rise, and reasons of all problems; read once for all dialogs."""
        assert self.stream
        group = self.stream.group
        return group["problem_rows"][:], group["problems"].asstr()[:].tolist()


def _compression(plan: Plan, size: int) -> str | None:
    """HDF5's name of how the values are compressed; None where they are not."""
    chosen = plan.extractor.compression
    plain = chosen == "none" or plan.extractor.kind == "utterance" or not size
    return None if plain else chosen
