"""Imports run one way: the contracts of setup.cfg hold, and a wrong import breaks one of them."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("pipeline", "stages", "embedded", "benchmarks", "tests")
COMMAND = "from importlinter.cli import lint_imports_command as run; run(['--no-cache'])"

ONE_WAY, CIRCLES, FOLDERS_ONE_WAY = "Packages of the", "No import cycles", "Folders import one way"
WRONG = {
    "from a lower room": ("pipeline/corpus/labels.py", "import pipeline.store.reading", ONE_WAY),
    "in a function": (
        "pipeline/system/disk.py",
        "def f():\n    from pipeline.features import mfcc",
        ONE_WAY,
    ),
    "of a room beside": ("pipeline/report/page.py", "import pipeline.export.common", ONE_WAY),
    "in a file without a room": ("pipeline/flat.py", "", ONE_WAY),
    "in a circle": ("pipeline/models/encoders.py", "import pipeline.models.classifier", CIRCLES),
    "of tests": ("benchmarks/text.py", "from tests import toy", FOLDERS_ONE_WAY),
    "of a stage": ("pipeline/training/folds.py", "import stages.train", FOLDERS_ONE_WAY),
}


def contracts(project: Path) -> str:
    """What import-linter says of a project, without its logo."""
    found = subprocess.run(
        [sys.executable, "-c", COMMAND],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode in (0, 1), found.stderr
    assert ("broken." in found.stdout) and (found.returncode == 1) == ("BROKEN" in found.stdout)
    return found.stdout


def test_imports_run_one_way() -> None:
    assert "3 kept, 0 broken" in contracts(ROOT)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code and its contracts, to be spoilt."""
    copy = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "setup.cfg", copy)
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return copy


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_import_breaks_a_contract(project: Path, name: str) -> None:
    file, line, contract = WRONG[name]
    path = project / file
    before = path.read_text(encoding="utf-8") if path.exists() else None
    path.write_text(f"{before or ''}\n{line}\n", encoding="utf-8")
    try:
        found = contracts(project)
    finally:
        path.unlink()
        if before is not None:
            path.write_text(before, encoding="utf-8")
    broken = [row for row in found.splitlines() if row.endswith("BROKEN")]
    assert any(row.startswith(contract) for row in broken)


def private(text: str) -> Iterator[str]:
    """Private names that a module takes from others."""
    tree = ast.parse(text)
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FOLDERS:
            imported |= {alias.asname or alias.name for alias in node.names}
            yield from (alias.name for alias in node.names if alias.name.startswith("_"))
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(ast.Name(name), attribute) if name in imported:
                if attribute.startswith("_") and not attribute.startswith("__"):
                    yield f"{name}.{attribute}"


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder != "tests"])
def test_no_private_name_is_used_elsewhere(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        assert list(private(path.read_text(encoding="utf-8"))) == [], path


def test_private_names_are_found() -> None:
    text = "from pipeline.a import _b, c\nfrom os import _exit\nc._d\nc.e\nself._f\nc.__doc__\n"
    assert sorted(private(text)) == ["_b", "c._d"]
