"""Each stage lists the code that it runs: no file too few, else it is stale, and none too many."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.registry import CORPORA, EXTRACTORS, MODELS

ROOT = Path(__file__).parents[1]
CODE = ("embedded", "pipeline", "stages")

# What no stage lists. Each changes how, where or whether a stage runs, but no value that it writes,
# so that a change of it is no reason to extract or train anew. One file
# of pipeline/system/ is not among them, hdf5.py: types and lengths of strings, and thereby bytes of
# outputs, are decided there.
SUPPORT = {
    "pipeline/__init__.py": "the base of all errors",
    "pipeline/params": "it reads and checks values; those that a stage uses are its parameters",
    "pipeline/system/cluster.py": "on which machines",
    "pipeline/system/compute.py": "devices, and the number of processes and when they end",
    "pipeline/system/disk.py": "room on the disk",
    "pipeline/system/extras.py": "whether a package of an extra is installed",
    "pipeline/system/filesystem.py": "what errors of the system mean, whole files, and locks",
    "pipeline/system/graph.py": "what a stage depends on",
    "pipeline/system/kept.py": "finished work, under keys of all that decides it",
    "pipeline/system/torchvision_shim.py": "whether torchvision can be imported",
    "pipeline/system/unchanged.py": "that what a stage depends on stays as it is",
    "pipeline/system/values.py": "where two nested values differ",
    "stages/__init__.py": "how every stage starts and ends",
}
# names and where each one's class is; what is loaded by name is listed, not the list of names
REGISTRIES = {"pipeline/registry.py"}
NEVER = ("TYPE_CHECKING", "__name__ == '__main__'")
ENTRY = re.compile(r"(\w+(?:\.\w+)+):\w+")  # module:class

Loaded = Callable[[str], bool]


def everything(entry: str) -> bool:
    """All entries of registries are loaded."""
    return True


# --- what a stage runs ---------------------------------------------------------------------------


def run_by(first: str, root: Path = ROOT, loaded: Loaded = everything) -> set[str]:
    """Project files that a module can run or read, by path below `root`, and its own.

    Imports inside functions count. What only a type checker reads does not, nor what only the
    module's own command line runs. A registry counts for the entries that are `loaded`, and support
    is not followed.
    """
    found: set[str] = set()
    todo = [first]
    while todo:
        path = todo.pop()
        if path in found or inside(path, SUPPORT):
            continue
        found.add(path)
        if path.endswith(".py"):
            todo += uses(root / path, root, loaded)
    return {path for path in found if not only_a_docstring(root / path)}


def uses(path: Path, root: Path, loaded: Loaded) -> Iterator[str]:
    """Project files that one module imports, loads by ``module:class``, or reads by their name."""
    for node in executed(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names):
                for alias in names:
                    yield from files(alias.name, root)
            case ast.ImportFrom(module, names, level):
                assert module and not level, f"{path}:{node.lineno}: write an absolute import"
                for alias in names:  # a name is a module or something in one
                    yield from files(f"{module}.{alias.name}", root)
            case ast.Constant(str(text)):
                if (entry := ENTRY.fullmatch(text)) and loaded(text):
                    yield from files(entry[1], root)
                beside = path.parent / text
                if re.fullmatch(r"[\w.-]+\.\w+", text) and beside.is_file():
                    yield str(beside.relative_to(root))


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING`` and ``if __name__ == "__main__"``."""
    for child in ast.iter_child_nodes(node):
        parts: list[ast.AST] = [child]
        if isinstance(child, ast.If) and ast.unparse(child.test) in NEVER:
            parts = [*child.orelse]
        for part in parts:
            yield from (part, *executed(part))


def files(module: str, root: Path) -> Iterator[str]:
    """Files that importing a dotted name runs: its module and all packages above it."""
    parts = module.split(".")
    for n in range(1, len(parts) + 1):
        for path in (Path(*parts[:n], "__init__.py"), Path(*parts[:n]).with_suffix(".py")):
            if (root / path).is_file():
                yield str(path)


def only_a_docstring(path: Path) -> bool:
    """Whether a package's file runs nothing; it need not be listed until it does."""
    if path.name != "__init__.py":
        return False
    return all(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
    )


# --- what it lists -------------------------------------------------------------------------------


def listed_code(dependencies: list[str]) -> set[str]:
    return {path for path in dependencies if Path(path).parts[0] in CODE}


def inside(path: str, listed: Container[str]) -> bool:
    """Whether a file is listed, or a folder that it lies in."""
    return any(str(folder) in listed for folder in (Path(path), *Path(path).parents))


def too_few_and_too_many(listed: set[str], run: set[str]) -> tuple[list[str], list[str]]:
    """Files that are run and not listed, and files listed, or in a listed folder, and not run."""
    assert all((ROOT / path).exists() for path in listed)
    within = {
        str(file.relative_to(ROOT))
        for path in listed
        for file in ([ROOT / path] if (ROOT / path).is_file() else (ROOT / path).rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts and not only_a_docstring(file)
    }
    few = {path for path in run - REGISTRIES if not inside(path, listed)}
    return sorted(few), sorted(within - run)


def stages(path: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))["stages"]


