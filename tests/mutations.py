"""Mutation testing: which changed operators and constants do unit tests not notice.

``python -m tests.mutations`` draws mutations of the modules below, runs each module's unit tests on
them in copies of the repository, and lists the mutations that no test notices. Strings, annotations
and decorators are not changed. ``--seed`` draws the same sample again, and ``--only`` takes some
modules. Mutations that change no result are in ``equivalent.txt``, each with a reason. Needs fork.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
FORK = multiprocessing.get_context("fork")
LIMIT = 180.0  # seconds, since a mutation may run for ever
HEAVY = ("torch", "sklearn.metrics", "scipy.stats", "pandas", "librosa", "cv2", "av", "hypothesis")

TESTS = {
    **dict.fromkeys(("models/amh", "models/mdre", "models/mha"), "models"),
    "models/encoders": "models normalise",
    "models/standardise": "normalise classifier layers",
    "models/linear": "linear",
    "models/classifier": "classifier normalise linear model_identity layers",
    "store/batches": "batches normalise classifier layers",
    "store/dataset": "batches normalise classifier layers",
    "training/splits": "splits leaks",
    "corpus/labels": "labels votes batches",
    "corpus/iemocap/formats": "formats votes",
    "features/stream": "store store_storage batches layers",
    "features/recording": "recording containers",
    "features/mfcc": "audio",
    "features/smile": "smile",
    "features/video": "video containers",
    "features/crops": "video containers faces",
    "features/faces": "faces",
    "evaluation/metrics": "evaluation",
    "evaluation/calibration": "evaluation",
    "evaluation/prediction": "evaluation",
    "evaluation/attention": "attention",
    "evaluation/significance": "significance",
}
"""The test files of each module."""

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult},
    **{ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr},
    **{ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And, ast.Lt: ast.LtE},
    **{ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}


SKIPPED = ("annotation", "returns", "decorator_list")
CHECKS = ("strict",)  # arguments that only raise errors, on what cannot happen


class Mutation(NamedTuple):
    """A module, the line, the statement before and after, and the changed source."""

    module: str
    line: int
    old: str
    new: str
    source: str

    @property
    def change(self) -> str:
        """Module and change, without the line, which changes more often."""
        return f"{self.module}: {self.old} => {self.new}"


def changed(node: Any) -> ast.AST | None:
    """A node with its operator or constant changed; None if it has neither."""
    new = copy.copy(node)
    match node:
        case ast.BinOp() | ast.BoolOp() | ast.AugAssign() if type(node.op) in SWAPS:
            new.op = SWAPS[type(node.op)]()
        case ast.Compare():
            new.ops = [SWAPS[type(node.ops[0])](), *node.ops[1:]]
        case ast.UnaryOp():
            new = node.operand
        case ast.Constant(value=bool(value)):
            new = ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            new = ast.Constant(value + 1 if isinstance(value, int) or not value else value * 2)
        case _:
            return None
    return new


def children(parent: ast.AST) -> Iterator[tuple[Any, Any, ast.AST]]:
    """Containers, keys and nodes of all that is computed below a node."""
    for name, value in ast.iter_fields(parent):
        if name in SKIPPED or isinstance(parent, ast.JoinedStr):
            continue
        if isinstance(parent, ast.keyword) and parent.arg in CHECKS:
            continue
        container = dict(enumerate(value)) if isinstance(value, list) else {name: value}
        for key, node in container.items():
            if isinstance(node, ast.AST):
                yield value if isinstance(value, list) else vars(parent), key, node
                yield from children(node)


def mutations(module: str) -> list[Mutation]:
    """All mutations of a module."""
    tree = ast.parse((ROOT / f"pipeline/{module}.py").read_text(encoding="utf-8"))
    before = ast.unparse(tree).splitlines()
    result = []
    for container, key, node in children(tree):
        if (new := changed(node)) is not None:
            container[key] = ast.copy_location(new, node)
            source = ast.unparse(tree)
            container[key] = node
            pairs = zip(before, source.splitlines(), strict=False)
            old, changed_line = next((a.strip(), b.strip()) for a, b in pairs if a != b)
            line = getattr(node, "lineno", 0)
            result.append(Mutation(module, line, old, changed_line, source))
    return result


def clone(parent: str) -> None:
    """Make a copy of the repository for this process and go there."""
    folder = Path(parent) / str(os.getpid())
    skipped = shutil.ignore_patterns(".git", ".venv", ".dvc", "data", "results", "models", "*.pyc")
    shutil.copytree(ROOT, folder, ignore=skipped)
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", dirs_exist_ok=True)  # with its models
    os.chdir(folder)


def is_noticed(module: str, source: str | None = None) -> bool:
    """Whether the tests of a module fail with another source."""
    path = Path(f"pipeline/{module}.py")
    shutil.copy(ROOT / path, path)
    if source is not None:
        path.write_text(source, encoding="utf-8")
    process = FORK.Process(target=run_tests, args=(module,))
    process.start()
    process.join(LIMIT)
    if process.is_alive() and process.pid is not None:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    shutil.copy(ROOT / path, path)
    return process.exitcode != 0


def run_tests(module: str) -> None:
    """Run the tests of a module; ends this process with pytest's exit status."""
    import pytest

    os.setpgid(0, 0)
    sys.path[:] = [str(Path.cwd()), *(path for path in sys.path if Path(path or ".") != ROOT)]
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    silent = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(silent, number)
    files = [f"tests/test_{name}.py" for name in TESTS[module].split()]
    os._exit(
        pytest.main(
            [*files, "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not transport"]
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=300, help="number of mutations; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=TESTS, nargs="*", default=list(TESTS))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    chosen = parser.parse_args()
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    for name in HEAVY:
        importlib.import_module(name)
    lines = (ROOT / "tests/equivalent.txt").read_text(encoding="utf-8").splitlines()
    equivalent = {line.partition("  # ")[0] for line in lines}
    drawn = [mutation for module in chosen.only for mutation in mutations(module)]
    if 0 < chosen.sample < len(drawn):
        drawn = random.Random(chosen.seed).sample(drawn, chosen.sample)
    drawn = sorted(mutation for mutation in drawn if mutation.change not in equivalent)
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(chosen.workers, FORK, initializer=clone, initargs=(folder,)) as workers,
    ):
        modules = sorted({mutation.module for mutation in drawn})
        fails = zip(modules, workers.map(is_noticed, modules), strict=True)
        failing = [module for module, failed in fails if failed]
        if failing:
            raise SystemExit(f"tests fail without any change: {', '.join(failing)}")
        names, sources = [m.module for m in drawn], [m.source for m in drawn]
        noticed = 0
        for mutation, is_noticed_ in zip(
            drawn, workers.map(is_noticed, names, sources), strict=True
        ):
            noticed += is_noticed_
            if not is_noticed_:
                print(f"pipeline/{mutation.change}  # line {mutation.line}", flush=True)
    print(f"{noticed} of {len(drawn)} mutations noticed: {noticed / len(drawn):.1%}")


if __name__ == "__main__":
    main()
