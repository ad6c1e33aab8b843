"""CREMA-D: the stand-in in its layout, votes of both tables, clones without Git LFS."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from pipeline.corpus import crema_d, labels
from pipeline.corpus.__main__ import main
from pipeline.corpus.crema_d import CremaD
from pipeline.corpus.parsing import Parsed, parse
from pipeline.corpus.table import CorpusError
from tests.standins import make_crema_d

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 72748\n".format("0" * 64)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_crema_d(tmp_path_factory.mktemp("crema") / "CREMA-D")


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "CREMA-D"))


def reasons(parsed: Parsed) -> dict[str, int]:
    return {reason: entry["count"] for reason, entry in parsed.report["reasons"].items()}


def test_a_name_says_who_says_what_and_how(whole: Path) -> None:
    parsed = parse(CremaD(), whole)
    assert len(parsed.utterances) == 10 and not parsed.items
    row = parsed.utterances.set_index("utterance").loc["1002_DFA_ANG_XX"]
    assert (row["speaker"], row["group"], row["gender"]) == ("1002", "1002", "F")
    assert (row["emotion"], row["text"]) == ("ANG", "Don't forget a jacket.")
    assert row["audio"] == "AudioWAV/1002_DFA_ANG_XX.wav"
    assert (row["video"], row["place"]) == ("VideoFlash/1002_DFA_ANG_XX.flv", "whole")
    assert 0.3 < row["end"] < 3
    clips = parsed.details["clips"].set_index("utterance")
    assert clips["sentence"]["1002_DFA_ANG_XX"] == "DFA"
    assert clips["level"]["1002_DFA_ANG_XX"] == "XX"


@pytest.mark.parametrize(
    ("kind", "counted", "listed"),
    [("voice", [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0]),
     ("face", [1, 0, 0, 0, 2, 0], [1, 0, 0, 0, 1, 0]),
     ("both", [1, 0, 0, 0, 3, 0], [1, 0, 0, 0, 0, 0])],
)  # fmt: skip
def test_votes_are_counts_or_else_what_most_gave(
    copy: Path, kind: Literal["voice", "face", "both"], counted: list[int], listed: list[int]
) -> None:
    for expected in (counted, listed):
        parsed = parse(CremaD(votes=kind), copy)
        votes = parsed.votes.set_index("utterance")
        assert votes.columns.tolist() == list(crema_d.EMOTIONS)
        assert [votes[code]["1001_DFA_ANG_XX"] for code in votes] == expected
        (copy / "processedResults/tabulatedVotes.csv").unlink(missing_ok=True)
    scheme = labels.scheme("six", parsed.description)
    shares = scheme.distribution(
        parsed.votes[list(crema_d.EMOTIONS)].to_numpy(),
        list(crema_d.EMOTIONS),
        scheme.of(parsed.utterances),
    )
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    raters = parsed.details["raters"]
    assert set(raters["kind"]) == {"voice", "face", "both"} and len(raters) == 30


def test_a_clone_without_git_lfs_says_what_to_do(copy: Path) -> None:
    for file in (*copy.glob("AudioWAV/*"), *copy.glob("VideoFlash/*")):
        file.write_text(POINTER)
    with pytest.raises(
        CorpusError, match="without Git LFS: .* run `git lfs pull` .* clone it instead"
    ):
        parse(CremaD(), copy)


def test_a_folder_of_pointers_is_left_out(copy: Path) -> None:
    for file in copy.glob("VideoFlash/*"):
        file.write_text(POINTER)
    parsed = parse(CremaD(), copy)
    assert reasons(parsed) == {"folder with pointers of Git LFS; run `git lfs pull`": 1}
    assert (parsed.utterances["video"] == "").all() and (parsed.utterances["audio"] != "").all()


def test_what_is_missing_or_odd_is_said(copy: Path) -> None:
    (copy / "AudioWAV/1001_DFA_ANG_XX.wav").unlink()
    (copy / "VideoFlash/1002_DFA_ANG_XX.flv").unlink()
    (copy / "AudioWAV/1003_DFA_ANG_XX.wav").write_bytes(b"RIFF")
    (copy / "AudioWAV/1003_DFA_JOY_XX.wav").write_bytes(b"")
    (copy / "VideoDemographics.csv").unlink()
    (copy / "AudioWAV/.DS_Store").write_bytes(b"")
    shutil.rmtree(copy / "processedResults")
    parsed = parse(CremaD(), copy)
    assert reasons(parsed) == {
        "file missing": 2,
        "not named as a recording of the corpus": 1,
        "recording that cannot be opened": 1,
        "recording missing": 1,
        "video missing": 1,
    }
    table = parsed.utterances.set_index("utterance")
    assert len(table) == 10 and parsed.votes.columns.tolist() == ["utterance"]
    # of the video, since the recording is not there
    assert table["end"]["1001_DFA_ANG_XX"] > 0.3


def test_check_and_another_folder(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["check", str(whole), "--format", "crema_d"]) == 1
    assert "10/7442" in capsys.readouterr().out
    assert main(["check", str(tmp_path), "--format", "crema_d"]) == 2
    assert "looked for recordings in AudioWAV and VideoFlash" in capsys.readouterr().err
    assert sum(crema_d.BY_EMOTION.values()) == 7442
