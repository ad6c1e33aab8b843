"""Reading the release: the tables of a whole copy, the stage and the command line."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmarks import release
from pipeline.corpus.__main__ import main
from pipeline.corpus.description import Description
from pipeline.corpus.iemocap import totals
from pipeline.corpus.iemocap.codes import DESCRIPTION
from pipeline.corpus.iemocap.reasons import Reason
from pipeline.corpus.iemocap.votes import CODES
from pipeline.corpus.table import TABLES, CorpusError, read_table
from stages import parse as stage
from tests.releases import found, relative, rows

IMPRO = "Ses01F_impro01"
SCRIPT = "Ses01M_script01_1b"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a complete copy of two sessions that miss nothing but the other three."""
    return release.make(tmp_path / "IEMOCAP_full_release", sessions=(1, 2))


# --- whole copies ---------------------------------------------------------------------------------


def test_columns_and_values(root: Path) -> None:
    table = release.parse(root).utterances
    assert list(table.columns) == list(TABLES["utterances"])
    assert table["utterance"].tolist() == sorted(table["utterance"])
    assert table.to_dict("records")[1] == {
        "utterance": "Ses01F_impro01_F001",
        "dialog": "Ses01F_impro01",
        "order": 2,
        "speaker": "Ses01F",
        "group": "1",
        "gender": "F",
        "scenario": "improvised",
        "part": "",
        "start": 5.25,
        "end": 6.7501,
        "emotion": "exc",
        "valence": 2.5,
        "activation": 3.0,
        "dominance": 3.3333,
        "text": "Excuse me.",
        "audio": "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F001.wav",
        "audio_place": "",
        "video": "Session1/dialog/avi/DivX/Ses01F_impro01.avi",
        "place": "left",
    }


def test_speaker_is_of_the_utterance_and_place_follows_the_markers(root: Path) -> None:
    table = rows(root)
    script = table.loc[f"{SCRIPT}_F000"]
    assert (script["speaker"], script["gender"], script["scenario"]) == ("Ses01F", "F", "scripted")
    assert script["place"] == "right"
    assert table.loc[f"{SCRIPT}_M000", "place"] == "left"
    assert table.loc[f"{IMPRO}_F000", "place"] == "left"
    assert table.loc[f"{IMPRO}_M000", "place"] == "right"
    other = release.parse(root, "right").utterances
    assert (other["place"].to_numpy() != table["place"].to_numpy()).all()


def test_votes(root: Path) -> None:
    parsed = release.parse(root)
    votes = parsed.details["raters"]
    assert len(votes) == 16 * len(release.VOTES)
    first = votes[votes["utterance"] == f"{IMPRO}_F000"].reset_index(drop=True)
    assert first["rater"].tolist() == ["E2", "E3", "F1", "E3", "M1"]
    assert first["kind"].tolist() == ["categorical"] * 3 + ["attribute"] * 2
    assert first["votes"].tolist() == ["Neutral", "Neutral;Sadness", "Neutral", "", ""]
    assert first.loc[1, "comment"] == "tired"
    scores = first[["valence", "activation", "dominance"]].to_numpy()
    assert scores[3].tolist() == [3.0, 2.0, 2.0]
    assert all(map(math.isnan, scores[0]))
    assert parsed.votes.columns.tolist() == ["utterance", *CODES]
    assert parsed.votes["utterance"].equals(parsed.utterances["utterance"])
    counted = parsed.votes.set_index("utterance").T[f"{IMPRO}_F000"].to_dict()
    assert {code: count for code, count in counted.items() if count} == {"neu": 1.5, "sad": 0.5}


def test_dialogs(root: Path) -> None:
    release.video_file(root, SCRIPT).unlink()
    table = release.parse(root).details["dialogs"]
    assert list(table.columns) == [
        *("dialog", "session", "marked", "scenario", "script", "part", "take"),
        *("utterances", "video"),
    ]
    video = relative(release.video_file(root, IMPRO), root)
    assert table.to_numpy().tolist()[:2] == [
        [IMPRO, 1, "F", "improvised", "01", "", "", 4, video],
        [SCRIPT, 1, "M", "scripted", "01", "1", "b", 4, ""],
    ]


def test_report_counts(root: Path) -> None:
    report = release.parse(root).report
    assert (report["utterances"], report["dialogs"], report["videos"]) == (16, 4, 4)
    assert report["by_group"] == {"1": 8, "2": 8}
    assert report["by_emotion"]["ang"] == 4
    assert report["by_emotion"]["xxx"] == 0
    assert report["by_emotion_and_group"]["ang"] == {"1": 2, "2": 2}
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
    release.parse(root)
    assert {path.suffix for path in opened} == {".txt"}
    assert len(listed) == len(set(listed)) == 2 * (4 + 2)


# --- the tables on disk ---------------------------------------------------------------------------


