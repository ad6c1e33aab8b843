"""The Makefile, with a stand-in for Python so that nothing is installed: where it works."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# makes an environment whose programs write what they are asked for into the file `asked`
PYTHON = """#!/bin/sh
test "$1" = -m || exit 0
mkdir -p "$3/bin"
for name in pip dvc python; do
    printf '#!/bin/sh\\necho %s "$@" >> asked\\n' "$name" > "$3/bin/$name"
    chmod +x "$3/bin/$name"
done
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a git repository of the project in a folder with spaces in its path."""
    folder = tmp_path / "my own" / "modality hopping"
    folder.mkdir(parents=True)
    for name in ("Makefile", "setup.cfg", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return folder


def make(folder: Path, target: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make in `folder`, which may be in no other git repository."""
    python = folder.parents[1] / "python"
    return subprocess.run(
        [str(shutil.which("make")), target, f"PYTHON={shlex.quote(str(python))}"],
        cwd=folder,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def asked(folder: Path) -> list[str]:
    """What the environment's programs were asked for: each with its first argument."""
    lines = (folder / "asked").read_text().splitlines()
    return [" ".join(line.split()[:2]) for line in lines]


def test_make_works_in_a_folder_with_spaces_in_its_path(folder: Path) -> None:
    result = make(folder, "repro")
    assert result.returncode == 0, result.stdout
    assert asked(folder) == ["pip install", "dvc repro"]
    assert make(folder, "table").returncode == 0
    # the environment is made once, and its own python runs the stage
    assert asked(folder)[2:] == ["dvc repro", "python -m", "dvc repro"]


@pytest.mark.parametrize("target", ["repro", "environment", "table", "share", "test"])
def test_a_download_without_git_is_told_so_before_anything_is_installed(
    folder: Path, target: str
) -> None:
    shutil.rmtree(folder / ".git")
    result = make(folder, target)
    assert result.returncode != 0
    remedy = "git init && git add -A && git commit -m start"
    assert "DVC needs a git repository" in result.stdout
    assert remedy in result.stdout.splitlines()
    assert not (folder / ".venv").exists()
    who = [f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
    identity = dict.fromkeys(who, "test@example.org")
    subprocess.run(["sh", "-c", remedy], cwd=folder, check=True, env={**os.environ, **identity})
    assert make(folder, "environment").returncode == 0


def test_git_itself_is_asked_for_where_it_is_missing(folder: Path, tmp_path: Path) -> None:
    result = make(folder, "environment", PATH=str(tmp_path / "no programs"))
    assert result.returncode != 0
    assert "git is needed" in result.stdout
    assert not (folder / ".venv").exists()
