"""Trees in the layout and formats of the IEMOCAP release: a tiny one, and one of full size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from embedded.textfiles import HEADER
from pipeline.corpus import parsing
from pipeline.corpus.__main__ import main
from pipeline.corpus.iemocap import totals
from pipeline.corpus.iemocap.codes import EMOTIONS
from pipeline.corpus.iemocap.reader import Iemocap
from pipeline.corpus.parsing import Parsed

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
    """One utterance of a label file and a transcript."""

    name: str
    start: float
    end: float
    emotion: str = "neu"
    text: str = "Excuse me."
    votes: tuple[str, ...] = VOTES

    @property
    def label(self) -> str:
        times = f"[{self.start:.4f} - {self.end:.4f}]"
        return f"{times}\t{self.name}\t{self.emotion}\t[2.5000, 3.0000, 3.3333]"

    @property
    def transcript(self) -> str:
        return f"{self.name} [{self.start:08.4f}-{self.end:08.4f}]: {self.text}"


def session(dialog: str) -> str:
    return f"Session{dialog[4]}"


def labels_file(root: Path, dialog: str) -> Path:
    return root / session(dialog) / "dialog/EmoEvaluation" / f"{dialog}.txt"


def transcript_file(root: Path, dialog: str) -> Path:
    return root / session(dialog) / "dialog/transcriptions" / f"{dialog}.txt"


def video_file(root: Path, dialog: str) -> Path:
    return root / session(dialog) / "dialog/avi/DivX" / f"{dialog}.avi"


def wav_file(root: Path, utterance: str) -> Path:
    dialog = utterance.rpartition("_")[0]
    return root / session(dialog) / "sentences/wav" / dialog / f"{utterance}.wav"


def turns(dialog: str, count: int = 4) -> list[Utterance]:
    """Return utterances of alternating speakers, with the release's emotion codes in turn."""
    codes = islice(cycle(EMOTIONS), count)
    return [
        Utterance(f"{dialog}_{'FM'[i % 2]}{i // 2:03d}", 1.25 + 2 * i, 2.7501 + 2 * i, code)
        for i, code in enumerate(codes)
    ]


def label_text(utterances: Iterable[Utterance]) -> str:
    blocks = ["\n".join([u.label, *u.votes, ""]) for u in utterances]
    return "\n".join([HEADER, "", *blocks]) + "\n"


def transcript_text(utterances: Iterable[Utterance]) -> str:
    return "".join(f"{u.transcript}\n" for u in utterances)


