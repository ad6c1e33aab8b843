"""Partial and damaged copies of the release: what is reported, and what stays."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import release
from pipeline.corpus.iemocap.reasons import Reason
from tests.releases import append, found, relative, rows

IMPRO = "Ses01F_impro01"
SCRIPT = "Ses01M_script01_1b"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a complete copy of two sessions that miss nothing but the other three."""
    return release.make(tmp_path / "IEMOCAP_full_release", sessions=(1, 2))


# --- partial copies -------------------------------------------------------------------------------


def test_hidden_files_are_only_counted(root: Path) -> None:
    before = release.parse(root)
    for path in [p for p in root.rglob("*") if p.is_file()]:
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7junk")
        (path.parent / ".DS_Store").write_bytes(b"\0")
    (root / "Session1/sentences/wav/.DS_Store").write_bytes(b"\0")
    after = release.parse(root)
    assert after.utterances.equals(before.utterances)
    assert after.items == before.items
    # 4 dialogs: labels, transcript, video, 4 wavs; .DS_Store: 6 folders, 4 of wavs, 1 above them
    assert after.report["hidden_files"] == 4 * 7 + 6 + 4 + 1


def test_missing_folder_media_and_session(root: Path) -> None:
    release.video_file(root, IMPRO).unlink()
    wav = release.wav_file(root, f"{SCRIPT}_M001")
    wav.unlink()
    shutil.rmtree(root / "Session2/sentences")
    parsed = release.parse(root)
    table = parsed.utterances.set_index("utterance")
    assert (table["video"] == "").sum() == 4
    assert table.loc[f"{SCRIPT}_M001", "audio"] == ""
    assert parsed.report["media"]["audio"] == {"present": 7, "missing": 9}
    assert found(root, Reason.NO_FOLDER) == [("Session2/sentences/wav", None, "")]
    assert found(root, Reason.NO_VIDEO) == [
        (relative(release.video_file(root, IMPRO), root), None, "4 utterances")
    ]
    assert (relative(wav, root), None, "") in found(root, Reason.NO_AUDIO)
    assert [file for file, _, _ in found(root, Reason.NO_SESSION)] == [
        f"Session{n}" for n in (3, 4, 5)
    ]


def test_dialog_without_transcript_or_labels(root: Path) -> None:
    release.transcript_file(root, IMPRO).unlink()
    release.labels_file(root, SCRIPT).unlink()
    table = rows(root)
    assert (table.loc[table["dialog"] == IMPRO, "text"] == "").all()
    assert not (table["dialog"] == SCRIPT).any()
    assert len(found(root, Reason.NO_TEXT)) == 4
    assert len(found(root, Reason.NO_LABEL)) == 4
    assert found(root, Reason.VIDEO_NO_LABEL) == [
        (relative(release.video_file(root, SCRIPT), root), None, "")
    ]
    assert len(found(root, Reason.WAV_NO_LABEL)) == 4


def test_labels_and_transcripts_that_differ(root: Path) -> None:
    path = release.transcript_file(root, IMPRO)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[1:], f"{IMPRO}_M077 [1.0-2.0]: Who am I?"]) + "\n")
    table = rows(root)
    assert table.loc[f"{IMPRO}_F000", "text"] == ""
    assert f"{IMPRO}_M077" not in table.index
    labels = relative(release.labels_file(root, IMPRO), root)
    assert found(root, Reason.NO_TEXT) == [(labels, 3, f"{IMPRO}_F000")]
    ((file, line, detail),) = found(root, Reason.NO_LABEL)
    assert (file, line) == (relative(path, root), 4)
    assert "Who am I?" in detail


# --- faults in files ------------------------------------------------------------------------------


def test_transcript_lines_of_no_utterance(root: Path) -> None:
    path = release.transcript_file(root, IMPRO)
    first = append(
        path, "M: [LAUGHTER]", "", "F: Hm.", f"{IMPRO}_MXX0 [001.0000-002.0000]: [BREATHING]"
    )
    before = len(rows(root))
    assert found(root, Reason.NO_ID) == [
        (relative(path, root), first, "M: [LAUGHTER]"),
        (relative(path, root), first + 2, "F: Hm."),
    ]
    ((_, line, _),) = found(root, Reason.UNNUMBERED)
    assert line == first + 3
    assert len(rows(root)) == before


def test_order_of_transcript_lines_and_line_ends_change_nothing(root: Path) -> None:
    before = release.parse(root)
    for path in root.rglob("*.txt"):
        content = path.read_text()
        if path.parent.name == "transcriptions":
            content = "".join(reversed(content.splitlines(keepends=True)))
        path.write_bytes(b"\xef\xbb\xbf" + content.replace("\n", "\r\n").encode())
    after = release.parse(root)
    assert after.utterances.equals(before.utterances)
    assert after.votes.equals(before.votes)
    assert after.items == before.items


