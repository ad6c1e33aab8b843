"""A tree of the full release's size: exact counts, and the documented report of every damage."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from benchmarks import full_release, release
from pipeline.corpus import labels
from pipeline.corpus.iemocap.codes import DESCRIPTION
from pipeline.corpus.iemocap.reasons import Reason
from pipeline.corpus.parsing import Parsed
from tests.releases import append

EACH = -1  # as often as the dialog has utterances
DAMAGED, WHOLE = "Ses01F_impro01", "Ses01M_impro02"


class Case(NamedTuple):
    """A trap or a kind of damage to one dialog, and what the documentation says becomes of it."""

    damage: Callable[[Path, str], object]
    reasons: dict[Reason, int] = {}  # noqa: RUF012  never changed
    lost: int = 0  # utterances


def edit_label(root: Path, dialog: str, pattern: str, replacement: str) -> None:
    """Change the label line of the dialog's first utterance."""
    path = release.labels_file(root, dialog)
    text, count = re.subn(pattern, replacement, path.read_text(), count=1)
    assert count == 1
    path.write_text(text)


def first_wav(root: Path, dialog: str) -> Path:
    return release.wav_file(root, f"{dialog}_F000")


def other_take(root: Path, dialog: str) -> Path:
    """Return the first recording's path in the folder of a take that has no labels."""
    wav = first_wav(root, dialog)
    folder = wav.parent.with_name(f"{dialog}z")
    folder.mkdir()
    return folder / wav.name


def hidden_files(root: Path, dialog: str) -> None:
    for path in (release.labels_file(root, dialog), first_wav(root, dialog)):
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7")
        (path.parent / ".DS_Store").touch()


def shuffled_lines(root: Path, dialog: str) -> None:
    path = release.transcript_file(root, dialog)
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))


def drop_transcript_line(root: Path, dialog: str) -> None:
    path = release.transcript_file(root, dialog)
    path.write_text(path.read_text().split("\n", 1)[1])


def carriage_returns(root: Path, dialog: str) -> None:
    for path in (release.labels_file(root, dialog), release.transcript_file(root, dialog)):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def windows_1252(root: Path, dialog: str) -> None:
    path = release.transcript_file(root, dialog)
    path.write_bytes(path.read_bytes().replace(b"'", b"\x92"))


def utf_16(root: Path, dialog: str) -> None:
    for path in (release.labels_file(root, dialog), release.transcript_file(root, dialog)):
        path.write_text(path.read_text(), encoding="utf-16")


def convert_media(root: Path, dialog: str) -> None:
    for path, suffix in (
        (release.video_file(root, dialog), ".mp4"),
        (first_wav(root, dialog), ".flac"),
    ):
        path.rename(path.with_suffix(suffix))


def repeat_label(root: Path, dialog: str) -> None:
    path = release.labels_file(root, dialog)
    append(path, path.read_text().splitlines()[2])


def folder_for_transcript(root: Path, dialog: str) -> None:
    path = release.transcript_file(root, dialog)
    path.unlink()
    path.mkdir()


def zeros_for_labels(root: Path, dialog: str) -> None:
    path = release.labels_file(root, dialog)
    path.write_bytes(bytes(path.stat().st_size))


def copy_of_labels(root: Path, dialog: str) -> None:
    path = release.labels_file(root, dialog)
    shutil.copy(path, path.with_name(f"Copy of {path.name}"))


