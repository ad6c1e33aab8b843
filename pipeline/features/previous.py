"""The previous file of a stream, from which dialogs are reused.

It is kept outside of the stage's outputs, since DVC deletes those before it runs the stage again.
The output is a hard link to it, so that both use the disk space once.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from pipeline import InputError
from pipeline.features.checking import check
from pipeline.features.planning import Plan
from pipeline.features.stream import ALIGNED, SCHEMA_VERSION, Stream
from pipeline.features.streamfile import Arrays, as_text
from pipeline.system.filesystem import unreadable
from pipeline.system.hdf5 import reading


class PreviousFile:
    """The previous file of a stream, compared with the present plan; it must be closed.

    Attributes
    ----------
    rows
        The first utterance, and the one after the last, of each dialog that can be reused.
    is_current
        Whether the file is the one that would be written now.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.rows: dict[str, tuple[int, int]] = {}
        self.is_current = False
        self.stream: Stream | None = None
        try:
            self.stream = Stream(path.stem, reading(path))
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno:
                raise InputError(
                    f"{unreadable(path, error)}; or delete it, to compute it again"
                ) from error
            return  # damaged: computed again
        if self.stream.group.attrs.get("schema_version") == SCHEMA_VERSION:
            self._compare(self.stream, plan)

    def close(self) -> None:
        """Close the file, so that it can be replaced."""
        if self.stream:
            self.stream.group.close()

    @property
    def size(self) -> int:
        """Bytes of the file; 0 if there is none."""
        return self.path.stat().st_size if self.stream else 0

    def _compare(self, stream: Stream, plan: Plan) -> None:
        damage, group = check(stream), stream.group
        if damage.beyond:
            return
        names, sizes = group["dialogs"].asstr()[:].tolist(), group["sizes"][:].tolist()
        keys, ends = group["keys"].asstr()[:].tolist(), np.cumsum(sizes).tolist()
        with_text = bool(group.attrs["include_text"])
        if plan.include_text and not with_text:
            return
        for name, key, end, size in zip(names, keys, ends, sizes, strict=True):
            rows = range(end - size, end)
            if plan.keys.get(name) == key and damage.rows.isdisjoint(rows):
                self.rows[name] = (end - size, end)
        compressed = plan.extractor.compression != "none" and plan.extractor.kind != "utterance"
        compression = plan.extractor.compression if compressed and group["values"].size else None
        self.is_current = (
            names == list(plan.keys)
            and len(self.rows) == len(names)
            and plan.include_text == with_text
            and group["values"].compression == compression
            # also of an earlier version, which did not record all parameters of today
            and all(
                group.attrs.get(name) == as_text(value) for name, value in plan.attributes.items()
            )
        )

    def read(self, dialog: str) -> Arrays:
        """The columns of a dialog in :attr:`rows`."""
        assert self.stream
        start, end = self.stream.offsets[list(self.rows[dialog])]
        group = self.stream.group
        return {name: group[name][start:end] for name in ALIGNED if name in group}

    def lengths_and_problems(self, dialog: str) -> tuple[np.ndarray, list[tuple[int, str]]]:
        """The lengths of a dialog's utterances, and its problems: position and reason of each."""
        assert self.stream
        first, last = self.rows[dialog]
        rows, reasons = self._problems
        places = slice(*np.searchsorted(rows, [first, last]))
        problems = list(zip((rows[places] - first).tolist(), reasons[places], strict=True))
        return self.stream.lengths[first:last], problems

    @cached_property
    def _problems(self) -> tuple[np.ndarray, list[str]]:
        """Rows, in ascending order, and reasons of all problems."""
        assert self.stream
        group = self.stream.group
        return group["problem_rows"][:], group["problems"].asstr()[:].tolist()
