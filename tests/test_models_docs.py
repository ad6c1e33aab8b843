"""What docs/models.md shows besides its model: commands, a row, a saved model, and its style."""

from __future__ import annotations

import doctest
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from benchmarks.synthetic import make_store
from pipeline import params
from pipeline.comparison import rows
from pipeline.registry import MODELS, Model
from pipeline.store import FeatureStore
from tests.trained import make_models

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/models.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the documented model, which parameters then allow."""
    [name] = re.findall(r'^    "(\w+)": Model\(', PAGE, re.MULTILINE)
    monkeypatch.setitem(MODELS, name, Model(f"pipeline.models.{name}:Unused"))
    return name


def test_the_documented_experiment_sets_the_model_and_its_option(
    registered: str, tmp_path: Path
) -> None:
    """As DVC changes the parameter file; a second time too."""
    lines = "".join(blocks("sh")).splitlines()
    [command] = [line for line in lines if "model.options" in line]
    overrides = shlex.split(command.removeprefix("dvc exp run").replace(" -S", ""))
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    for _ in range(2):
        apply_overrides(path, overrides)
        model = params.load(path).model
        assert (model.name, model.options) == (registered, {"pool": "max"})


def test_the_documented_row_can_be_compared(registered: str, tmp_path: Path) -> None:
    [row] = blocks("yaml")
    text = (ROOT / "comparison/rows.yaml").read_text(encoding="utf-8")
    path = tmp_path / "rows.yaml"
    path.write_text(f"{text.rstrip()}\n{row}", encoding="utf-8")
    [key] = yaml.safe_load(row)
    model = rows.read(path).settings(key, params.load(ROOT / "params.yaml")).model
    assert (model.name, model.options) == (registered, {"pool": "max"})


def test_the_documented_file_is_in_the_style_of_the_others() -> None:
    """So that `make test` has nothing against it."""
    [source] = blocks("python")
    for command in (["check"], ["format", "--check"]):
        run = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", "pipeline/a.py", "-"],
            input=source,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr


def test_the_documented_use_of_a_saved_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data/features").mkdir(parents=True)
    (tmp_path / "made").mkdir()
    stored = tmp_path / "data/features/embedded"
    make_store(tmp_path / "made").rename(stored)
    with FeatureStore(stored) as store:
        make_models(store, tmp_path / "models", hops=7)
    monkeypatch.chdir(tmp_path)
    [block] = blocks("pycon")
    example = doctest.DocTestParser().get_doctest(block, {}, "docs/models.md", None, 0)
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert result.attempted > 8 and not result.failed, "".join(said)
