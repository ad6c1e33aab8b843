"""Features that were extracted elsewhere, as a stream like any other."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from pipeline import InputError
from pipeline.corpus.utterance import Utterance
from pipeline.features.extractor import Context, Extractor, State, Steps
from pipeline.features.pretrained import hashes
from pipeline.params.types import OwnPath

if TYPE_CHECKING:
    from pipeline.features.sources import Source


class External(Extractor):
    """Features [T, D] or [D] of a folder or an HDF5 file; see :mod:`pipeline.features.sources`.

    Attributes
    ----------
    path
        The folder or file, such as ``data/external/wav2vec``.
    """

    version: ClassVar = 1

    extractor: Literal["external"] = "external"
    path: OwnPath

    @property
    def kind(self) -> Any:  # type: ignore[override]  # of the data, not of the class
        """``sequence`` or ``utterance``, as the arrays are."""
        return "sequence" if self._source.form[0] else "utterance"

    @property
    def _source(self) -> Source:
        return _opened(self.path)

    def names(self) -> list[str]:
        """The names of the columns, else numbers."""
        width = self._source.form[1]
        given = self._source.names(next(iter(self._source.readers)))
        stem = Path(self.path).stem
        return given if given and len(given) == width else [f"{stem}_{n}" for n in range(width)]

    def files(self) -> dict[str, str]:
        """SHA-256 of the file; of a folder one digest of the SHA-256 of all files in it."""
        path = Path(self.path)
        if not path.is_dir():
            _opened(self.path)  # its errors say what is wrong
            return hashes("path", [path])
        files = [found for found in sorted(path.iterdir()) if found.suffix in (".npy", ".csv")]
        listed = json.dumps(hashes("path", files), sort_keys=True)
        return {path.name: hashlib.sha256(listed.encode()).hexdigest()}

    def prepare(self, utterances: Sequence[Utterance], context: Context) -> State:
        """Nothing; it compares the names in the source with the utterances of the corpus.

        Raises
        ------
        InputError
            If the source is empty, or names an utterance that is none.
        """
        found, known = self._source.readers, [utterance.id for utterance in utterances]
        if not found:
            raise InputError(
                f"path: {self.path}: holds no features; expected one .npy or .csv file per "
                "utterance, or in HDF5 values, offsets and ids, or a dataset or group per utterance"
            )
        unknown = sorted(set(found) - set(known))
        if unknown:
            near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.5)
            raise InputError(
                f"path: {self.path}: {len(unknown)} of {len(found)} names are no utterances of the "
                f"corpus, such as {unknown[0]}; ids are of the form {(near or known)[0]}; rename "
                "or remove them"
            )
        return {}

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        """The arrays of each utterance, none where the source lacks it."""
        is_sequence, width = self._source.form
        nothing: np.ndarray = np.full(width, np.nan, np.float32)
        if is_sequence:
            nothing = np.zeros((0, width), np.float32)
        found = []
        for utterance in utterances:
            if utterance.id not in self._source.readers:
                found.append(Steps(nothing, problem=f"{Path(self.path).name} lacks it"))
                continue
            values = self._source.read(utterance.id)
            found.append(Steps(values.reshape(-1, width) if is_sequence else values.reshape(width)))
        return found


@cache
def _opened(path: str) -> Source:
    """One open source per process."""
    from pipeline.features.sources import open_source

    return open_source(Path(path))
