"""Reading the release: every rule of its formats, and every fault of real copies."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.corpus import formats, iemocap, totals
from pipeline.corpus.findings import Reason
from pipeline.corpus.iemocap import CorpusError
from pipeline.corpus.table import TABLES
from stages import parse as stage
from tests import release

IMPRO = "Ses01F_impro01"
SCRIPT = "Ses01M_script01_1b"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a complete copy of two sessions that miss nothing but the other three."""
    return release.make(tmp_path / "IEMOCAP_full_release", sessions=(1, 2))


def found(root: Path, reason: Reason) -> list[tuple[str, int | None, str]]:
    """Place and detail of the items with a reason."""
    items = iemocap.parse(root, "left").items
    return [(item.file, item.line, item.detail) for item in items if item.reason is reason]


def rows(root: Path):
    return iemocap.parse(root, "left").utterances.set_index("utterance")


def relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def append(path: Path, *lines: str) -> int:
    """Add lines to a file; return the number of the first of them."""
    content = path.read_text()
    path.write_text(content + "".join(f"{line}\n" for line in lines))
    return content.count("\n") + 1


# --- whole copies --------------------------------------------------------------------------------


def test_columns_and_values(root: Path) -> None:
    table = iemocap.parse(root, "left").utterances
    assert list(table.columns) == [
        *("utterance", "session", "dialog", "scenario", "speaker", "gender", "start", "end"),
        *("emotion", "valence", "activation", "dominance", "text", "audio", "video", "side"),
    ]
    assert table["utterance"].tolist() == sorted(table["utterance"])
    assert table.to_dict("records")[1] == {
        "utterance": "Ses01F_impro01_F001",
        "session": 1,
        "dialog": "Ses01F_impro01",
        "scenario": "improvised",
        "speaker": "Ses01F",
        "gender": "F",
        "start": 5.25,
        "end": 6.7501,
        "emotion": "exc",
        "valence": 2.5,
        "activation": 3.0,
        "dominance": 3.3333,
        "text": "Excuse me.",
        "audio": "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F001.wav",
        "video": "Session1/dialog/avi/DivX/Ses01F_impro01.avi",
        "side": "left",
    }


def test_speaker_is_of_the_utterance_and_side_follows_the_markers(root: Path) -> None:
    table = rows(root)
    script = table.loc[f"{SCRIPT}_F000"]
    assert (script["speaker"], script["gender"], script["scenario"]) == ("Ses01F", "F", "scripted")
    assert script["side"] == "right"
    assert table.loc[f"{SCRIPT}_M000", "side"] == "left"
    assert table.loc[f"{IMPRO}_F000", "side"] == "left"
    assert table.loc[f"{IMPRO}_M000", "side"] == "right"
    other = iemocap.parse(root, "right").utterances
    assert (other["side"].to_numpy() != table["side"].to_numpy()).all()


def test_votes(root: Path) -> None:
    votes = iemocap.parse(root, "left").votes
    assert len(votes) == 16 * len(release.VOTES)
    first = votes[votes["utterance"] == f"{IMPRO}_F000"].reset_index(drop=True)
    assert first["rater"].tolist() == ["E2", "E3", "F1", "E3", "M1"]
    assert first["kind"].tolist() == ["categorical"] * 3 + ["attribute"] * 2
    assert first["votes"].tolist() == ["Neutral", "Neutral;Sadness", "Neutral", "", ""]
    assert first.loc[1, "comment"] == "tired"
    scores = first[["valence", "activation", "dominance"]].to_numpy()
    assert scores[3].tolist() == [3.0, 2.0, 2.0]
    assert all(map(math.isnan, scores[0]))


def test_report_counts(root: Path) -> None:
    report = iemocap.parse(root, "left").report
    assert (report["utterances"], report["dialogs"], report["videos"]) == (16, 4, 4)
    assert report["by_session"] == {"1": 8, "2": 8}
    assert report["by_emotion"]["ang"] == 4
    assert report["by_emotion"]["xxx"] == 0
    assert report["by_emotion_and_session"]["ang"] == {"1": 2, "2": 2}
    assert report["media"]["audio"] == {"present": 16, "missing": 0}
    assert report["reasons"] == {"session missing": {"count": 3, "outcome": "skipped"}}
    assert [item["file"] for item in report["items"]] == ["Session3", "Session4", "Session5"]


