"""Reader of EmoDB, the Berlin Database of Emotional Speech.

F. Burkhardt et al., "A database of German emotional speech", Interspeech 2005. Its files::

    wav/03a01Fa.wav        speaker, sentence, emotion, version; the root may also be this folder

Ten actors speak ten sentences, each with several emotions. There are no dialogs and no videos, and
the words do not depend on the emotion. A fold leaves out a man and a woman.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from pipeline.corpus import findings, totals
from pipeline.corpus.description import Description, Word
from pipeline.corpus.folder import Folder, Reason, not_a_copy
from pipeline.corpus.reader import Reader, Reading
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
"""The initial of the German word, such as W for Wut, and its meaning."""

PAIRS = ("03+08", "10+09", "11+13", "12+14", "15+16")
"""The groups: a man and a woman each."""

BY_EMOTION = {"W": 127, "L": 81, "E": 46, "A": 69, "F": 71, "N": 79, "T": 62}
BY_SPEAKER = {
    **{"03": 49, "08": 58, "09": 43, "10": 38, "11": 55},
    **{"12": 35, "13": 61, "14": 69, "15": 56, "16": 71},
}
"""Number of utterances in the full release."""

_WOMEN = ("08", "09", "13", "14", "16")
_GROUPS = {speaker: pair for pair in PAIRS for speaker in pair.split("+")}
_NAME = re.compile(
    rf"(?P<speaker>{'|'.join(_GROUPS)})(?P<sentence>[ab]\d\d)(?P<emotion>[{''.join(EMOTIONS)}])[a-z]"
)
_FOUR = {"W": "anger", "F": "happiness", "N": "neutral", "T": "sadness"}


class EmoReason(findings.Reason):
    """Reasons of EmoDB only."""

    ONE_LENGTH = "copy cut or padded to one length", "kept"


class EmoDB(Reader):
    """The reader of EmoDB."""

    description: ClassVar[Description] = Description(
        title="EmoDB",
        emotions=EMOTIONS,
        schemes={"seven": EMOTIONS, "four": _FOUR},
        group=Word("pair", "pairs"),
        modalities=("audio",),
    )
    dialogs: ClassVar[bool] = False

    def read(self, root: Path) -> Reading:
        """Read the folder that contains ``wav``, or that folder itself."""
        folder = Folder(root)
        utterances, sentences = [], []
        for name, path in folder.files("wav" if (root / "wav").is_dir() else "", ".wav").items():
            match = _NAME.fullmatch(name)
            if not match:
                folder.add(Reason.UNNAMED, path)
                continue
            speaker = match["speaker"]
            utterances.append(
                Utterance(
                    id=name,
                    dialog=name,
                    audio=Source(path),
                    speaker=speaker,
                    group=_GROUPS[speaker],
                    gender="F" if speaker in _WOMEN else "M",
                    emotion=match["emotion"],
                )
            )
            sentences.append({"utterance": name, "sentence": match["sentence"]})
        if not utterances:
            raise not_a_copy(root, "EmoDB", "recordings such as 03a01Fa.wav, or a folder wav")
        utterances = folder.with_media(utterances)
        lengths = {utterance.end for utterance in utterances}
        if len(utterances) > len(lengths) == 1:
            folder.add(EmoReason.ONE_LENGTH, ".", detail=f"{lengths.pop():.2f} s")
        return Reading(
            utterances,
            items=folder.items,
            hidden=folder.hidden,
            details={"sentences": pd.DataFrame(sentences)},
        )

    def check(self, root: Path, parsed: Parsed) -> tuple[str, bool]:
        """Compare a copy with the full release."""
        table = parsed.utterances
        counted = totals.count(table, "emotion", BY_EMOTION, ["audio"], "all")
        counted += totals.count(table, "speaker", BY_SPEAKER, [], "all")[1:]
        return totals.check(parsed, counted)