def test_windows_1252(root: Path) -> None:
    path = release.transcript_file(root, IMPRO)
    path.write_bytes(path.read_bytes().replace(b"Excuse me.", b"I\x92m caf\xe9 \x96 fine\x81", 1))
    assert rows(root).loc[f"{IMPRO}_F000", "text"] == "I\u2019m caf\u00e9 \u2013 fine\ufffd"
    assert found(root, Reason.WINDOWS_1252) == [(relative(path, root), None, "")]


def test_utf_8_is_tried_first(root: Path) -> None:
    path = release.transcript_file(root, IMPRO)
    path.write_text(
        path.read_text().replace("Excuse me.", "I\u2019m \u2013 caf\u00e9"), encoding="utf-8"
    )
    assert rows(root).loc[f"{IMPRO}_F000", "text"] == "I\u2019m \u2013 caf\u00e9"
    assert found(root, Reason.WINDOWS_1252) == []


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_read_and_reported(root: Path, codec: str) -> None:
    path = release.transcript_file(root, IMPRO)
    path.write_text(path.read_text().replace("Excuse me.", "I\u2019m caf\u00e9"), encoding="utf-8")
    before = release.parse(root)
    files = [*root.rglob("transcriptions/*.txt"), *root.rglob("EmoEvaluation/*.txt")]
    for file in files:
        file.write_bytes(file.read_text(encoding="utf-8").replace("\n", "\r\n").encode(codec))
    after = release.parse(root)
    assert after.utterances.equals(before.utterances)
    assert after.votes.equals(before.votes)
    assert found(root, Reason.UTF_16) == [(relative(f, root), None, "") for f in sorted(files)]
    assert len(after.items) == len(before.items) + len(files)


def test_files_of_another_format(root: Path) -> None:
    wav = release.wav_file(root, f"{SCRIPT}_M001")
    changed = {
        release.video_file(root, IMPRO): ".mp4",
        release.labels_file(root, "Ses02F_impro01"): ".rtf",
        release.transcript_file(root, IMPRO): ".txt.docx",
        wav: ".flac",
    }
    for path, suffix in changed.items():
        path.rename(path.with_suffix(suffix))
    other = release.video_file(root, SCRIPT)
    other.with_suffix(".mp4").write_bytes(b"beside the right one")
    table = rows(root)
    assert found(root, Reason.OTHER_FORMAT) == [
        (relative(path.with_suffix(suffix), root), None, f"convert it to {path.suffix}")
        for path, suffix in sorted(changed.items())
    ]
    assert found(root, Reason.NO_VIDEO) == found(root, Reason.NO_AUDIO) == []
    assert len(table) == 12
    assert (table.loc[table["dialog"] == IMPRO, ["video", "text"]] == "").all(axis=None)
    assert table.loc[f"{SCRIPT}_M001", "audio"] == ""
    assert (table.loc[table["dialog"] == SCRIPT, "video"] == relative(other, root)).all()


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        (f"[9.0 - 9.5]\t{IMPRO}_F009\tjoy\t[2, 2, 2]", Reason.UNKNOWN_EMOTION, "'joy' is none of"),
        (f"[9.5 - 9.5]\t{IMPRO}_F009\tneu\t[2, 2, 2]", Reason.BAD_TIMES, "9.5 to 9.5"),
        (f"[9.0 - 9.5]\t{IMPRO}_F009\tneu\t[2, 2]", Reason.BAD_LABEL, "[2, 2]"),
        (f"[9.0 - nan]\t{IMPRO}_F009\tneu\t[2, 2, 2]", Reason.BAD_LABEL, "nan"),
        ("what is this?", Reason.BAD_LABEL, "what is this?"),
        (f"[9.0 - 9.5]\t{SCRIPT}_F009\tneu\t[2, 2, 2]", Reason.OTHER_DIALOG, f"{SCRIPT}_F009"),
        (f"[9.0 - 9.5]\t{IMPRO}_FXX1\tneu\t[2, 2, 2]", Reason.UNNUMBERED, f"{IMPRO}_FXX1"),
        (f"[9.0 - 9.5]\t{IMPRO}_F000\tsad\t[2, 2, 2]", Reason.DUPLICATE, f"{IMPRO}_F000"),
        ("C-E2: Neutral (", Reason.BAD_VOTE, "C-E2"),
        ("A-E2:\tval 3; act 3;\t()", Reason.BAD_VOTE, "A-E2"),
    ],
)
def test_bad_label_lines_are_skipped(root: Path, line: str, reason: Reason, detail: str) -> None:
    before = release.parse(root)
    path = release.labels_file(root, IMPRO)
    number = append(path, line)
    ((file, at, given_detail),) = found(root, reason)
    assert (file, at) == (relative(path, root), number)
    assert detail in given_detail
    after = release.parse(root)
    assert after.utterances.equals(before.utterances)
    assert after.votes.equals(before.votes)
    assert len(after.items) == len(before.items) + 1


