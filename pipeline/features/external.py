"""Features that were extracted by another program, as a stream."""

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
    """Features [T, D] or [D] from a folder or an HDF5 file; see :mod:`pipeline.features.sources`.

    Attributes
    ----------
    path
        The folder or file, such as ``data/external/wav2vec``.
    """

    version: ClassVar = 1

    extractor: Literal["external"] = "external"
    path: OwnPath

    @property
    def kind(self) -> Any:  # type: ignore[override]  # depends on the data
        """``sequence`` or ``utterance``, by the shape of the arrays."""
        return "sequence" if self._source.form[0] else "utterance"

    @property
    def _source(self) -> Source:
        return _opened(self.path)

    def names(self) -> list[str]:
        """The names of the columns in the source; numbered names if it has none."""
        width = self._source.form[1]
        columns = self._source.names(next(iter(self._source.readers)))
        stem = Path(self.path).stem
        if columns and len(columns) == width:
            return columns
        return [f"{stem}_{n}" for n in range(width)]

    def files(self) -> dict[str, str]:
        """SHA-256 of the file; for a folder, one digest of the SHA-256 of all its files."""
        path = Path(self.path)
        if not path.is_dir():
            _opened(self.path)  # for its errors
            return hashes("path", [path])
        files = [file for file in sorted(path.iterdir()) if file.suffix in (".npy", ".csv")]
        listed = json.dumps(hashes("path", files), sort_keys=True)
        return {path.name: hashlib.sha256(listed.encode()).hexdigest()}

    def prepare(self, utterances: Sequence[Utterance], context: Context) -> State:
        """No state; this checks that the names in the source are utterances of the corpus.

        Raises
        ------
        InputError
            If the source is empty, or has features of an unknown utterance.
        """
        names, ids = self._source.readers, [utterance.id for utterance in utterances]
        if not names:
            raise InputError(
                f"path: {self.path}: holds no features; expected one .npy or .csv file per "
                "utterance, or in HDF5 values, offsets and ids, or a dataset or group per utterance"
            )
        unknown = sorted(set(names) - set(ids))
        if unknown:
            near = difflib.get_close_matches(unknown[0], ids, n=1, cutoff=0.5)
            raise InputError(
                f"path: {self.path}: {len(unknown)} of {len(names)} names are no utterances of the "
                f"corpus, such as {unknown[0]}; ids are of the form {(near or ids)[0]}; rename "
                "or remove them"
            )
        return {}

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        """The array of each utterance; no step, or NaN, if the source has none."""
        is_sequence, width = self._source.form
        features = []
        for utterance in utterances:
            values, problem = np.full((0 if is_sequence else 1, width), np.nan, np.float32), ""
            if utterance.id in self._source.readers:
                values = self._source.read(utterance.id)
            else:
                problem = f"{Path(self.path).name} lacks it"
            shape = (-1, width) if is_sequence else (width,)
            features.append(Steps(values.reshape(shape), problem=problem))
        return features


@cache
def _opened(path: str) -> Source:
    """The source, opened once per process."""
    from pipeline.features.sources import open_source

    return open_source(Path(path))