def test_media_are_not_opened_and_each_folder_is_listed_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    listed: list[str] = []
    read_bytes, listdir = Path.read_bytes, os.listdir

    def record_open(path: Path) -> bytes:
        opened.append(path)
        return read_bytes(path)

    def record_list(path: Path) -> list[str]:
        listed.append(str(path))
        return listdir(path)

    monkeypatch.setattr(Path, "read_bytes", record_open)
    monkeypatch.setattr(os, "listdir", record_list)
    iemocap.parse(root, "left")
    assert {path.suffix for path in opened} == {".txt"}
    assert len(listed) == len(set(listed)) == 2 * (4 + 2)


# --- the tables on disk --------------------------------------------------------------------------


def test_write_and_read_back(root: Path, tmp_path: Path) -> None:
    parsed = iemocap.parse(root, "left")
    iemocap.write(parsed, tmp_path / "out")
    for name, columns in TABLES.items():
        path = tmp_path / "out" / f"{name}.csv"
        assert b"\r" not in path.read_bytes()
        expected = parsed.votes if name == "votes" else parsed.utterances
        assert iemocap.read_table(path).equals(expected[list(columns)])
    assert json.loads((tmp_path / "out/parse.json").read_text("utf-8")) == parsed.report
    iemocap.write(iemocap.parse(root, "left"), tmp_path / "again")
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
        assert str(tmp_path) not in path.read_text("utf-8")


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(max_size=40),
    start=st.integers(0, 9_999_999),
    length=st.integers(1, 400_000),
)
@example(text="NA", start=0, length=1)
@example(text="None", start=1, length=1)
@example(text='"He said, ""no"""', start=1, length=1)
@example(text="#hash", start=1, length=1)
@example(text="1.0", start=62901, length=1)
@example(text="a\0b", start=62901, length=1)
def test_any_text_and_times_come_back(root: Path, text: str, start: int, length: int) -> None:
    line = text.replace("\r", " ").replace("\n", " ")
    times = (start / 10_000, (start + length) / 10_000)
    spoken = [release.Utterance(f"{IMPRO}_F000", *times, text=line)]
    release.labels_file(root, IMPRO).write_text(release.label_text(spoken))
    release.transcript_file(root, IMPRO).write_text(release.transcript_text(spoken), "utf-8")
    parsed = iemocap.parse(root, "left")
    iemocap.write(parsed, root / "out")
    table = iemocap.read_table(root / "out/utterances.csv")
    assert table.equals(parsed.utterances)
    assert table["text"][0] == line.strip()
    assert (table["start"][0], table["end"][0]) == times


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; `dvc repro parse`"),
        ("", "is no table of audio"),
        ("utterance,audio\na,b\n", "has no column dialog; found utterance, audio"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "audio.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CorpusError, match=message):
        iemocap.read_table(path)


def test_table_with_a_value_of_another_type(tmp_path: Path) -> None:
    path = tmp_path / "visual.csv"
    path.write_text("utterance,dialog,start,end,video,side\na,b,soon,2,v,left\n")
    with pytest.raises(CorpusError, match=r"visual\.csv: is no table of visual.*soon"):
        iemocap.read_table(path)


def test_table_of_another_name(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"named for no table; known are utterances"):
        iemocap.read_table(tmp_path / "other.csv")


# --- roots that are none -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("below", "hint"),
    [
        ("..", "IEMOCAP_full_release holds them; set corpus.root to it"),
        ("Session1", "IEMOCAP_full_release holds them; set corpus.root to it"),
        ("Session1/dialog/avi/DivX", "IEMOCAP_full_release holds them; set corpus.root to it"),
        ("absent", "does not exist; looked for Session1 to Session5 in it"),
        (f"Session1/dialog/avi/DivX/{IMPRO}.avi", "is no folder; looked for Session1"),
    ],
)
def test_root_that_is_no_release(root: Path, below: str, hint: str) -> None:
    with pytest.raises(CorpusError, match=hint) as error:
        iemocap.parse(root / below, "left")
    assert str(root / below) in str(error.value)


