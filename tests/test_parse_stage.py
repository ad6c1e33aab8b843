"""`dvc repro parse`: what it depends on, what leaves it alone, and how links to a copy serve it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.corpus import disk
from tests import release

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
    for session in disk.SESSIONS:
        for below in disk.FOLDERS:
            (copy / f"Session{session}" / below).mkdir(parents=True, exist_ok=True)
    project = tmp_path / "project"
    for part in ("pipeline", "stages"):
        shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
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


def test_unrelated_files_of_the_release_change_nothing(project: Path) -> None:
    assert "Running stage 'parse'" in run_dvc(project, "repro", "parse")
    assert (project / "data/interim/utterances.csv").exists()
    copy = project.parent / "IEMOCAP_full_release"
    for path in ("dialog/MOCAP_rotated", "dialog/wav", f"sentences/ForcedAlignment/{IMPRO}"):
        folder = copy / "Session1" / path
        folder.mkdir(parents=True)
        (folder / f"{IMPRO}_F000.txt").write_text("1 2 3")
    assert "Running" not in run_dvc(project, "repro", "parse")
    label = release.labels_file(copy, IMPRO)
    label.write_text(label.read_text().replace("\tang\t", "\tfru\t"))
    assert "Running stage 'parse'" in run_dvc(project, "repro", "parse")


@pytest.mark.parametrize("place", ["project/data/raw/links", "elsewhere/links"])
def test_a_partial_copy_runs_through_a_folder_of_links(
    project: Path, tmp_path: Path, place: str
) -> None:
    copy = release.make(tmp_path / "read-only", sessions=[1, 2])
    shutil.rmtree(copy / "Session2/dialog/avi")
    before = sorted(copy.rglob("*"))
    disk.link(copy, tmp_path / place)
    set_root(project, tmp_path / place)
    run_dvc(project, "repro", "audio")
    report = json.loads((project / "data/interim/audio.json").read_text("utf-8"))
    assert (report["utterances"], report["problems"]) == (16, [])
    assert sorted(copy.rglob("*")) == before
    # of a session that is one link, and of one whose folders are links
    for dialog in ("Ses01F_impro01", "Ses02F_impro01"):
        label = release.labels_file(copy, dialog)
        label.write_text(label.read_text().replace("\tang\t", "\tfru\t"))
        assert "Running stage 'parse'" in run_dvc(project, "repro", "parse")
