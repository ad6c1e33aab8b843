"""A reader of a corpus of one folder of files ``<speaker>-<emotion>-<number>.wav``.

It shows how little a corpus needs; tests/test_toy_corpus.py runs it from folder to report.
"""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import soundfile

from pipeline.corpus.description import Description, Word
from pipeline.corpus.reader import Reader, Reading
from pipeline.corpus.table import CorpusError
from pipeline.corpus.utterance import Source, Utterance


class Toy(Reader):
    """The reader."""

    description: ClassVar[Description] = Description(
        title="Toy",
        emotions={"joy": "joy", "rage": "rage"},
        schemes={"both": {"joy": "joy", "rage": "rage"}},
        group=Word("pair", "pairs"),
    )

    def read(self, root: Path) -> Reading:
        """Read all files of a folder."""
        files = sorted(root.glob("*.wav"))
        if not files:
            raise CorpusError(f"{root}: holds no <speaker>-<emotion>-<number>.wav")
        return Reading([self._utterance(file) for file in files])

    def _utterance(self, file: Path) -> Utterance:
        speaker, emotion, number = file.stem.split("-")
        found = Utterance(file.stem, dialog=file.stem, speaker=speaker, group=speaker[0])
        end, audio = soundfile.info(file).duration, Source(file.name)
        return replace(found, order=int(number), end=end, audio=audio, emotion=emotion, text="so")
