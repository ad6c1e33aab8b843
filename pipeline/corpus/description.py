"""What later stages are told of a corpus: its codes, its label schemes, its words for its parts.

The reader of the corpus says it, the stage `parse` writes it, and the feature store keeps it. So no
later stage knows a corpus, and a store says all that is needed to train on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import NamedTuple


class Word(NamedTuple):
    """What a corpus calls something: ``session`` and ``sessions``."""

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
        What papers call it.
    emotions
        Its codes and their meanings, in the order of reports.
    schemes
        Its usual label schemes: by name, the class of each code. Codes without a class are left
        out.
    group
        Its word for what a fold leaves out together.
    scenarios
        Its own division of the utterances; empty where it has none, or any.
    modalities
        What its utterances have; models of others are refused.
    caution
        What to bear in mind when figures of the scenarios are read; a sentence or two.
    """

    title: str
    emotions: Mapping[str, str]
    schemes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    group: Word = GROUP
    scenarios: tuple[str, ...] = ()
    caution: str = ""
    modalities: tuple[str, ...] = ("audio", "text", "video")

    def lacks(self, modalities: Iterable[str]) -> str:
        """Say which of these the corpus lacks; empty if it has them all."""
        lacking = [name for name in modalities if name not in self.modalities]
        if not lacking:
            return ""
        return (
            f"model.modalities names {', '.join(lacking)}, which {self.title} lacks; it has "
            f"{', '.join(self.modalities)}"
        )

    def as_json(self) -> str:
        """The same as text; the same description, the same bytes."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Description:
        """Read what :meth:`as_json` wrote."""
        values = json.loads(text)
        values["group"] = Word(*values["group"])
        for name in ("scenarios", "modalities"):
            values[name] = tuple(values[name])
        return cls(**values)