def test_unknown_emotion_names_the_known_codes_and_skips_only_its_utterance(root: Path) -> None:
    path = release.labels_file(root, IMPRO)
    path.write_text(path.read_text().replace("\tang\t", "\tjoy\t"))
    parsed = release.parse(root)
    assert len(parsed.utterances) == 15
    assert f"{IMPRO}_F000" not in set(parsed.details["raters"]["utterance"])
    ((_, line, detail),) = found(root, Reason.UNKNOWN_EMOTION)
    assert line == 3
    assert detail.endswith("none of ang, hap, exc, sad, fru, fea, sur, neu, dis, oth, xxx")
    # its transcript line and its wav are not findings of their own
    assert parsed.report["reasons"].keys() == {"session missing", "unknown emotion code"}


def test_repeated_transcript_line_keeps_the_first(root: Path) -> None:
    path = release.transcript_file(root, IMPRO)
    number = append(path, f"{IMPRO}_F000 [001.0000-002.0000]: Again.")
    assert rows(root).loc[f"{IMPRO}_F000", "text"] == "Excuse me."
    ((_, line, _),) = found(root, Reason.DUPLICATE)
    assert line == number


def test_odd_files(root: Path) -> None:
    folder = root / "Session1/sentences/wav" / IMPRO
    (folder / "Ses01F_impro02_F000.wav").write_bytes(b"")
    (folder / f"{IMPRO}_M099.wav").write_bytes(b"")
    (folder / "notes.pdf").write_bytes(b"")
    labels = root / "Session1/dialog/EmoEvaluation"
    (labels / "Categorical").mkdir()
    (labels / "Categorical" / f"{IMPRO}_e2_cat.txt").write_text("ignored")
    (labels / "README.txt").write_text("not a dialog")
    (labels / "Ses02F_impro01.txt").write_text("of another session")
    before = len(rows(root))
    assert [f for f, _, _ in found(root, Reason.WAV_OTHER_DIALOG)] == [
        f"Session1/sentences/wav/{IMPRO}/Ses01F_impro02_F000.wav"
    ]
    assert [f for f, _, _ in found(root, Reason.WAV_NO_LABEL)] == [
        f"Session1/sentences/wav/{IMPRO}/{IMPRO}_M099.wav"
    ]
    assert [f for f, _, _ in found(root, Reason.NO_DIALOG)] == [
        "Session1/dialog/EmoEvaluation/README.txt",
        "Session1/dialog/EmoEvaluation/Ses02F_impro01.txt",
    ]
    assert before == 16


def test_wav_in_the_folder_of_another_take(root: Path) -> None:
    wav = release.wav_file(root, f"{SCRIPT}_M000")
    other = wav.parent.with_name("Ses01M_script01_1a") / wav.name
    other.parent.mkdir()
    wav.rename(other)
    assert rows(root).loc[f"{SCRIPT}_M000", "audio"] == relative(other, root)
    assert found(root, Reason.WAV_MOVED) == [(relative(other, root), None, "")]
    shutil.copy(other, wav)
    assert rows(root).loc[f"{SCRIPT}_M000", "audio"] == relative(wav, root)
    assert found(root, Reason.WAV_OTHER_DIALOG) == [(relative(other, root), None, "")]


def test_names_that_are_not_utf_8_can_be_reported(root: Path, tmp_path: Path) -> None:
    folder = os.fsencode(root / "Session1/dialog/EmoEvaluation")
    (Path(os.fsdecode(folder + b"/caf\xe9.txt"))).write_bytes(b"")
    release.write(release.parse(root), tmp_path / "out")
    assert found(root, Reason.NO_DIALOG) == [("Session1/dialog/EmoEvaluation/caf?.txt", None, "")]


def test_files_that_cannot_be_read(root: Path) -> None:
    path = release.transcript_file(root, IMPRO)
    path.unlink()
    path.mkdir()
    release.labels_file(root, SCRIPT).write_bytes(b"")
    assert found(root, Reason.UNREADABLE) == [(relative(path, root), None, "Is a directory")]
    assert found(root, Reason.EMPTY) == [
        (relative(release.labels_file(root, SCRIPT), root), None, "")
    ]
    assert len(found(root, Reason.NO_TEXT)) == 4


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.binary(max_size=300), transcript=st.binary(max_size=300))
def test_garbage_never_stops_a_run(root: Path, labels: bytes, transcript: bytes) -> None:
    for path, garbage in (
        (release.labels_file(root, SCRIPT), labels),
        (release.transcript_file(root, SCRIPT), transcript),
    ):
        path.write_bytes(garbage)
    table = rows(root)
    assert (table["dialog"] != SCRIPT).sum() == 12