CASES = {
    "hidden files": Case(hidden_files),
    "line ends of both kinds": Case(carriage_returns),
    "transcript lines in any order": Case(shuffled_lines),
    "both speak at once": Case(
        lambda r, d: edit_label(r, d, r"(\[[0-9.]+ - )\S+\]", r"\g<1>99.0000]")
    ),
    "transcript line without an id": Case(
        lambda r, d: append(release.transcript_file(r, d), "M: [LAUGHTER]"), {Reason.NO_ID: 1}
    ),
    "XX id": Case(
        lambda r, d: append(release.transcript_file(r, d), f"{d}_MXX0 [001.0-002.0]: Hm."),
        {Reason.UNNUMBERED: 1},
    ),
    "only in the transcript": Case(
        lambda r, d: append(release.transcript_file(r, d), f"{d}_M900 [001.0-002.0]: Hm."),
        {Reason.NO_LABEL: 1},
    ),
    "only in the labels": Case(drop_transcript_line, {Reason.NO_TEXT: 1}),
    "Windows-1252": Case(windows_1252, {Reason.WINDOWS_1252: 1}),
    "UTF-16": Case(utf_16, {Reason.UTF_16: 2}),
    "media of other formats": Case(convert_media, {Reason.OTHER_FORMAT: 2}),
    "no video": Case(lambda r, d: release.video_file(r, d).unlink(), {Reason.NO_VIDEO: 1}),
    "wav in another take's folder": Case(
        lambda r, d: first_wav(r, d).rename(other_take(r, d)), {Reason.WAV_MOVED: 1}
    ),
    "wav in another take's folder as well": Case(
        lambda r, d: other_take(r, d).touch(), {Reason.WAV_OTHER_DIALOG: 1}
    ),
    "wav missing": Case(lambda r, d: first_wav(r, d).unlink(), {Reason.NO_AUDIO: 1}),
    "wavs of a dialog missing": Case(
        lambda r, d: shutil.rmtree(first_wav(r, d).parent), {Reason.NO_AUDIO: EACH}
    ),
    "wav without a label": Case(
        lambda r, d: release.wav_file(r, f"{d}_M900").touch(), {Reason.WAV_NO_LABEL: 1}
    ),
    "label line cut off": Case(
        lambda r, d: edit_label(r, d, r"\t\[.*", ""),
        {Reason.BAD_LABEL: 1, Reason.NO_LABEL: 1, Reason.WAV_NO_LABEL: 1},
        lost=1,
    ),
    "end before start": Case(
        lambda r, d: edit_label(r, d, r"(\[[0-9.]+ - )\S+\]", r"\g<1>0.5000]"),
        {Reason.BAD_TIMES: 1},
        lost=1,
    ),
    "unknown emotion": Case(
        lambda r, d: edit_label(r, d, r"\t\w{3}\t", "\tjoy\t"), {Reason.UNKNOWN_EMOTION: 1}, lost=1
    ),
    "repeated label": Case(repeat_label, {Reason.DUPLICATE: 1}),
    "label of another dialog": Case(
        lambda r, d: append(
            release.labels_file(r, d), "[1.0 - 2.0]\tSes05F_impro01_F000\tneu\t[2, 2, 2]"
        ),
        {Reason.OTHER_DIALOG: 1},
    ),
    "rater's line cut off": Case(
        lambda r, d: append(release.labels_file(r, d), "A-E4:\tval 3; ac"), {Reason.BAD_VOTE: 1}
    ),
    "labels missing": Case(
        lambda r, d: release.labels_file(r, d).unlink(),
        {Reason.NO_LABEL: EACH, Reason.WAV_NO_LABEL: EACH, Reason.VIDEO_NO_LABEL: 1},
        lost=EACH,
    ),
    "labels overwritten with zeros": Case(
        zeros_for_labels,
        {Reason.BAD_LABEL: 1, Reason.NO_LABEL: EACH, Reason.WAV_NO_LABEL: EACH},
        lost=EACH,
    ),
    "transcript missing": Case(
        lambda r, d: release.transcript_file(r, d).unlink(), {Reason.NO_TEXT: EACH}
    ),
    "transcript empty": Case(
        lambda r, d: release.transcript_file(r, d).write_bytes(b""),
        {Reason.EMPTY: 1, Reason.NO_TEXT: EACH},
    ),
    "transcript unreadable": Case(
        folder_for_transcript, {Reason.UNREADABLE: 1, Reason.NO_TEXT: EACH}
    ),
    "vote of no category": Case(
        lambda r, d: edit_label(r, d, r"C-E2:\t[^;]+;", "C-E2:\tContempt;"),
        {Reason.UNKNOWN_VOTE: 1},
    ),
    "file of another name": Case(copy_of_labels, {Reason.NO_DIALOG: 1}),
}


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the complete tree once; it is not to be changed."""
    return release.make_full(tmp_path_factory.mktemp("full") / "IEMOCAP_full_release")


@pytest.fixture(scope="session")
def parsed(full: Path) -> Parsed:
    return release.parse(full)


def copy_dialogs(full: Path, root: Path, *dialogs: str) -> None:
    for dialog in dialogs:
        for path in (
            release.labels_file(full, dialog),
            release.transcript_file(full, dialog),
            release.video_file(full, dialog),
            first_wav(full, dialog).parent,
        ):
            to = root / path.relative_to(full)
            to.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if path.is_dir() else shutil.copy)(path, to)


# --- the whole tree ------------------------------------------------------------------------------


def test_counts(parsed: Parsed) -> None:
    report = parsed.report
    assert (report["utterances"], report["dialogs"], report["videos"]) == (10_039, 151, 151)
    assert report["by_group"] == {"1": 1819, "2": 1811, "3": 2136, "4": 2103, "5": 2170}
    assert report["by_emotion"] == {
        **{"fru": 1849, "neu": 1708, "ang": 1103, "sad": 1084, "exc": 1041, "hap": 595},
        **{"sur": 107, "fea": 40, "oth": 3, "dis": 2, "xxx": 2507},
    }
    assert {name: counts["missing"] for name, counts in report["media"].items()} == {
        **{"text": 0, "audio": 0, "video": 0}
    }
    assert report["raters"] == len(parsed.details["raters"]) == 7 * 10_039
    assert (parsed.items, report["hidden_files"]) == ([], 0)
    assert parsed.utterances["speaker"].nunique() == 10
    dialogs = parsed.details["dialogs"]
    assert len(dialogs) == 151
    assert dialogs["utterances"].sum() == 10_039
    assert dialogs["session"].value_counts().to_dict() == {1: 28, 2: 30, 3: 32, 4: 30, 5: 31}


@pytest.mark.parametrize(("name", "count"), [("seven", 7487), ("six", 7380), ("four", 5531)])
def test_label_schemes(parsed: Parsed, name: str, count: int) -> None:
    assert (
        labels.scheme(name, DESCRIPTION).apply(parsed.utterances["emotion"]) >= 0
    ).sum() == count


def test_check(full: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert release.command(["check", str(full)]) == 0
    output = capsys.readouterr().out
    assert "complete: every known total of the full release is met" in output
    assert "/" not in output  # no count that differs


@pytest.mark.slow
def test_benchmark(full: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full_release.main(["--root", str(full), "--repeat", "1"])
    measured, table = capsys.readouterr().out.split("\n\n")
    times = yaml.safe_load(measured)
    assert times["utterances"] == 10_039
    assert 0 < times["check_s"] < 20
    assert 0 < times["parse_s"] < 20
    assert table.count("|") == 3 * 5


# --- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_damage_to_one_dialog(name: str, full: Path, parsed: Parsed, tmp_path: Path) -> None:
    case = CASES[name]
    copy_dialogs(full, tmp_path, DAMAGED, WHOLE)
    case.damage(tmp_path, DAMAGED)
    after = release.parse(tmp_path)
    before = parsed.utterances[parsed.utterances["dialog"].isin([DAMAGED, WHOLE])]
    each = int((before["dialog"] == DAMAGED).sum())
    counts = Counter(item.reason for item in after.items if item.reason is not Reason.NO_SESSION)
    assert counts == {r: each if n == EACH else n for r, n in case.reasons.items()}
    assert all(DAMAGED in item.file for item in after.items if item.reason in counts)
    assert len(after.utterances) == len(before) - (each if case.lost == EACH else case.lost)
    untouched = after.utterances[after.utterances["dialog"] == WHOLE]
    assert untouched.to_numpy().tolist() == (before[before["dialog"] == WHOLE].to_numpy().tolist())


@pytest.mark.slow
def test_all_damage_at_once(
    parsed: Parsed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = release.make_full(tmp_path / "IEMOCAP_full_release")
    dialogs = parsed.details["dialogs"]["dialog"].tolist()[:: 151 // len(CASES)][: len(CASES)]
    sizes = parsed.details["dialogs"].set_index("dialog")["utterances"]
    expected: Counter[str] = Counter()
    lost = 0
    for dialog, case in zip(dialogs, CASES.values(), strict=True):
        case.damage(root, dialog)
        for reason, count in case.reasons.items():
            expected[reason.text] += int(sizes[dialog]) if count == EACH else count
        lost += int(sizes[dialog]) if case.lost == EACH else case.lost
    after = release.parse(root)
    assert {name: entry["count"] for name, entry in after.report["reasons"].items()} == expected
    assert len(after.utterances) == 10_039 - lost
    kept = [
        table[~table["dialog"].isin(dialogs)].to_numpy().tolist()
        for table in (parsed.utterances, after.utterances)
    ]
    assert kept[0] == kept[1]
    assert release.command(["check", str(root)]) == 1
    assert f"{10_039 - lost}/10039" in capsys.readouterr().out


def test_missing_session_and_folder(full: Path, tmp_path: Path) -> None:
    for session in (1, 2):
        (tmp_path / f"Session{session}").symlink_to(full / f"Session{session}")
    shutil.copytree(full / "Session5/dialog", tmp_path / "Session5/dialog")
    report = release.parse(tmp_path).report
    assert report["by_group"] == {"1": 1819, "2": 1811, "5": 2170}
    assert {name: entry["count"] for name, entry in report["reasons"].items()} == {
        "session missing": 2,
        "folder missing": 1,
        "wav missing": 2170,
    }


# --- what is said of it --------------------------------------------------------------------------


def test_every_reason_has_a_case_or_a_test() -> None:
    covered = {reason for case in CASES.values() for reason in case.reasons}
    alignments = {reason for reason in Reason if "alignment" in reason.text}
    assert covered | alignments | {Reason.NO_SESSION, Reason.NO_FOLDER} == set(Reason)


def test_every_reason_is_documented() -> None:
    page = Path("docs/iemocap.md").read_text("utf-8")
    for reason in Reason:
        assert re.search(rf"\| `{re.escape(reason.text)}` \| {reason.outcome}", page), reason