STAGES = stages("dvc.yaml")


def by_name(stage: str) -> set[str]:
    """Files of what a stage gets from the parameters, which load it: readers or extractors."""
    modalities = EXTRACTORS if stage == "weights" else [stage]
    paths = {entry.path for name in modalities for entry in EXTRACTORS.get(name, {}).values()}
    paths |= {entry.path for entry in CORPORA.values() if stage == "parse"}
    return {f"{path.partition(':')[0].replace('.', '/')}.py" for path in paths}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_lists_the_code_that_it_runs(name: str) -> None:
    assert STAGES[name]["cmd"] == f"python -m stages.{name}"
    listed = listed_code(STAGES[name]["deps"])
    models = {entry.path for entry in MODELS.values()}
    run = {
        path
        for first in (f"stages/{name}.py", *by_name(name))
        for path in run_by(first, loaded=models.__contains__)
    }
    assert too_few_and_too_many(listed, run) == ([], [])


def test_the_stage_of_the_embedded_corpus_lists_the_code_that_it_runs() -> None:
    stage = stages("embedded/dvc.yaml")["make"]
    assert (stage["cmd"], stage["wdir"]) == ("python -m embedded", "..")
    listed = listed_code(stage["deps"])
    run = run_by("embedded/__main__.py", loaded=lambda entry: False)
    assert too_few_and_too_many(listed, run) == ([], [])


@pytest.mark.parametrize("model", MODELS)
def test_a_row_lists_the_code_that_it_runs_and_no_other_model(model: str) -> None:
    row = stages("comparison/dvc.yaml")["row"]["do"]
    assert row["cmd"] == "python -m stages.compare ${key}"
    listed = listed_code([path.replace("${item.model.name}", model) for path in row["deps"]])
    run = run_by("stages/compare.py", loaded=lambda entry: entry == MODELS[model].path)
    assert too_few_and_too_many(listed, run) == ([], [])


def test_support_imports_no_code_that_would_have_to_be_listed() -> None:
    code = [str(path.relative_to(ROOT)) for top in CODE for path in (ROOT / top).rglob("*.py")]
    support = [path for path in code if inside(path, SUPPORT)]
    assert {"pipeline/params/__init__.py", "pipeline/system/unchanged.py"} <= set(support)
    for path in support:
        used = set(uses(ROOT / path, ROOT, everything)) - REGISTRIES
        listed = {other for other in used if not only_a_docstring(ROOT / other)}
        assert [other for other in listed if not inside(other, SUPPORT)] == []


# --- the search itself, on a small project -------------------------------------------------------

PROJECT = {
    "lab/__init__.py": "from lab import start\n",
    "lab/start.py": '"""Starts."""\n',
    "lab/main.py": """
from typing import TYPE_CHECKING

import lab.whole

from lab.tools import saw

if TYPE_CHECKING:
    from lab.tools import hammer
else:
    from lab.tools import nail


def work():
    from lab.tools.drill import DEPTH
    return DEPTH, "plan.conf", "absent.conf", "as in lab.other:Bystander"


MODELS = {"one": "lab.models:One", "two": "lab.others:Two"}

if __name__ == "__main__":
    from lab import preview
""",
    "lab/plan.conf": "depth = 1\n",
    "lab/tools/__init__.py": '"""Nothing but this."""\n',
    **{f"lab/tools/{name}.py": "" for name in ("saw", "hammer", "nail", "drill", "unused")},
    **{f"lab/{name}.py": "" for name in ("whole", "models", "others", "other", "preview")},
}


def test_the_search_follows_what_runs_and_nothing_else(tmp_path: Path) -> None:
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    tools = {f"lab/tools/{name}.py" for name in ("saw", "nail", "drill")}
    always = {f"lab/{name}" for name in ("__init__.py", "start.py", "main.py", "whole.py")}
    models = {"lab/models.py", "lab/others.py"}
    found = run_by("lab/main.py", tmp_path)
    assert found == always | tools | models | {"lab/plan.conf"}
    found = run_by("lab/main.py", tmp_path, lambda entry: entry == "lab.models:One")
    assert "lab/models.py" in found and "lab/others.py" not in found


def test_a_folder_covers_its_files_and_all_of_them_must_run() -> None:
    run = {"stages/parse.py", "pipeline/models/amh.py", "pipeline/system/hdf5.py"}
    few, many = too_few_and_too_many({"stages/parse.py", "pipeline/models"}, run)
    assert few == ["pipeline/system/hdf5.py"]
    assert "pipeline/models/mdre.py" in many and "pipeline/models/amh.py" not in many