def test_root_far_from_any_release(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="looked for the folders Session1 to Session5") as error:
        iemocap.parse(tmp_path, "left")
    assert "set corpus.root to the folder that holds them" in str(error.value)


def test_release_without_utterances(tmp_path: Path) -> None:
    (tmp_path / "Session1").mkdir()
    with pytest.raises(CorpusError, match=r"not one utterance.*session missing \(4\)"):
        iemocap.parse(tmp_path, "left")


# --- partial copies ------------------------------------------------------------------------------


def test_hidden_files_are_only_counted(root: Path) -> None:
    before = iemocap.parse(root, "left")
    for path in [p for p in root.rglob("*") if p.is_file()]:
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7junk")
        (path.parent / ".DS_Store").write_bytes(b"\0")
    (root / "Session1/sentences/wav/.DS_Store").write_bytes(b"\0")
    after = iemocap.parse(root, "left")
    assert after.utterances.equals(before.utterances)
    assert after.items == before.items
    # 4 dialogs: labels, transcript, video, 4 wavs; .DS_Store: 6 folders, 4 of wavs, 1 above them
    assert after.report["hidden_files"] == 4 * 7 + 6 + 4 + 1


def test_missing_folder_media_and_session(root: Path) -> None:
    release.video_file(root, IMPRO).unlink()
    wav = release.wav_file(root, f"{SCRIPT}_M001")
    wav.unlink()
    shutil.rmtree(root / "Session2/sentences")
    parsed = iemocap.parse(root, "left")
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


# --- faults in files -----------------------------------------------------------------------------


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
    before = iemocap.parse(root, "left")
    for path in root.rglob("*.txt"):
        content = path.read_text()
        if path.parent.name == "transcriptions":
            content = "".join(reversed(content.splitlines(keepends=True)))
        path.write_bytes(b"\xef\xbb\xbf" + content.replace("\n", "\r\n").encode())
    after = iemocap.parse(root, "left")
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
    before = iemocap.parse(root, "left")
    path = release.labels_file(root, IMPRO)
    number = append(path, line)
    ((file, at, given_detail),) = found(root, reason)
    assert (file, at) == (relative(path, root), number)
    assert detail in given_detail
    after = iemocap.parse(root, "left")
    assert after.utterances.equals(before.utterances)
    assert after.votes.equals(before.votes)
    assert len(after.items) == len(before.items) + 1


def test_unknown_emotion_names_the_known_codes_and_skips_only_its_utterance(root: Path) -> None:
    path = release.labels_file(root, IMPRO)
    path.write_text(path.read_text().replace("\tang\t", "\tjoy\t"))
    parsed = iemocap.parse(root, "left")
    assert len(parsed.utterances) == 15
    assert f"{IMPRO}_F000" not in set(parsed.votes["utterance"])
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
    iemocap.write(iemocap.parse(root, "left"), tmp_path / "out")
    assert found(root, Reason.NO_DIALOG) == [("Session1/dialog/EmoEvaluation/caf?.txt", None, "")]


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


# --- line formats --------------------------------------------------------------------------------

times = st.integers(0, 99_999_999).map(lambda n: n / 10_000)
scores = st.integers(10_000, 50_000).map(lambda n: n / 10_000)
names = st.builds(
    lambda s, a, d, x, n: f"Ses0{s}{a}_{d}_{x}{n:03d}",
    st.integers(1, 5),
    st.sampled_from("FM"),
    st.sampled_from(["impro01", "impro05a", "script01_1", "script01_1b", "script03_2"]),
    st.sampled_from("FM"),
    st.integers(0, 999),
)
words = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters=";()"), min_size=1)


labels = st.builds(
    formats.Label, names, times, times, st.sampled_from(["neu", "xxx"]), scores, scores, scores
)


