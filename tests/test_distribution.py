"""A wheel holds the library with its data files, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOAD = """
from pipeline import params, registry
of_extractors = [entry for group in registry.EXTRACTORS.values() for entry in group.values()]
for entry in (*registry.CORPORA.values(), *of_extractors):
    entry.load()
print(params.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked; built in a copy, since building leaves files behind."""
    folder = tmp_path_factory.mktemp("wheel")
    skipped = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "build", "data", "results")
    shutil.copytree(ROOT, folder / "copy", ignore=skipped)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--quiet", "--wheel-dir", str(folder), str(folder / "copy")],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_it_holds_the_library_and_its_data(wheel: Path) -> None:
    names = {path.name for path in wheel.iterdir()}
    assert names == {"pipeline", "modality_hopping-0.1.0.dist-info"}
    held = {path.relative_to(wheel) for path in wheel.glob("pipeline/**/*") if path.is_file()}
    library = {
        path.relative_to(ROOT)
        for path in ROOT.glob("pipeline/**/*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == library


def test_no_index_takes_it(wheel: Path) -> None:
    (metadata,) = wheel.glob("*.dist-info/METADATA")
    assert "Classifier: Private :: Do Not Upload\n" in metadata.read_text(encoding="utf-8")


def test_it_is_imported_without_the_clone(wheel: Path, tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", LOAD],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()) == wheel / "pipeline/params/__init__.py"
