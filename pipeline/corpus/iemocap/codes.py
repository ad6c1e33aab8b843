"""The emotion codes of the release, and the label schemes of papers."""

from __future__ import annotations

from pipeline.corpus.description import Description, Word

EMOTIONS = {
    "ang": "anger",
    "hap": "happiness",
    "exc": "excitement",
    "sad": "sadness",
    "fru": "frustration",
    "fea": "fear",
    "sur": "surprise",
    "neu": "neutral state",
    "dis": "disgust",
    "oth": "other",
    "xxx": "no majority among the raters",
}
"""The majority labels of the release: code and meaning."""

DESCRIPTION = Description(
    title="IEMOCAP",
    emotions=EMOTIONS,
    schemes={
        # the classes of the AMH paper, in the order of the paper
        "seven": {code: code for code in ("ang", "exc", "hap", "sad", "fru", "sur", "neu")},
        "six": {code: code for code in ("ang", "exc", "fru", "hap", "neu", "sad")},
        # happiness and excitement merged: the usual four-class setting
        "four": {"ang": "ang", "hap": "hap", "exc": "hap", "neu": "neu", "sad": "sad"},
    },
    group=Word("session", "sessions"),
    scenarios=("improvised", "scripted"),
    caution=(
        "All sessions perform the same three scripts, so the words of scripted dialogs are in "
        "training and test parts under every protocol; what is said in improvised dialogs is not."
    ),
)
