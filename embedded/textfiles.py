"""The text files of one embedded dialog: labels, raters, transcript, alignment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embedded.screenplay import CLASSES, Dialog, Trap, Turn

CATEGORIES = {
    "ang": "Anger", "exc": "Excited", "fru": "Frustration", "hap": "Happiness",
    "neu": "Neutral", "sad": "Sadness", "sur": "Surprise", "fea": "Fear", "oth": "Other",
}  # fmt: skip
"""The raters' category for each code of the release."""

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"

_CATEGORICAL_RATERS = ("E2", "E3", "E4")
_ATTRIBUTE_RATERS = ("E3", "E4")
_UNANIMOUS_SHARE = 0.6
# valence, activation, dominance on the release's scale of 1 to 5
_ATTRIBUTES = {
    "ang": (2, 4, 4), "exc": (4, 4, 4), "fru": (2, 3, 3), "hap": (4, 3, 3), "neu": (3, 2, 3),
    "sad": (2, 2, 2), "sur": (3, 4, 3), "fea": (2, 4, 2), "oth": (3, 3, 3), "xxx": (3, 3, 3),
}  # fmt: skip
_FRAMES_PER_SECOND, _FRAME_SCORE = 100, -1000
_CURLY = "\N{RIGHT SINGLE QUOTATION MARK}"


@dataclass(frozen=True)
class TimedTurn:
    """An utterance with its times in the dialog, in seconds."""

    turn: Turn
    start: float
    end: float


@dataclass(frozen=True)
class Ratings:
    """The ratings of one utterance: category and (valence, activation, dominance) by rater."""

    categories: dict[str, str]
    attributes: dict[str, tuple[int, int, int]]

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean valence, activation and dominance over the raters other than the actor."""
        return tuple(np.mean([self.attributes[rater] for rater in _ATTRIBUTE_RATERS], axis=0))


def rate(turn: Turn, rng: np.random.Generator) -> Ratings:
    """Draw ratings whose majority is the utterance's emotion; for ``xxx`` no raters agree."""
    actor = f"{turn.speaker}1"
    if turn.emotion == "xxx":
        codes = [str(code) for code in rng.choice(CLASSES, len(_CATEGORICAL_RATERS), replace=False)]
    else:
        codes = [turn.emotion] * len(_CATEGORICAL_RATERS)
        if rng.random() > _UNANIMOUS_SHARE:
            codes[rng.integers(len(codes))] = str(rng.choice(CLASSES))
    categories = dict(zip(_CATEGORICAL_RATERS, codes, strict=True)) | {actor: codes[0]}
    middle = np.array(_ATTRIBUTES[turn.emotion])
    attributes = {}
    for rater in (*_ATTRIBUTE_RATERS, actor):
        valence, activation, dominance = np.clip(middle + rng.integers(-1, 2, 3), 1, 5).tolist()
        attributes[rater] = (valence, activation, dominance)
    return Ratings({rater: CATEGORIES[code] for rater, code in categories.items()}, attributes)


def files(timed: list[TimedTurn], dialog: Dialog, rng: np.random.Generator) -> dict[str, bytes]:
    """All text files of a dialog except alignments: content by path below ``dialog/``."""
    labelled = sorted((t for t in timed if t.turn.in_labels), key=lambda t: t.turn.utterance)
    ratings = {t.turn.utterance: rate(t.turn, rng) for t in labelled}
    texts = {
        f"EmoEvaluation/{dialog.name}.txt": _labels(labelled, ratings),
        f"transcriptions/{dialog.name}.txt": _transcript(timed, rng),
    }
    for rater in _CATEGORICAL_RATERS:
        path = f"EmoEvaluation/Categorical/{dialog.name}_{rater.lower()}_cat.txt"
        texts[path] = _categories(ratings, rater)
    for rater in _ATTRIBUTE_RATERS:
        path = f"EmoEvaluation/Attribute/{dialog.name}_{rater.lower()}_atr.txt"
        texts[path] = _attributes(ratings, rater)
    for actor in ("F1", "M1"):
        path = f"EmoEvaluation/Self-evaluation/{dialog.name}_{actor.lower()}_cat.txt"
        texts[path] = _categories(ratings, actor)
    return {path: _encode("\n".join(text) + "\n", dialog) for path, text in texts.items()}


def alignment(words: list[tuple[str, float, float]]) -> bytes:
    """A word alignment (``.wdseg``) in frames of 10 ms, in the format of the release."""
    rows = ["\t SFrm\t EFrm\t    SegAScr\tWord"]
    total = 0
    for word, start, end in words:
        first = round(start * _FRAMES_PER_SECOND)
        last = max(first, round(end * _FRAMES_PER_SECOND) - 1)
        plain = "".join(letter for letter in word.upper() if letter.isalnum() or letter in "'-")
        score = _FRAME_SCORE * (last - first + 1)
        total += score
        rows.append(f"\t{first:5d}\t{last:5d}\t{score:11d}\t{plain}")
    return ("\n".join([*rows, f" Total score: {total:12d}"]) + "\n").encode()


def _encode(text: str, dialog: Dialog) -> bytes:
    if Trap.CARRIAGE_RETURNS in dialog.traps:
        text = text.replace("\n", "\r\n")
    if Trap.WINDOWS_1252 in dialog.traps:
        text = text.replace("'", _CURLY)
    return text.encode("cp1252")


def _labels(timed: list[TimedTurn], ratings: dict[str, Ratings]) -> list[str]:
    rows = [HEADER, ""]
    for t in timed:
        rating = ratings[t.turn.utterance]
        mean = ", ".join(f"{value:.4f}" for value in rating.mean)
        times = f"[{t.start:.4f} - {t.end:.4f}]"
        rows.append(f"{times}\t{t.turn.utterance}\t{t.turn.emotion}\t[{mean}]")
        rows += [f"C-{rater}:\t{name};\t()" for rater, name in rating.categories.items()]
        rows += [
            f"A-{rater}:\tval {v}; act {a}; dom  {d};\t()"
            for rater, (v, a, d) in rating.attributes.items()
        ]
        rows.append("")
    return rows


def _categories(ratings: dict[str, Ratings], rater: str) -> list[str]:
    return [
        f"{utterance} :{rating.categories[rater]}; ()"
        for utterance, rating in ratings.items()
        if rater in rating.categories
    ]


def _attributes(ratings: dict[str, Ratings], rater: str) -> list[str]:
    rows = []
    for utterance, rating in ratings.items():
        valence, activation, dominance = rating.attributes[rater]
        rows.append(f"{utterance} :act {activation}; :val {valence}; :dom  {dominance}; ()")
    return rows


def _transcript(timed: list[TimedTurn], rng: np.random.Generator) -> list[str]:
    """A transcript with odd lines: without an id, with an ``XX`` id, and out of order."""
    rows = [
        f"{t.turn.utterance} [{t.start:08.4f}-{t.end:08.4f}]: {t.turn.text}"
        for t in timed
        if t.turn.in_transcript
    ]
    place = int(rng.integers(1, len(rows) - 2))
    rows[place], rows[place + 1] = rows[place + 1], rows[place]
    noted = timed[int(rng.integers(len(timed)))]
    dialog = noted.turn.utterance.rpartition("_")[0]
    other = "M" if noted.turn.speaker == "F" else "F"
    unlabelled = (
        f"{dialog}_{other}XX0 [{noted.start:08.4f}-{noted.end:08.4f}]: [BREATHING]",
        "M: [LAUGHTER]",
        "F: Mm-hmm.",
    )
    for row in unlabelled:
        rows.insert(int(rng.integers(1, len(rows))), row)
    return rows
