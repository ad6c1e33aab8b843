"""EmoDB: the stand-in in its layout, damaged copies, and the real recordings where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.corpus import emodb
from pipeline.corpus.__main__ import main
from pipeline.corpus.emodb import EmoDB
from pipeline.corpus.parsing import parse
from pipeline.corpus.table import CorpusError
from tests.real import real
from tests.standins import make_emodb


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_emodb(tmp_path_factory.mktemp("emodb") / "copy")


def test_a_name_says_who_speaks_what_and_how(whole: Path) -> None:
    parsed = parse(EmoDB(), whole)
    assert len(parsed.utterances) == 40
    row = parsed.utterances.set_index("utterance").loc["08b03Nb"]
    assert (row["speaker"], row["gender"], row["group"]) == ("08", "F", "03+08")
    assert (row["emotion"], row["dialog"], row["text"], row["video"]) == ("N", "08b03Nb", "", "")
    assert row["audio"] == "wav/08b03Nb.wav" and 0.3 < row["end"] < 3
    assert not parsed.items
    sentences = parsed.details["sentences"].set_index("utterance")["sentence"]
    assert sentences["08b03Nb"] == "b03"


def test_the_folder_of_recordings_is_a_root_too(whole: Path) -> None:
    parsed = parse(EmoDB(), whole / "wav")
    assert len(parsed.utterances) == 40
    assert parsed.utterances["audio"].iloc[0] == "03a01Na.wav"


def test_what_is_odd_is_said(tmp_path: Path) -> None:
    root = make_emodb(tmp_path / "copy")
    (root / "wav/03a01Wa.wav").write_bytes(b"RIFF")
    (root / "wav/03a01Na.wav").rename(root / "wav/03a01Xa.wav")
    (root / "wav/notes.wav").write_bytes(b"")
    (root / "wav/._03a01Wa.wav").write_bytes(b"")
    (root / "wav/99a01Wa.wav").write_bytes(b"")
    parsed = parse(EmoDB(), root)
    found = {reason: entry["count"] for reason, entry in parsed.report["reasons"].items()}
    assert found == {
        "not named as a recording of the corpus": 3,
        "recording that cannot be opened": 1,
    }
    assert parsed.report["hidden_files"] == 1
    row = parsed.utterances.set_index("utterance").loc["03a01Wa"]
    assert (row["audio"], row["end"]) == ("", 0.0)


def test_a_copy_of_one_length_is_named(tmp_path: Path) -> None:
    root = make_emodb(tmp_path / "copy")
    for path in (root / "wav").iterdir():
        soundfile.write(path, np.zeros(32000, np.float32), 16000)
    (item,) = parse(EmoDB(), root).items
    assert str(item) == ".: copy cut or padded to one length: 2.00 s"


def test_check_compares_with_the_full_release(whole: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["check", str(whole), "--format", "emodb"]) == 1
    shown = capsys.readouterr().out
    assert "40/535" in shown and "speaker 03                 4/49" in shown


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_another_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="looked for .*03a01Fa.wav.* set corpus.root"):
        parse(EmoDB(), tmp_path / name)


def test_known_totals_agree() -> None:
    assert sum(emodb.BY_EMOTION.values()) == sum(emodb.BY_SPEAKER.values()) == 535
    assert sorted(s for pair in emodb.PAIRS for s in pair.split("+")) == list(emodb.BY_SPEAKER)


def test_the_real_corpus_has_its_totals(capsys: pytest.CaptureFixture) -> None:
    assert main(["check", str(real("emodb")), "--format", "emodb"]) == 0
    shown = capsys.readouterr().out
    assert "complete: every known total" in shown
    found = [line for line in shown.splitlines() if line.endswith(("skipped", "kept without it"))]
    assert not found
