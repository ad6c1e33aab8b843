"""A stage starts quickly: it loads no library that it does not use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODELS = {"torch", "torchvision", "transformers"}
SLOW = {"dvclive", "librosa", "matplotlib", "opensmile", "scipy", "sklearn"}
UNUSED = {
    "embed_corpus": MODELS | SLOW,
    "weights": MODELS | SLOW,
    "parse": MODELS | SLOW,
    "audio": MODELS | SLOW - {"librosa", "opensmile", "scipy"},
    "text": SLOW,
    "visual": SLOW,
    "store": MODELS | SLOW,
    "table": {"torchvision", "transformers", "librosa", "opensmile"},
    "train": {"torchvision", "transformers", "librosa", "matplotlib", "opensmile"},
    "evaluate": {"torchvision", "transformers", "librosa", "opensmile", "dvclive"},
}
CODE = """
import importlib, json, sys
importlib.import_module(f"stages.{sys.argv[1]}")
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize("stage", UNUSED)
def test_a_stage_loads_no_library_that_it_does_not_use(stage: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", CODE, stage],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    loaded = set(json.loads(found.stdout))
    assert f"stages.{stage}" in loaded
    assert loaded & UNUSED[stage] == set()


def test_every_stage_is_listed() -> None:
    stages = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__", "compare"}
    assert stages == set(UNUSED)  # compare is train and evaluate together
