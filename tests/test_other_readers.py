"""The embedded corpus without traps is one that other readers of the release accept.

Their rules, each with who relies on it; none of them is a rule of ours:

- every file in ``EmoEvaluation`` is text in UTF-8 (torchaudio opens ``*.txt``, SpeechBrain and
  EmoBox all files), and its label lines are of one form;
- a label line's utterance has its recording in the folder of its dialog (SpeechBrain, EmoBox), and
  each recording has a label line (those who list the recordings first);
- the speaker's letter is the 19th of an id of a scripted dialog, the 16th of others (SpeechBrain,
  EmoBox). The few takes of the release break it, so they may here, and no others.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import embedded
from benchmarks import release
from pipeline import params

pytestmark = pytest.mark.slow  # makes a corpus of its own
LABEL = re.compile(r"\[(\d+\.\d+) - (\d+\.\d+)\]\t(\w+)\t([a-z]{3})\t\[\d\.\d+, \d\.\d+, \d\.\d+\]")
TAKES = {
    *("Ses03M_impro05a", "Ses03M_impro05b", "Ses03M_impro08a", "Ses03M_impro08b"),
    "Ses05M_script01_1b",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    size = params.Embedded(dialogs_per_session=2)
    embedded.make(size, folder / "IEMOCAP_full_release", folder / "glove.txt", workers=2)
    return folder / "IEMOCAP_full_release"


def label_files(session: Path) -> list[Path]:
    folder = session / "dialog/EmoEvaluation"
    return [path for path in folder.iterdir() if path.is_file()]


def labelled(session: Path) -> dict[str, str]:
    """Emotions by utterance, as torchaudio reads them: from all files, as UTF-8."""
    found = {}
    for file in label_files(session):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("["):
                match = LABEL.fullmatch(line)
                assert match, line
                found[match[3]] = match[4]
    return found


@pytest.mark.parametrize("number", range(1, 6))
def test_labels_and_recordings_go_together(root: Path, number: int) -> None:
    session = root / f"Session{number}"
    wavs = session / "sentences/wav"
    recorded = {path.stem for path in wavs.glob("*/*.wav") if not path.name.startswith(".")}
    found = labelled(session)
    assert len(found) > 20 and found.keys() == recorded
    for utterance in found:
        assert (wavs / utterance[:-5] / f"{utterance}.wav").is_file()


@pytest.mark.parametrize("number", range(1, 6))
def test_the_speakers_letter_is_at_its_place(root: Path, number: int) -> None:
    for utterance in labelled(root / f"Session{number}"):
        if utterance[:-5] in TAKES:
            continue
        letter = utterance[18] if utterance[7] == "s" else utterance[15]
        assert letter == utterance[-4] and letter in "FM"


def test_hidden_files_lie_beside_media_only(root: Path) -> None:
    hidden = [path for path in root.rglob(".*") if path.is_file()]
    folders = {path.parent.relative_to(root).parts[1:3] for path in hidden}
    assert folders == {("dialog", "avi"), ("dialog", "wav"), ("sentences", "wav")}


def test_takes_are_those_of_the_release(root: Path) -> None:
    names = {path.stem for session in root.glob("Session*") for path in label_files(session)}
    assert len(names) == 10
    assert {name for name in names if name[-1].isalpha()} <= TAKES


def test_our_reader_accepts_it_too(root: Path) -> None:
    parsed = release.parse(root)
    assert set(parsed.utterances["group"]) == {"1", "2", "3", "4", "5"}
    skipped = set(parsed.report["reasons"])
    assert "wav in the folder of another dialog" not in skipped
    assert "wav without a label" not in skipped