def test_write_and_read_back(root: Path, tmp_path: Path) -> None:
    parsed = release.parse(root)
    release.write(parsed, tmp_path / "out")
    for name, columns in TABLES.items():
        path = tmp_path / "out" / f"{name}.csv"
        assert b"\r" not in path.read_bytes()
        found = read_table(path)
        if name == "votes":
            assert found.equals(parsed.votes.astype(dict.fromkeys(CODES, "float64")))
            continue
        known = [column for column in columns if not column.endswith("sha256")]
        assert found.columns.tolist() == list(columns)
        assert found[known].equals(parsed.utterances[known])
    for name, table in parsed.details.items():
        detail = pd.read_csv(tmp_path / "out/details" / f"{name}.csv")
        assert detail.columns.tolist() == table.columns.tolist() and len(detail) == len(table)
    described = (tmp_path / "out/corpus.json").read_text("utf-8")
    assert Description.from_json(described) == DESCRIPTION
    assert json.loads((tmp_path / "out/parse.json").read_text("utf-8")) == parsed.report
    release.write(release.parse(root), tmp_path / "again")
    for path in (path for path in (tmp_path / "out").rglob("*") if path.is_file()):
        again = tmp_path / "again" / path.relative_to(tmp_path / "out")
        assert path.read_bytes() == again.read_bytes()
        assert str(tmp_path) not in path.read_text("utf-8")


CONTROLS = "".join(map(chr, range(0x80, 0xA0)))  # read as characters of Windows-1252


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters=CONTROLS), max_size=40),
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
    parsed = release.parse(root)
    release.write(parsed, root / "out")
    table = read_table(root / "out/utterances.csv")
    assert table.equals(parsed.utterances)
    assert table["text"][0] == line.strip()
    assert (table["start"][0], table["end"][0]) == times


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; `dvc repro parse`"),
        ("", "not a table of audio"),
        (
            "utterance,audio\na,b\n",
            "has no column dialog, start, end, audio_place, audio_sha256; found utterance, audio",
        ),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "audio.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CorpusError, match=message):
        read_table(path)


def test_table_with_a_value_of_another_type(tmp_path: Path) -> None:
    path = tmp_path / "visual.csv"
    path.write_text("utterance,dialog,start,end,video,place,video_sha256\na,b,soon,2,v,left,0\n")
    with pytest.raises(CorpusError, match=r"visual\.csv: not a table of visual.*soon"):
        read_table(path)


def test_table_of_another_name(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"not the name of a table; known are utterances"):
        read_table(tmp_path / "other.csv")


# --- roots that are none --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("below", "hint"),
    [
        ("..", "IEMOCAP_full_release contains them; set corpus.root to it"),
        ("Session1", "IEMOCAP_full_release contains them; set corpus.root to it"),
        ("Session1/dialog/avi/DivX", "IEMOCAP_full_release contains them; set corpus.root to it"),
        ("absent", "does not exist; looked for the folders Session1 to Session5 in it"),
        (
            f"Session1/dialog/avi/DivX/{IMPRO}.avi",
            "is not a folder; looked for the folders Session1",
        ),
    ],
)
def test_root_that_is_no_release(root: Path, below: str, hint: str) -> None:
    with pytest.raises(CorpusError, match=hint) as error:
        release.parse(root / below)
    assert str(root / below) in str(error.value)


def test_a_root_that_a_temporary_experiment_does_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError, match="does not exist.*--downstream ... train` needs none"):
        release.parse(Path("data/raw/IEMOCAP_full_release"))


def test_root_far_from_any_release(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="looked for the folders Session1 to Session5") as error:
        release.parse(tmp_path)
    assert "set corpus.root to the folder that contains them" in str(error.value)


def test_release_without_utterances(tmp_path: Path) -> None:
    (tmp_path / "Session1").mkdir()
    with pytest.raises(CorpusError, match=r"no utterance could.*session missing \(5\)"):
        release.parse(tmp_path)


# --- stage and command line -----------------------------------------------------------------------


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
    table = read_table("data/interim/embedded/utterances.csv")
    assert len(table) == 16
    for name in ("audio", "text", "visual"):
        narrow = read_table(f"data/interim/embedded/{name}.csv")
        assert narrow["utterance"].tolist() == table["utterance"].tolist()
    output = capsys.readouterr().out
    assert "session missing" in output
    assert "ang" in output


def test_check_of_a_partial_copy(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert release.command(["check", str(root), "--items"]) == 1
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines]
    assert ["dialogs", "2/28", "2/30", "0/32", "0/30", "0/31", "4/151"] in rows
    assert ["labelled", "ang", "2", "2", "0", "0", "0", "4/1103"] in rows
    assert "missing: Session3, Session4, Session5" in lines
    assert "Session3: session missing" in lines


def test_empty_folders_of_a_session(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "Session4/dialog/EmoEvaluation").mkdir(parents=True)
    assert release.command(["check", str(root)]) == 1
    assert "missing: Session3, Session4, Session5" in capsys.readouterr().out
    assert [file for file, _, _ in found(root, Reason.NO_SESSION)] == [
        f"Session{n}" for n in (3, 4, 5)
    ]


def test_check_by_the_name_of_the_format(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert release.command(["check", str(root)]) == 1
    own = capsys.readouterr().out
    assert main(["check", str(root), "--format", "iemocap"]) == 1
    assert capsys.readouterr().out == own


def test_check_of_no_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert release.command(["check", str(tmp_path)]) == 2
    assert "Session1 to Session5" in capsys.readouterr().err


def test_totals_agree_with_each_other() -> None:
    assert sum(totals.BY_SESSION.values()) == sum(totals.BY_EMOTION.values()) == totals.UTTERANCES
