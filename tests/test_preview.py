"""The contact sheet of a dialog's crops: what it draws, from which table, and its errors."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data
from matplotlib.figure import Figure

from benchmarks import clips, release
from pipeline import preview
from pipeline.corpus.iemocap.reader import Iemocap
from pipeline.corpus.table import write_table
from pipeline.features.crops import Cut
from tests.videos import SQUARE, code, write_avi

DIALOG = "Ses01F_impro01"
FRAMES = 120  # four seconds; the last utterance ends past it
PARAMS = Path(__file__).parents[1] / "params.yaml"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Make a copy of the release with one session, whose videos say which half they show."""
    root = release.make(tmp_path_factory.mktemp("release"), [1])
    for dialog in (DIALOG, "Ses01M_script01_1b"):
        turns = [
            release.Utterance(turn.name, start, start + 0.9, text=f"Words of {turn.name}, $1 & $2.")
            for start, turn in enumerate(release.turns(dialog))
        ]
        release.add_dialog(root, dialog, [*turns[:3], release.Utterance(turns[3].name, 3.5, 5.0)])
        write_avi(release.video_file(root, dialog), FRAMES)
    release.add_dialog(root, "Ses01F_impro02", release.turns("Ses01F_impro02"))
    release.video_file(root, "Ses01F_impro02").unlink()
    return root


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """Stand in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments) -> int:
    return preview.main([*map(str, arguments)])


def halves(picture: np.ndarray) -> list[list[str]]:
    """Tell which half each thumbnail of each row shows; read from the drawn pixels."""
    rows = []
    left = preview._MARGIN + preview._HEAD
    bars = (picture == 200).all(axis=2)[:, preview._MARGIN : -preview._MARGIN].all(axis=1)
    for top in np.flatnonzero(bars) + preview._GAP:
        found = []
        for column in range(preview._PER_LINE):
            across = left + column * (preview._THUMB + preview._GAP)
            thumb = picture[top : top + preview._THUMB, across : across + preview._THUMB]
            if (thumb == 255).all():
                break
            # the right half carries the complement of a frame's number, below 128 in all
            drawn = code(cv2.resize(thumb, (SQUARE, SQUARE), interpolation=cv2.INTER_NEAREST))
            found.append("left" if drawn < 64 else "right")
        rows.append(found)
    return rows


def rows_of(
    root: Path, dialog: str = DIALOG, marked: Literal["left", "right"] = "left"
) -> pd.DataFrame:
    table = release.parse(root, marked).utterances
    return table[table["dialog"] == dialog]


VIEW = preview.View(Iemocap())


@pytest.mark.parametrize("dialog", [DIALOG, "Ses01M_script01_1b"])
@pytest.mark.parametrize("marked", ["left", "right"])
def test_each_row_shows_its_speakers_half(root, dialog, marked):
    rows = rows_of(root, dialog, marked)
    early = rows[rows["end"] < 2.0]  # below frame 64, whose code tells the halves apart
    picture, problems = preview.sheet(early, root, VIEW, 9)
    assert not problems
    # F speaks first, then M; the letter of the dialog's name is on the marked side
    expected = [marked, {"left": "right", "right": "left"}[marked]]
    if dialog.startswith("Ses01M"):
        expected.reverse()
    assert halves(picture) == [[side] * 3 for side in expected]


def test_the_sheet_reports_frames_that_are_not_there(root):
    _, problems = preview.sheet(rows_of(root), root, VIEW, 9)
    (problem,) = problems
    assert problem.startswith(f"{DIALOG}_M001: 2 of 4 frames: Session1/")
    assert problem.endswith("ends at 4.00 s")


def test_utterances_are_chosen_of_both_speakers_and_drawn_in_time(root):
    rows = rows_of(root)
    picture, _ = preview.sheet(rows[rows["end"] < 2.0], root, VIEW, 2)
    assert len(halves(picture)) == 2
    picture, _ = preview.sheet(rows, root, VIEW, 1)
    assert len(halves(picture)) == 1


def test_more_frames_than_fit_a_line_go_on_the_next(root):
    rows = rows_of(root).iloc[:1]
    low, _ = preview.sheet(rows, root, VIEW, 1)
    high, _ = preview.sheet(rows, root, replace(VIEW, frames_per_second=15.0), 1)
    assert high.shape[0] > low.shape[0]
    assert high.shape[1] == low.shape[1]


def test_all_words_fit_a_row(root):
    rows = rows_of(root).iloc[:1]
    few, _ = preview.sheet(rows, root, VIEW, 1)
    many, _ = preview.sheet(rows.assign(text="many words " * 100), root, VIEW, 1)
    assert many.shape[0] - few.shape[0] > 100


def test_the_command_line_writes_the_same_bytes_each_time(root, here, capsys):
    assert run(DIALOG, "--root", root) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{DIALOG}.png"
    assert run(DIALOG, "--root", root, "--output", "other/again.png") == 0
    first, again = Path(f"{DIALOG}.png"), Path("other/again.png")
    assert first.read_bytes() == again.read_bytes()
    assert str(root).encode() not in first.read_bytes()
    picture, _ = preview.sheet(rows_of(root), root, VIEW, 12)
    np.testing.assert_array_equal(cv2.imread(str(first)), picture[..., ::-1])


def test_the_command_runs_as_a_module_without_torch(root, here):
    script = (
        "import runpy, sys\n"
        f"sys.argv[1:] = [{DIALOG!r}, '--root', {str(root)!r}]\n"
        "try:\n"
        "    runpy.run_module('pipeline.preview', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n"
        "    print(end.code, 'torch' in sys.modules)\n"
    )
    environment = {"PYTHONPATH": str(PARAMS.parent), "PATH": ""}
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert run.stdout.splitlines()[-1] == "0 False"
    assert not run.stderr


def test_the_pipelines_own_table_and_parameters_are_used(root, here, monkeypatch):
    content = PARAMS.read_text()
    embedded = "data/raw/embedded/IEMOCAP_full_release"
    content = content.replace(embedded, str(root)).replace("crop: 224", "crop: 160")
    (here / "params.yaml").write_text(content.replace("max_frames: 32", "max_frames: 8"))
    Path("data/interim/embedded").mkdir(parents=True)
    table = release.parse(root).utterances
    write_table(table, Path("data/interim/embedded/utterances.csv"))
    seen = []

    def sheet(rows, folder, view, utterances):
        seen.append((rows["place"].tolist(), folder, view, utterances))
        return np.zeros((4, 4, 3), np.uint8), []

    monkeypatch.setattr(preview, "sheet", sheet)
    options = ("--marked", "right", "--frames-per-second", "1.5", "--utterances", "3")
    assert run(DIALOG) == run(DIALOG, *options) == 0
    (sides, folder, view, count), (turned, _, changed, fewer) = seen
    assert sides == table[table["dialog"] == DIALOG]["place"].tolist()
    assert folder == root
    assert view == preview.View(Iemocap(), 3.0, max_frames=8, cut=Cut(size=160))
    assert count == 12
    assert turned == [{"left": "right", "right": "left"}[side] for side in sides]
    assert changed == replace(view, reader=Iemocap(marked_actor="right"), frames_per_second=1.5)
    assert fewer == 3


@pytest.mark.parametrize(
    ("dialog", "message"),
    [
        ("Ses01F_impro1", f"Ses01F_impro1: no such dialog of 3; close: {DIALOG}"),
        ("nonsense", "nonsense: no such dialog of 3; close: Ses01F_impro01, Ses01F_impro02"),
        ("Ses01F_impro02", "Ses01F_impro02: the corpus has no video of this dialog"),
    ],
)
def test_a_dialog_that_cannot_be_drawn(root, here, capsys, dialog, message):
    assert run(dialog, "--root", root) == 2
    assert message in capsys.readouterr().err
    assert not list(here.iterdir())


def test_a_video_that_cannot_be_read_is_named(root, here, capsys):
    copy = here / "copy"
    shutil.copytree(root, copy)
    release.video_file(copy, DIALOG).write_bytes(b"no video")
    assert run(DIALOG, "--root", copy) == 2
    assert f"{DIALOG}.avi: cannot be opened as a video (8 bytes)" in capsys.readouterr().err


def test_without_a_corpus_the_error_says_what_to_give(here, capsys):
    assert run(DIALOG) == 2
    assert "give --root" in capsys.readouterr().err
    assert run(DIALOG, "--root", here / "gone") == 2
    assert "gone" in capsys.readouterr().err


def test_a_file_of_another_kind_is_refused(root, here, capsys):
    assert run(DIALOG, "--root", root, "--output", "sheet.txt") == 2
    assert "sheet.txt: cannot be written as a PNG" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--frames-per-second", "--utterances"])
@pytest.mark.parametrize("value", ["0", "-1", "x", "nan"])
def test_impossible_numbers_are_refused(here, capsys, option, value):
    with pytest.raises(SystemExit):
        run(DIALOG, option, value)
    assert "above 0" in capsys.readouterr().err


def test_faces_are_shown_aligned_and_outlined_in_the_frame(tmp_path, monkeypatch):
    """Of a film with a face at the left, and at the right one in its first half only."""
    face = cv2.resize(skimage.data.astronaut()[:256, 96:352, ::-1], (256, 256))
    dark = np.zeros_like(face)
    pictures = [np.hstack([face, face if n < 5 else dark]) for n in range(10)]
    root = release.make(tmp_path / "release", [1])
    turns = [release.Utterance(turn.name, 0.0, 1.0) for turn in release.turns(DIALOG)[:2]]
    release.add_dialog(root, DIALOG, turns)
    path = release.video_file(root, DIALOG)
    clips.write(path.with_suffix(".mp4"), None, pictures)
    path.with_suffix(".mp4").rename(path)
    written = []
    write = Figure.text

    def text(figure, left, top, content, **how):
        written.append(content)
        return write(figure, left, top, content, **how)

    monkeypatch.setattr(Figure, "text", text)
    view = replace(VIEW, cut=Cut("face", 150), frames_per_second=4.0)
    picture, problems = preview.sheet(rows_of(root), root, view, 2)
    assert not problems
    captions = [
        text for text in written if re.fullmatch(r"[\d.]+ s.*", text) and " to " not in text
    ]
    times = [0.1, 0.3, 0.6, 0.8]
    seen = ["", "", " last seen", " last seen"]
    assert sorted(captions) == sorted(
        [f"{time:.2f} s" for time in times]
        + [f"{time:.2f} s{note}" for time, note in zip(times, seen, strict=True)]
    )
    assert any("aligned face in 150 x 150 pixels" in text for text in written)
    # the overview has a box in the colour of each side
    for colour in preview._COLOURS["left"], preview._COLOURS["right"]:
        near = (np.abs(picture[: preview._OVERVIEW].astype(int) - colour) < 40).all(axis=2)
        assert near.sum() > 100