@given(labels)
def test_label_line_comes_back(label: formats.Label) -> None:
    line = (
        f"[{label.start:.4f} - {label.end:.4f}]\t{label.utterance}\t{label.emotion}"
        f"\t[{label.valence:.4f}, {label.activation:.4f}, {label.dominance:.4f}]"
    )
    assert formats.label_line(line) == label


@given(names, times, times, st.text(st.characters(exclude_characters="\r\n")))
def test_transcript_line_comes_back(name: str, start: float, end: float, text: str) -> None:
    line = f"{name} [{start:08.4f}-{end:08.4f}]: {text}"
    assert formats.transcript_line(line) == (name, text.strip())


@given(st.lists(words, max_size=4), st.text(st.characters(exclude_categories=["C", "Z"])))
def test_categorical_line_comes_back(votes: list[str], comment: str) -> None:
    line = f"C-E4:\t{''.join(f'{vote}; ' for vote in votes)}\t({comment})"
    vote = formats.vote_line(line)
    assert vote is not None
    assert (vote.rater, vote.kind, vote.votes) == ("E4", "categorical", ";".join(votes))
    assert vote.comment == comment


@given(*[st.none() | st.integers(1, 5)] * 3)
def test_attribute_line_comes_back(valence, activation, dominance) -> None:
    given_scores = ["" if s is None else str(s) for s in (valence, activation, dominance)]
    vote = formats.vote_line("A-F1:\tval {}; act {}; dom  {};\t()".format(*given_scores))
    assert vote is not None
    for read, score in zip(
        (vote.valence, vote.activation, vote.dominance),
        (valence, activation, dominance),
        strict=True,
    ):
        assert math.isnan(read) if score is None else read == score


@given(st.text())
@example("[" * 10_000)
@example("A-E1:" + "val 3;" * 5_000)
@example("[1 - 2] x y [" + "1, " * 5_000)
@example("Ses" + ":" * 10_000)
def test_any_line_is_read_or_refused(line: str) -> None:
    for read in (formats.label_line, formats.vote_line, formats.transcript_line, formats.dialog):
        read(line)
    formats.is_unnumbered(line)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ses01F_impro01", formats.Dialog("Ses01F_impro01", 1, "F", "improvised")),
        ("Ses05M_script03_2", formats.Dialog("Ses05M_script03_2", 5, "M", "scripted")),
        ("Ses02F_impro05a", formats.Dialog("Ses02F_impro05a", 2, "F", "improvised")),
        ("Ses04M_script01_1b", formats.Dialog("Ses04M_script01_1b", 4, "M", "scripted")),
        ("Ses06F_impro01", None),
        ("Ses01X_impro01", None),
        ("Ses01F_impro01_F000", None),
        ("Ses01F_impro01.txt", None),
    ],
)
def test_dialog_ids(name: str, expected: formats.Dialog | None) -> None:
    assert formats.dialog(name) == expected


# --- stage and command line ----------------------------------------------------------------------


def test_stage(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = yaml.safe_load(Path("params.yaml").read_text("utf-8"))
    content["corpus"]["root"] = str(root)
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(content))
    stage.main()
    table = iemocap.read_table("data/interim/utterances.csv")
    assert len(table) == 16
    for name in ("audio", "text", "visual"):
        narrow = iemocap.read_table(f"data/interim/{name}.csv")
        assert narrow["utterance"].tolist() == table["utterance"].tolist()
    output = capsys.readouterr().out
    assert "session missing" in output
    assert "ang" in output


def test_check_of_a_partial_copy(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert iemocap.main(["check", str(root), "--items"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert ["dialogs", "151", "4", "-147"] in [line.split() for line in lines]
    assert "Session3: session missing" in lines


def test_check_of_no_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert iemocap.main(["check", str(tmp_path)]) == 2
    assert "Session1 to Session5" in capsys.readouterr().err


def test_totals_agree_with_each_other() -> None:
    assert sum(totals.BY_SESSION.values()) == sum(totals.BY_EMOTION.values()) == totals.UTTERANCES
