"""Dialogs that an extractor reads in groups: the same groups in every run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pandas as pd
import pytest

from pipeline.corpus.utterance import Utterance
from pipeline.features.bert import Bert
from pipeline.features.extraction import Arrays, Problem
from pipeline.features.extractor import Context, State, Steps
from pipeline.features.mfcc import Mfcc
from pipeline.features.modality import Modality
from tests.extractors import save_bert, text_context
from tests.test_modality import extracted, sound


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_bert(tmp_path_factory.mktemp("bert"))


class Grouped(Bert):
    """BERT in groups of eight utterances or more; notes how many it is given at once."""

    given: ClassVar[list[int]] = []

    @property
    def group(self) -> int:
        return 8

    def extract(
        self, utterances: Sequence[Utterance], state: State, context: Context
    ) -> list[Steps]:
        self.given.append(len(utterances))
        return super().extract(utterances, state, context)


class Killed(Modality):
    """A modality that dies at one of its dialogs."""

    fatal = ""

    def dialog(self, rows: pd.DataFrame) -> tuple[Arrays, list[Problem]]:
        if rows["dialog"].iloc[0] == self.fatal:
            raise RuntimeError("killed")
        return super().dialog(rows)


@pytest.fixture
def conversation() -> pd.DataFrame:
    """Seven dialogs of three utterances of unlike length; three dialogs are a group."""
    texts = ["I am sad", "do", "laughter", "", "I do not know. I am running", "I don't", "am I"] * 3
    dialogs = [f"Ses01F_impro{number:02}" for number in range(1, 8) for _ in range(3)]
    names = [f"{dialog}_F{index % 3:03}" for index, dialog in enumerate(dialogs)]
    return pd.DataFrame({"utterance": names, "dialog": dialogs, "text": texts})


def conversed(folder: Path, model: str, table: pd.DataFrame, fatal: str = "") -> list[int]:
    """Extract a conversation, perhaps up to a dialog; the sizes of what BERT was given."""
    Grouped.given.clear()
    modality = Killed("text", {"bert": Grouped(model=model, batch_size=2)}, text_context(), table)
    modality.fatal = fatal
    extracted(folder, modality, table)
    return list(Grouped.given)


def test_dialogs_are_read_in_groups_and_come_back_each_its_own(
    tiny: str, conversation: pd.DataFrame, tmp_path: Path
) -> None:
    assert conversed(tmp_path, tiny, conversation) == [9, 9, 3]
    with h5py.File(tmp_path / "out.h5") as file:
        values, offsets = file["bert/values"][:], file["bert/offsets"][:]
    context = text_context()
    for number, text in enumerate(conversation["text"]):
        (alone,) = Bert(model=tiny).extract([Utterance("U", "D", text=text)], {}, context)
        found = values[offsets[number] : offsets[number + 1]]
        assert found.shape == alone.values.shape
        np.testing.assert_allclose(found, alone.values, atol=1e-5)


@pytest.mark.parametrize("number", range(1, 8))
def test_killed_at_any_dialog_the_bytes_are_the_same_and_whole_groups_are_read(
    tiny: str, conversation: pd.DataFrame, tmp_path: Path, number: int
) -> None:
    conversed(tmp_path / "whole", tiny, conversation)
    with pytest.raises(RuntimeError, match="killed"):
        conversed(tmp_path / "cut", tiny, conversation, fatal=f"Ses01F_impro{number:02}")
    assert len(list((tmp_path / "cut/parts").glob("*.npz"))) == number - 1
    given = conversed(tmp_path / "cut", tiny, conversation)
    assert given == [9, 9, 3][(number - 1) // 3 :]
    assert (tmp_path / "cut/out.h5").read_bytes() == (tmp_path / "whole/out.h5").read_bytes()


def test_an_extractor_without_groups_is_given_one_dialog_at_a_time(
    conversation: pd.DataFrame, tmp_path: Path
) -> None:
    seen: list[set[str]] = []

    class Noted(Mfcc):
        def extract(
            self, utterances: Sequence[Utterance], state: State, context: Context
        ) -> list[Steps]:
            seen.append({utterance.dialog for utterance in utterances})
            return super().extract(utterances, state, context)

    extracted(tmp_path, sound(tmp_path, conversation, mfcc=Noted()), conversation)
    assert seen == [{dialog} for dialog in conversation["dialog"].unique()]
