"""EmoDB, the Berlin Database of Emotional Speech: from a folder of recordings to utterances.

F. Burkhardt et al., "A database of German emotional speech", Interspeech 2005. What is read::

    wav/03a01Fa.wav        below the root, or the root itself: speaker, sentence, emotion, version

Ten actors speak ten sentences, each in several emotions, alone: there are no dialogs, no videos,
and words that tell nothing. A fold leaves out a man and a woman.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from pipeline.corpus import totals
from pipeline.corpus.description import Description, Word
from pipeline.corpus.folder import Folder, Reason, present
from pipeline.corpus.reader import Reader, Reading
from pipeline.corpus.table import CorpusError
from pipeline.corpus.utterance import Source, Utterance

if TYPE_CHECKING:
    from pipeline.corpus.parsing import Parsed

EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "N": "neutral",
    "T": "sadness",
}
"""The letter of a German word, Wut for W, and its meaning."""

PAIRS = ("03+08", "10+09", "11+13", "12+14", "15+16")
"""A man and a woman each."""

BY_EMOTION = {"W": 127, "L": 81, "E": 46, "A": 69, "F": 71, "N": 79, "T": 62}
BY_SPEAKER = {
    **{"03": 49, "08": 58, "09": 43, "10": 38, "11": 55},
    **{"12": 35, "13": 61, "14": 69, "15": 56, "16": 71},
}
"""Utterances of the full release."""

_WOMEN = ("08", "09", "13", "14", "16")
_GROUPS = {speaker: pair for pair in PAIRS for speaker in pair.split("+")}
_NAME = re.compile(
    rf"(?P<speaker>{'|'.join(_GROUPS)})(?P<sentence>[ab]\d\d)(?P<emotion>[{''.join(EMOTIONS)}])[a-z]"
)
_FOUR = {"W": "anger", "F": "happiness", "N": "neutral", "T": "sadness"}


class EmoDB(Reader):
    """The reader of EmoDB."""

    description: ClassVar[Description] = Description(
        title="EmoDB",
        emotions=EMOTIONS,
        schemes={"seven": EMOTIONS, "four": _FOUR},
        group=Word("pair", "pairs"),
        modalities=("audio",),
    )

    def read(self, root: Path) -> Reading:
        """Read the folder that holds ``wav``, or that folder itself."""
        present(root, "EmoDB", "03a01Fa.wav and the like, or the folder wav that holds them")
        folder = Folder(root)
        files = folder.files("wav" if (root / "wav").is_dir() else "", ".wav")
        named = {name: match for name in files if (match := _NAME.fullmatch(name))}
        if not named:
            raise CorpusError(
                f"{root}: is no copy of EmoDB; looked for recordings such as 03a01Fa.wav in it and "
                "in its folder wav; set corpus.root to the folder that holds wav"
            )
        for name in files.keys() - named.keys():
            folder.add(Reason.UNNAMED, files[name])
        lengths = folder.headers({name: files[name] for name in named}, Reason.BAD_AUDIO)
        utterances, sentences = [], []
        for name, match in named.items():
            speaker, emotion = match["speaker"], match["emotion"]
            opened = lengths.get(name)
            utterances.append(
                Utterance(
                    id=name,
                    dialog=name,
                    end=opened.seconds if opened else 0.0,
                    audio=Source(files[name]) if opened else None,
                    speaker=speaker,
                    group=_GROUPS[speaker],
                    gender="F" if speaker in _WOMEN else "M",
                    emotion=emotion,
                )
            )
            sentences.append({"utterance": name, "sentence": match["sentence"]})
        details = {"sentences": pd.DataFrame(sentences)}
        return Reading(utterances, items=folder.items, hidden=folder.hidden, details=details)

    def check(self, root: Path, parsed: Parsed) -> tuple[str, bool]:
        """Compare a copy with the full release."""
        table = parsed.utterances
        counted = totals.count(table, "emotion", BY_EMOTION, ["audio"], "all")
        counted += totals.count(table, "speaker", BY_SPEAKER, [], "all")[1:]
        return totals.check(parsed, counted)
