"""`dvc repro parse`: what it depends on, and what becomes of it after."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
import soundfile
import yaml

from benchmarks import release
from pipeline.corpus.table import read_table
from pipeline.store import Stream

ROOT = Path(__file__).parents[1]
IMPRO = "Ses01F_impro01"

pytestmark = pytest.mark.slow


def run_dvc(folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project with the stages up to `audio`, and a partial copy of the release beside it."""
    copy = release.make(tmp_path / "IEMOCAP_full_release", sessions=[1])
    project = tmp_path / "project"
    for part in ("pipeline", "stages"):
        shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
    (project / "data/external").mkdir(parents=True)
    set_root(project, copy)
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]
    content = {"stages": {name: stages[name] for name in ("parse", "weights", "audio")}}
    (project / "dvc.yaml").write_text(yaml.safe_dump(content), "utf-8")
    run_dvc(project, "init", "--no-scm", "-q")
    return project


def set_root(project: Path, root: Path) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    params["corpus"]["root"] = str(root)
    del params["text"]["streams"]["glove"]  # whose vectors come with the embedded corpus
    params["compute"]["workers"] = 1
    (project / "params.yaml").write_text(yaml.safe_dump(params), "utf-8")


def stages_run(printed: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", printed)


def edit_label(copy: Path, dialog: str = IMPRO) -> None:
    label = release.labels_file(copy, dialog)
    text = label.read_text()
    label.write_text(text.replace("\tang\t", "\tfru\t"))
    assert label.read_text() != text


def test_a_changed_label_reads_no_media_and_extracts_nothing(project: Path) -> None:
    assert stages_run(run_dvc(project, "repro", "audio")) == ["parse", "weights", "audio"]
    table = read_table(project / "data/interim/embedded/audio.csv")
    copy = project.parent / "IEMOCAP_full_release"
    content = (copy / table["audio"][0]).read_bytes()
    assert table["audio_sha256"][0] == hashlib.sha256(content).hexdigest()
    edit_label(copy)
    printed = run_dvc(project, "repro", "audio")
    assert stages_run(printed) == ["parse"] and "hash media" not in printed
    assert "Running" not in run_dvc(project, "repro", "audio")


def test_what_nobody_reads_of_a_copy_in_the_repository_changes_nothing(project: Path) -> None:
    copy = project / "data/raw/IEMOCAP_full_release"
    copy.parent.mkdir(parents=True)
    (project.parent / "IEMOCAP_full_release").rename(copy)
    shutil.copy(ROOT / ".dvcignore", project)
    set_root(project, Path("data/raw/IEMOCAP_full_release"))
    assert stages_run(run_dvc(project, "repro", "parse")) == ["parse"]
    for path in (
        *("dialog/MOCAP_rotated", "dialog/wav", "dialog/EmoEvaluation/Categorical"),
        *(f"sentences/ForcedAlignment/{IMPRO}", f"sentences/MOCAP_head/{IMPRO}"),
    ):
        folder = copy / "Session1" / path
        folder.mkdir(parents=True)
        (folder / f"{IMPRO}_F000.txt").write_text("1 2 3")
    assert "Running" not in run_dvc(project, "repro", "parse")
    edit_label(copy)
    assert stages_run(run_dvc(project, "repro", "parse")) == ["parse"]


def test_a_changed_recording_extracts_again(project: Path) -> None:
    run_dvc(project, "repro", "audio")
    wav = release.wav_file(project.parent / "IEMOCAP_full_release", f"{IMPRO}_F000")
    soundfile.write(wav, soundfile.read(wav)[0] / 2, release.RATE, subtype="PCM_16")
    printed = run_dvc(project, "repro", "audio")
    assert stages_run(printed) == ["parse", "audio"] and "hash media" in printed


def test_the_corpus_at_another_path_runs_parse_alone(project: Path, tmp_path: Path) -> None:
    run_dvc(project, "repro", "audio")
    (tmp_path / "IEMOCAP_full_release").rename(tmp_path / "moved")
    set_root(project, tmp_path / "moved")
    assert stages_run(run_dvc(project, "repro", "audio")) == ["parse"]


@pytest.mark.parametrize("place", ["project/data/raw/link", "elsewhere/link"])
def test_a_partial_read_only_copy_needs_no_empty_folders(
    project: Path, tmp_path: Path, place: str
) -> None:
    """A copy that lacks sessions and folders, as it is and by a link to it."""
    copy = release.make(tmp_path / "read-only", sessions=[1, 2])
    shutil.rmtree(copy / "Session2/dialog/avi")
    before = sorted(copy.rglob("*"))
    for folder in (copy, *copy.rglob("*")):
        folder.chmod(folder.stat().st_mode & 0o555)
    set_root(project, copy)
    run_dvc(project, "repro", "audio")
    with h5py.File(project / "data/features/embedded/audio/mfcc.h5", "r") as file:
        stream = Stream("mfcc", file)
        assert (len(stream.utterances), stream.problems) == (16, {})
    assert sorted(copy.rglob("*")) == before
    for folder in (copy, *copy.rglob("*")):
        folder.chmod(folder.stat().st_mode | 0o200)
    link = tmp_path / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(copy)
    set_root(project, link)
    assert stages_run(run_dvc(project, "repro", "audio")) == ["parse"]
    edit_label(copy, "Ses02F_impro01")
    assert stages_run(run_dvc(project, "repro", "audio")) == ["parse"]