def add_dialog(
    root: Path, dialog: str, utterances: Iterable[Utterance], *, media: bool = True
) -> None:
    """Write all files of a dialog: tones as recordings, a placeholder as video.

    Without `media`, recordings and video are empty files.
    """
    utterances = list(utterances)
    files = {
        labels_file(root, dialog): label_text(utterances).encode(),
        transcript_file(root, dialog): transcript_text(utterances).encode(),
        video_file(root, dialog): b"placeholder" if media else b"",
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for number, utterance in enumerate(utterances):
        path = wav_file(root, utterance.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not media:
            path.touch()
            continue
        time = np.arange(round((utterance.end - utterance.start) * RATE)) / RATE
        tone = 0.1 * np.sin(2 * np.pi * (200 + 20 * number) * time)
        soundfile.write(path, tone, RATE, subtype="PCM_16")


def make(root: Path, sessions: Iterable[int] = range(1, 6), count: int = 4) -> Path:
    """Write one improvised and one scripted dialog per session, of `count` utterances each."""
    for number in sessions:
        for dialog in (f"Ses0{number}F_impro01", f"Ses0{number}M_script01_1b"):
            add_dialog(root, dialog, turns(dialog, count))
    return root


def parse(root: Path, marked_actor: Literal["left", "right"] = "left") -> Parsed:
    return parsing.parse(Iemocap(marked_actor=marked_actor), root)


def write(parsed: Parsed, folder: Path) -> None:
    """Write the tables of the stage `parse`, without hashes of media."""
    parsing.write(parsed, {}, folder)


def command(arguments: Sequence[str]) -> int:
    """Run ``python -m pipeline.corpus``."""
    return main(arguments)


# --- full size -----------------------------------------------------------------------------------

_PLAYED = (
    *(f"impro{number:02d}" for number in range(1, 8)),
    *("script01_1", "script01_2", "script01_3", "script02_1", "script02_2"),
    *("script03_1", "script03_2"),
)
_TAKES = ("M_impro08a", "M_impro08b", "F_script01_1b", "M_impro05b")  # if more than 28 dialogs
_RATED = {
    **{"ang": "Anger", "hap": "Happiness", "exc": "Excited", "sad": "Sadness"},
    **{"fru": "Frustration", "fea": "Fear", "sur": "Surprise", "neu": "Neutral state"},
    **{"dis": "Disgust", "oth": "Other", "xxx": "Neutral state; Frustration"},
}
_WORDS = ("well", "what", "you're", "talking", "about", "is", "[LAUGHTER]", "really", "--", "okay")
_WORDS_A_SECOND = 2.7


def full_dialogs(session: int) -> list[str]:
    names = [f"{actor}_{played}" for actor in "FM" for played in _PLAYED]
    names += _TAKES[: totals.DIALOGS_BY_SESSION[str(session)] - len(names)]
    return sorted(f"Ses0{session}{name}" for name in names)


def make_full(root: Path) -> Path:
    """Write a tree with the known totals of the release, always the same; return `root`.

    It has 151 dialogs and 10,039 utterances, with the release's counts by session and emotion,
    seven lines of raters per utterance, and durations of 0.5 to 34 s (mean 4.5 s). Media files are
    empty.
    """
    rng = np.random.default_rng(0)
    codes = [code for code, count in totals.BY_EMOTION.items() for _ in range(count)]
    shuffled = iter(rng.permutation(codes).tolist())
    for number in range(1, 6):
        dialogs = full_dialogs(number)
        counts = [
            len(part)
            for part in np.array_split(range(totals.BY_SESSION[str(number)]), len(dialogs))
        ]
        for dialog, count in zip(dialogs, counts, strict=True):
            turns = _full_turns(dialog, list(islice(shuffled, count)), rng)
            add_dialog(root, dialog, turns, media=False)
    return root


def durations(rng: np.random.Generator, count: int) -> np.ndarray:
    """Durations like those of IEMOCAP's utterances, in seconds."""
    return np.clip(rng.lognormal(1.2, 0.77, count), 0.5, 34)


def sentence(number: int, seconds: float) -> str:
    """Words that are said in `seconds`; different ones by `number`."""
    count = max(1, min(100, round(_WORDS_A_SECOND * seconds)))
    return " ".join(islice(cycle(_WORDS), number, number + count))


def _full_turns(dialog: str, codes: list[str], rng: np.random.Generator) -> list[Utterance]:
    lengths = durations(rng, len(codes))
    gaps = rng.uniform(-0.3, 0.8, len(codes))  # negative: speakers overlap
    starts = 6 + np.cumsum(lengths + gaps) - lengths
    scores = rng.integers(1, 6, (len(codes), 9))
    turns = []
    for i, code in enumerate(codes):
        actor = "FM"[i % 2]
        votes = (
            *(f"C-{rater}:\t{_RATED[code]};\t()" for rater in ("E2", "E3", "E4", f"{actor}1")),
            *(
                f"A-{rater}:\tval {v}; act {a}; dom  {d};\t()"
                for rater, (v, a, d) in zip(
                    ("E3", "E4", f"{actor}1"), scores[i].reshape(3, 3), strict=True
                )
            ),
        )
        name = f"{dialog}_{actor}{i // 2:03d}"
        text = sentence(i, lengths[i])
        turns.append(Utterance(name, starts[i], starts[i] + lengths[i], code, text, votes))
    return turns
