"""A list of one's own: its template, what it may say, and every fault with line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import clips
from pipeline.corpus.__main__ import main
from pipeline.corpus.listed import Listed
from pipeline.corpus.parsing import Parsed, parse
from pipeline.corpus.table import CorpusError

HEADER = "utterance,speaker,emotion,text"


def listed(root: Path, *lines: str, name: str = "utterances.csv") -> Path:
    root.mkdir(exist_ok=True)
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def reasons(parsed: Parsed) -> dict[str, int]:
    return {reason: entry["count"] for reason, entry in parsed.report["reasons"].items()}


def test_the_template_is_a_list(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = tmp_path / "data/mine"  # made with the list
    path = root / "utterances.csv"
    assert main(["template", str(path)]) == 0
    clips.write(root / "talk1.mp4", clips.tone(4.2), clips.plain(42))
    parsed = parse(Listed(), root)
    assert not parsed.items
    first, second = parsed.utterances.to_dict("records")
    assert (first["dialog"], first["group"], first["text"]) == ("talk1", "Ada", "Oh, how nice!")
    assert (second["start"], second["end"], second["order"]) == (2.4, 4.1, 1)
    assert second["audio"] == second["video"] == "talk1.mp4"
    assert (second["audio_place"], second["place"]) == ("within", "whole")
    assert parsed.votes.set_index("utterance").loc["talk1_2"].to_dict() == {"joy": 0, "anger": 2}
    assert main(["check", str(root), "--format", "listed"]) == 0
    capsys.readouterr()
    assert main(["template", str(path)]) == 2
    assert "cannot be written: File exists" in capsys.readouterr().err


def test_what_is_left_out_is_made_up_for(tmp_path: Path) -> None:
    clips.write(tmp_path / "copy/clips/a.mp4", clips.tone(1.5), clips.plain(15))
    clips.write(tmp_path / "copy/clips/mute.mp4", None, clips.plain(15))
    root = listed(
        tmp_path / "copy",
        "utterance;speaker;emotion;video;split;valence;age",
        "b;Bob;joy;clips/a.mp4;train;3,5;40".replace("3,5", "3.5"),
        "a;Ada;;clips/mute.mp4;;;",
    )
    parsed = parse(Listed(), root)
    a, b = parsed.utterances.to_dict("records")
    assert b["end"] == pytest.approx(1.5, abs=0.05) and b["audio"] == "clips/a.mp4"
    assert (b["audio_place"], b["part"], b["valence"]) == ("", "train", 3.5)
    assert (b["dialog"], b["group"]) == ("b", "Bob")
    assert (a["emotion"], a["audio"], a["video"]) == ("", "", "clips/mute.mp4")
    assert reasons(parsed) == {"column that is not read": 1, "video without sound": 1}
    about = parsed.description
    assert about.modalities == ("audio", "video") and about.schemes == {"all": {"joy": "joy"}}


@pytest.mark.parametrize(
    ("header", "line", "fault"),
    [
        (HEADER, ",Ada,joy,so", "2: utterance: is missing"),
        (HEADER, "a/b,Ada,joy,so", "2: utterance: 'a/b' is not a name; write 1 to 120 letters"),
        (HEADER, "a,,joy,so", "2: speaker: is missing"),
        (HEADER, "a,Ada,joy,", "2: the row names neither audio nor video nor text; give"),
        (HEADER, "a,Ada,joy", "2: has 3 values for 4 columns; put values that contain a separat"),
        (HEADER, "a,Ada,joy,so, yes", "2: has 5 values for 4 columns"),
        (f"{HEADER},start", "a,Ada,joy,so,soon", "2: start: Input should be a valid number, "),
        (f"{HEADER},start", "a,Ada,joy,so,-1", "2: start: Input should be greater than or "),
        (f"{HEADER},start", 'a,Ada,joy,so,"0,5"', "2: start: '0,5' has a decimal comma; write 0.5"),
        (f"{HEADER},start,end", "a,Ada,joy,so,2,1", "2: end: 1 is not after start, 2; write"),
        (f"{HEADER},end", "a,Ada,joy,so,nan", "2: end: Input should be a finite number, got 'nan'"),
        (f"{HEADER},region", "a,Ada,joy,so,middle", "2: region: Input should be 'left', 'right' "),
        (f"{HEADER},split", "a,Ada,joy,so,dev", "2: split: Input should be 'train', 'devel"),
        (f"{HEADER},votes_joy", "a,Ada,joy,so,-2", "2: votes_joy: Input should be greater than "),
        (f"{HEADER},valence", "a,Ada,joy,so,high", "2: valence: Input should be a valid number, "),
        (f"{HEADER},audio", "a,Ada,joy,so,../a.wav", "2: audio: '../a.wav' leaves corpus.root;"),
        (f"{HEADER},audio", "a,Ada,joy,so,/etc/a.wav", "2: audio: '/etc/a.wav' leaves corpus.root"),
        (f"{HEADER},audio", "a,Ada,joy,so,x/../../a.wav", "leaves corpus.root; write a path rela"),
        (f"{HEADER},video", "a,Ada,joy,so,C:/a.mp4", "2: video: 'C:/a.mp4' leaves corpus.root"),
        (f"{HEADER},video", "a,Ada,joy,so,b\\a.mp4", "write a path relative to this file, with /"),
        (
            f"{HEADER},vidoe",
            "a,Ada,joy,so,a.mp4",
            "1: vidoe: not a column of the list; write video, or",
        ),
        ("utterance,speaker,text", "a,Ada,so", "1: has no column emotion; found utterance, sp"),
        (f"{HEADER},text", "a,Ada,joy,so,so", "1: has the column text twice; rename one"),
        (HEADER, "", "1: no row follows; write one per utterance"),
    ],
)
def test_a_fault_names_line_column_and_remedy(
    tmp_path: Path, header: str, line: str, fault: str
) -> None:
    root = listed(tmp_path / "copy", header, line)
    with pytest.raises(CorpusError) as found:
        parse(Listed(), root)
    assert str(root / "utterances.csv") + ":" in str(found.value)
    assert fault in str(found.value)


def test_a_link_that_leaves_the_root_is_refused(tmp_path: Path) -> None:
    clips.write(tmp_path / "other/a.m4a", clips.tone(1.0))
    clips.write(tmp_path / "copy/own.m4a", clips.tone(1.0))
    (tmp_path / "copy/inside.m4a").symlink_to("own.m4a")
    (tmp_path / "copy/file.m4a").symlink_to(tmp_path / "other/a.m4a")
    (tmp_path / "copy/folder").symlink_to(tmp_path / "other")
    (tmp_path / "link").symlink_to("copy")  # the root itself may be a link
    names = ("inside.m4a", "file.m4a", "folder/a.m4a")
    lines = [f"u{number},Ada,joy,so,{name}" for number, name in enumerate(names)]
    root = listed(tmp_path / "link", f"{HEADER},audio", *lines)
    with pytest.raises(CorpusError) as found:
        parse(Listed(), root)
    told = str(found.value).splitlines()
    assert len(told) == 2 and ":3: audio: 'file.m4a' leaves corpus.root" in told[0]
    assert "'folder/a.m4a' leaves corpus.root" in told[1]
    assert len(parse(Listed(), listed(root, f"{HEADER},audio", lines[0])).utterances) == 1


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    lines = [f"u{n},Ada,joy," for n in range(25)]
    root = listed(tmp_path / "copy", "# mine", HEADER, "u0,Ada,joy,so", *lines)
    with pytest.raises(CorpusError) as found:
        parse(Listed(), root)
    told = str(found.value).splitlines()
    assert len(told) == 21 and told[-1] == "and 5 more"
    assert ":4: the row names neither" in told[0]
    root = listed(tmp_path / "copy", HEADER, "a,Ada,joy,so", "a,Bob,joy,so")
    with pytest.raises(CorpusError, match=":3: utterance: a is in line 2 too; rename one"):
        parse(Listed(), root)


def test_missing_and_broken_files_are_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    clips.write(tmp_path / "copy/a.mp4", clips.tone(1.0), clips.plain(10))
    (tmp_path / "copy/broken.mp4").write_bytes(b"no video")
    root = listed(
        tmp_path / "copy",
        f"{HEADER},video,start,end",
        "a,Ada,joy,so,a.mp4,0.2,3",
        "b,Ada,joy,so,gone.mp4,,",
        "c,Ada,joy,so,broken.mp4,,",
        "d,Ada,joy,so,a.mp4,7,",
    )
    parsed = parse(Listed(), root)
    assert reasons(parsed) == {
        "video that cannot be opened": 1,
        "file missing": 1,
        "ends after its file does": 2,
    }
    table = parsed.utterances.set_index("utterance")
    assert table["end"]["d"] == table["start"]["d"] == 7
    assert (table.loc[["b", "c"], ["audio", "video"]] == "").all(axis=None)
    places = {item.reason.text: (item.file, item.line) for item in parsed.items}
    assert places["file missing"] == ("utterances.csv", 3)
    command = ["check", str(root), "--format", "listed"]
    assert main(command) == 0 and "--items shows each finding" in capsys.readouterr().out
    assert main([*command, "--items"]) == 0
    assert "utterances.csv:3: file missing: gone.mp4" in capsys.readouterr().out


def test_the_list_may_lie_in_a_folder_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    clips.write(tmp_path / "copy/media/a.m4a", clips.tone(1.0))
    (tmp_path / "copy/lists").mkdir()
    root = listed(
        tmp_path / "copy",
        f"{HEADER},audio",
        "a,Ada,joy,so,../media/a.m4a",
        name="lists/mine.csv",
    )
    parsed = parse(Listed(file="lists/mine.csv"), root)
    assert parsed.utterances["audio"].tolist() == ["media/a.m4a"]
    with pytest.raises(CorpusError, match="corpus.listed.file must be below corpus.root"):
        parse(Listed(file="../mine.csv"), root)
    with pytest.raises(CorpusError, match="utterances.csv: no such file; .* template"):
        parse(Listed(), root)


def test_ids_need_not_begin_with_their_dialog(tmp_path: Path) -> None:
    root = listed(
        tmp_path / "copy",
        f"{HEADER},dialog",
        *("a,Ada,joy,so,two", "b,Bob,joy,so,one", "c,Ada,joy,so,two"),
    )
    table = parse(Listed(), root).utterances
    assert table["utterance"].tolist() == ["b", "a", "c"]
