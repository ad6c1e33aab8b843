"""A tiny release tree, hand-made in the corpus's own layout and formats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import soundfile

from pipeline.corpus.labels import EMOTIONS

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"
VOTES = (
    "C-E2:\tNeutral;\t()",
    "C-E3:\tNeutral; Sadness;\t(tired)",
    "C-F1:\tNeutral;\t()",
    "A-E3:\tval 3; act 2; dom  2;\t()",
    "A-M1:\tval 4; act 1; dom  3;\t()",
)
RATE = 16_000


@dataclass(frozen=True)
class Utterance:
    """One utterance as the label file and the transcript have it."""

    name: str
    start: float
    end: float
    emotion: str = "neu"
    text: str = "Excuse me."
    votes: tuple[str, ...] = VOTES

    @property
    def label(self) -> str:
        """Its label line."""
        times = f"[{self.start:.4f} - {self.end:.4f}]"
        return f"{times}\t{self.name}\t{self.emotion}\t[2.5000, 3.0000, 3.3333]"

    @property
    def transcript(self) -> str:
        """Its transcript line."""
        return f"{self.name} [{self.start:08.4f}-{self.end:08.4f}]: {self.text}"


def session(dialog: str) -> str:
    """Return the session's folder of a dialog."""
    return f"Session{dialog[4]}"


def labels_file(root: Path, dialog: str) -> Path:
    """Return the path of a dialog's labels."""
    return root / session(dialog) / "dialog/EmoEvaluation" / f"{dialog}.txt"


def transcript_file(root: Path, dialog: str) -> Path:
    """Return the path of a dialog's transcript."""
    return root / session(dialog) / "dialog/transcriptions" / f"{dialog}.txt"


def video_file(root: Path, dialog: str) -> Path:
    """Return the path of a dialog's video."""
    return root / session(dialog) / "dialog/avi/DivX" / f"{dialog}.avi"


def wav_file(root: Path, utterance: str) -> Path:
    """Return the path of an utterance's recording."""
    dialog = utterance.rpartition("_")[0]
    return root / session(dialog) / "sentences/wav" / dialog / f"{utterance}.wav"


def turns(dialog: str, count: int = 4) -> list[Utterance]:
    """Return utterances of alternating speakers; emotions run through the release's codes."""
    codes = islice(cycle(EMOTIONS), count)
    return [
        Utterance(f"{dialog}_{'FM'[i % 2]}{i // 2:03d}", 1.25 + 2 * i, 2.7501 + 2 * i, code)
        for i, code in enumerate(codes)
    ]


def label_text(utterances: Iterable[Utterance]) -> str:
    """Return the content of a label file."""
    blocks = ["\n".join([u.label, *u.votes, ""]) for u in utterances]
    return "\n".join([HEADER, "", *blocks]) + "\n"


def transcript_text(utterances: Iterable[Utterance]) -> str:
    """Return the content of a transcript."""
    return "".join(f"{u.transcript}\n" for u in utterances)


def add_dialog(root: Path, dialog: str, utterances: Iterable[Utterance]) -> None:
    """Write all files of a dialog: short tones for the recordings, a placeholder for the video."""
    utterances = list(utterances)
    files = {
        labels_file(root, dialog): label_text(utterances).encode(),
        transcript_file(root, dialog): transcript_text(utterances).encode(),
        video_file(root, dialog): b"placeholder",
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for number, utterance in enumerate(utterances):
        path = wav_file(root, utterance.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = 0.1 * np.sin(2 * np.pi * (200 + 20 * number) * np.arange(RATE // 10) / RATE)
        soundfile.write(path, tone, RATE, subtype="PCM_16")


def make(root: Path, sessions: Iterable[int] = range(1, 6), count: int = 4) -> Path:
    """Write an improvised and a scripted dialog a session, of `count` utterances; return `root`."""
    for number in sessions:
        for dialog in (f"Ses0{number}F_impro01", f"Ses0{number}M_script01_1b"):
            add_dialog(root, dialog, turns(dialog, count))
    return root
