"""The description of a corpus for later stages: codes, label schemes, and its word for a group.

The reader defines it, the stage `parse` writes it, and the feature store contains it. So no later
stage depends on a reader, and a store contains everything that is needed to train on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import NamedTuple


class Word(NamedTuple):
    """The corpus's word for a group, such as ``session`` and ``sessions``."""

    one: str
    several: str


PARTS = ("train", "development", "test")
"""The parts of a split."""

GROUP = Word("group", "groups")


@dataclass(frozen=True)
class Description:
    """A corpus, for reports, labels and folds.

    Attributes
    ----------
    title
        Name of the corpus in papers.
    emotions
        Its codes and their meanings, in the order of reports.
    schemes
        Its usual label schemes: for each name, the class of each code. Codes that are not in a
        scheme are ignored.
    group
        Its word for the utterances that a fold leaves out together.
    scenarios
        The scenarios of the corpus; empty if it has none, or any.
    modalities
        The modalities of its utterances; models with others are refused.
    caution
        A note on how to read the figures of the scenarios; one or two sentences.
    """

    title: str
    emotions: Mapping[str, str]
    schemes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    group: Word = GROUP
    scenarios: tuple[str, ...] = ()
    caution: str = ""
    modalities: tuple[str, ...] = ("audio", "text", "video")

    def lacks(self, modalities: Iterable[str]) -> str:
        """Return an error message if the corpus lacks one of the modalities; else empty."""
        lacking = [name for name in modalities if name not in self.modalities]
        if not lacking:
            return ""
        return (
            f"model.modalities names {', '.join(lacking)}, which {self.title} lacks; it has "
            f"{', '.join(self.modalities)}"
        )

    def as_json(self) -> str:
        """Return the description as JSON; the same description gives the same bytes."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Description:
        """Read the result of :meth:`as_json`."""
        values = json.loads(text)
        values["group"] = Word(*values["group"])
        for name in ("scenarios", "modalities"):
            values[name] = tuple(values[name])
        return cls(**values)
