"""MELD: the stand-in in its layout, each damage of real copies, and the real lists."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import clips
from pipeline.corpus import meld
from pipeline.corpus.__main__ import main
from pipeline.corpus.meld import Meld
from pipeline.corpus.parsing import Parsed, parse
from pipeline.corpus.table import CorpusError
from tests.real import real
from tests.standins import MELD_LINES, make_meld


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_meld(tmp_path_factory.mktemp("meld") / "copy")


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def reasons(parsed: Parsed) -> dict[str, int]:
    return {reason: entry["count"] for reason, entry in parsed.report["reasons"].items()}


def rows(parsed: Parsed) -> pd.DataFrame:
    return parsed.utterances.set_index("utterance")


def test_ids_are_of_a_part_and_order_is_that_of_the_utterance(whole: Path) -> None:
    parsed = parse(Meld(), whole)
    table = rows(parsed)
    assert not parsed.items and len(table) == sum(map(len, MELD_LINES.values()))
    assert set(table["part"]) == set(table["group"]) == {"train", "development", "test"}
    row = table.loc["dev_dia0_utt1"]
    assert (row["dialog"], row["order"], row["speaker"]) == ("dev_dia0", 1, "Ross")
    assert (row["emotion"], row["text"]) == ("anger", "How\u2019s that?")
    assert row["audio"] == row["video"] == "dev_splits_complete/dia0_utt1.mp4"
    assert (row["place"], row["audio_place"], row["start"]) == ("whole", "", 0.0)
    episodes = parsed.details["episodes"].set_index("utterance")
    assert episodes["season"]["dev_dia0_utt1"] == "8"


def test_the_end_is_the_clips(copy: Path) -> None:
    clips.write(copy / "train_splits/dia0_utt0.mp4", clips.tone(3.5), clips.plain(35))
    parsed = parse(Meld(), copy)
    assert rows(parsed)["end"]["train_dia0_utt0"] == pytest.approx(3.5, abs=0.05)
    assert reasons(parsed) == {"clip of another length than its times": 1}


def test_lists_without_clips_have_lengths_of_their_times(copy: Path) -> None:
    for _, folder in meld.PARTS.values():
        shutil.rmtree(copy / folder)
    parsed = parse(Meld(), copy)
    assert reasons(parsed) == {"folder missing": 3}
    table = rows(parsed)
    assert (table[["audio", "video"]] == "").all(axis=None) and table["end"].between(0.3, 3).all()


def test_clips_that_are_missing_broken_doubled_or_hidden(copy: Path) -> None:
    (copy / "dev_splits_complete/dia0_utt1.mp4").unlink()
    broken = copy / "train_splits/dia1_utt0.mp4"
    broken.write_bytes(broken.read_bytes()[:2000])
    test = copy / "output_repeated_splits_test"
    shutil.copy(test / "dia0_utt0.mp4", test / "final_videos_testdia0_utt0.mp4")
    (test / "dia0_utt1.mp4").rename(test / "final_videos_testdia0_utt1.mp4")
    (test / "._dia0_utt0.mp4").write_bytes(b"Mac OS X")
    shutil.copy(test / "dia0_utt0.mp4", test / "dia9_utt0.mp4")
    (test / "trailer.mp4").write_bytes(b"")
    parsed = parse(Meld(), copy)
    assert reasons(parsed) == {
        "not named as a recording of the corpus": 1,
        "recording without a label": 1,
        "video that cannot be opened": 1,
        "video missing": 1,
        "clip that is there under another name too": 1,
    }
    assert parsed.report["hidden_files"] == 1
    table = rows(parsed)
    assert table["video"]["test_dia0_utt1"].endswith("final_videos_testdia0_utt1.mp4")
    assert table["video"]["test_dia0_utt0"].endswith("/dia0_utt0.mp4")
    for name in ("dev_dia0_utt1", "train_dia1_utt0"):
        assert table["video"][name] == table["audio"][name] == ""
        assert table["end"][name] > 0.3


def test_clips_without_sound_or_pictures(copy: Path) -> None:
    clips.write(copy / "train_splits/dia0_utt0.mp4", None, clips.plain(8))
    clips.write(copy / "train_splits/dia0_utt1.mp4", clips.tone(0.8))
    parsed = parse(Meld(), copy)
    found = reasons(parsed)
    assert found["video without sound"] == found["video without pictures"] == 1
    table = rows(parsed)
    assert table["audio"]["train_dia0_utt0"] == table["video"]["train_dia0_utt1"] == ""
    assert table["video"]["train_dia0_utt0"] and table["audio"]["train_dia0_utt1"]


def test_damaged_lists(copy: Path) -> None:
    file = copy / "train_sent_emo.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    text = "\n".join(
        [
            *lines,
            lines[1],
            '9,Oh,Joey,glee,,0,7,8,21,"00:16:16,059","00:16:17,059"',
            '9,Oh,Joey,joy,,0,x,8,21,"00:16:16,059","00:16:17,059"',
            '9,Oh,Joey,joy,,0,8,8,21,soon,"00:16:17,059"',
            "9,Oh,Joey",
            '9,Oh,Joey,joy,,0,9,8,21,"00:16:16,059","00:16:16,059"',
        ]
    )
    file.write_bytes(text.encode("cp1252"))
    parsed = parse(Meld(), copy)
    assert reasons(parsed) == {
        "malformed line": 3,
        "unknown emotion": 1,
        "id seen before": 1,
        "video missing": 1,
        "not UTF-8, read as Windows-1252": 1,
        "times without a length": 1,
    }
    table = rows(parsed)
    assert table["text"]["train_dia0_utt0"] == "How\u2019s that?"
    assert table["end"]["train_dia0_utt9"] == 0
    assert [item.line for item in parsed.items if item.reason.text == "malformed line"] == [7, 8, 9]


def windows_1252(content: bytes) -> bytes:
    return content.decode("utf-8").encode("cp1252")


def mixed(content: bytes) -> bytes:
    """The first half of the lines in Windows-1252, the others in UTF-8."""
    lines = content.splitlines(keepends=True)
    half = len(lines) // 2
    return windows_1252(b"".join(lines[:half])) + b"".join(lines[half:])


def as_latin_1(content: bytes) -> bytes:
    """Windows-1252 that was taken for Latin-1 when it was converted to UTF-8."""
    return windows_1252(content).decode("latin-1").encode("utf-8")


@pytest.mark.parametrize("damage", [windows_1252, mixed, as_latin_1])
def test_apostrophes_of_windows_1252(copy: Path, damage: Callable[[bytes], bytes]) -> None:
    file = copy / "train_sent_emo.csv"
    file.write_bytes(damage(file.read_bytes()))
    parsed = parse(Meld(), copy)
    assert reasons(parsed) == {"not UTF-8, read as Windows-1252": 1}
    assert set(parsed.utterances["text"]) == {"How\u2019s that?"}


def test_parts_may_be_missing_or_lie_in_their_folders(copy: Path) -> None:
    (copy / "train").mkdir()
    shutil.move(copy / "train_splits", copy / "train")
    shutil.move(copy / "train_sent_emo.csv", copy / "train")
    (copy / "dev_sent_emo.csv").unlink()
    parsed = parse(Meld(), copy)
    assert rows(parsed)["video"]["train_dia0_utt0"] == "train/train_splits/dia0_utt0.mp4"
    assert set(parsed.utterances["part"]) == {"train", "test"}
    assert reasons(parsed) == {"file missing": 1}


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is not a copy of MELD; looked for train_sent_emo.csv"):
        parse(Meld(), tmp_path)


# --- the real lists ------------------------------------------------------------------------------


def test_the_real_lists_have_their_totals(capsys: pytest.CaptureFixture) -> None:
    root = real("meld")
    parsed = parse(Meld(), root)
    table = parsed.utterances
    assert table["part"].value_counts().to_dict() == {
        **{"train": 9989, "test": 2610, "development": 1109}
    }
    dialogs = table.groupby("part")["dialog"].nunique().to_dict()
    assert dialogs == {"train": 1038, "development": 114, "test": 280}
    for part, expected in meld.BY_EMOTION.items():
        assert table["emotion"][table["part"] == part].value_counts().to_dict() == expected
    assert reasons(parsed)["times without a length"] == 1
    ends = rows(parsed)["end"]
    assert ends["test_dia155_utt3"] == 0
    assert ends["test_dia38_utt4"] > 300 and ends["test_dia220_utt0"] > 230
    assert "malformed line" not in reasons(parsed)
    # no clips: a copy of lists alone is not whole, and says so
    if not (root / "train_splits").exists():
        assert main(["check", str(root), "--format", "meld"]) == 1
        assert "0/9989" in capsys.readouterr().out


@pytest.mark.parametrize("damage", [windows_1252, mixed, as_latin_1])
def test_the_real_lists_in_windows_1252_read_the_same(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    root = real("meld")
    for part in meld.PARTS:
        name = f"{part}_sent_emo.csv"
        (tmp_path / name).write_bytes(damage((root / name).read_bytes()))
    parsed, expected = parse(Meld(), tmp_path), parse(Meld(), root)
    assert reasons(parsed)["not UTF-8, read as Windows-1252"] == 3
    pd.testing.assert_frame_equal(parsed.utterances, expected.utterances)
