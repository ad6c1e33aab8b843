"""`dvc repro parse`: what of the release it depends on, and what leaves it alone."""

from __future__ import annotations

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
    """Make a project with the stage alone, and a partial copy of the release beside it."""
    copy = release.make(tmp_path / "IEMOCAP_full_release", sessions=[1])
    for session in disk.SESSIONS:
        for below in disk.FOLDERS:
            (copy / f"Session{session}" / below).mkdir(parents=True, exist_ok=True)
    project = tmp_path / "project"
    for part in ("pipeline", "stages"):
        shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
    params = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    params["corpus"]["root"] = str(copy)
    (project / "params.yaml").write_text(yaml.safe_dump(params), "utf-8")
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]
    content = {"stages": {"parse": stages["parse"]}}
    (project / "dvc.yaml").write_text(yaml.safe_dump(content), "utf-8")
    run_dvc(project, "init", "--no-scm", "-q")
    return project


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
