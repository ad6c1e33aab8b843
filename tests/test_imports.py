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
SOUND = {"soundfile", "soxr"}
SLOW = {"dvclive", "librosa", "matplotlib", "opensmile", "scipy", "sklearn"}
UNUSED = {
    "weights": MODELS | SLOW | SOUND,
    "parse": MODELS | SLOW | SOUND,
    "audio": MODELS | SLOW | SOUND,
    "text": MODELS | SLOW | SOUND,
    "visual": MODELS | SLOW | SOUND,
    "store": MODELS | SLOW | SOUND,
    "table": {"torchvision", "transformers", "librosa", "opensmile"},
    "train": {"torchvision", "transformers", "librosa", "matplotlib", "opensmile"},
    "evaluate": {"torchvision", "transformers", "librosa", "opensmile", "dvclive"},
}
CODE = """
import importlib, json, sys
importlib.import_module(f"stages.{sys.argv[1]}")
print(json.dumps(sorted(sys.modules)))
"""
# every reader and extractor of the registry
READ = """
import json, sys
from pipeline import params, registry
params.load()
of_extractors = [entry for group in registry.EXTRACTORS.values() for entry in group.values()]
for entry in (*registry.CORPORA.values(), *of_extractors):
    entry.load()
print(json.dumps(sorted(sys.modules)))
"""


def loaded(code: str, *arguments: str) -> set[str]:
    """The modules that an interpreter has loaded at the end of `code`, which prints them."""
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    return set(json.loads(found.stdout))


def test_the_embedded_corpus_is_made_without_what_it_does_not_use() -> None:
    found = loaded("import embedded.__main__, json, sys; print(json.dumps(sorted(sys.modules)))")
    assert found & (MODELS | SLOW) == set()


@pytest.mark.parametrize("stage", UNUSED)
def test_a_stage_loads_no_library_that_it_does_not_use(stage: str) -> None:
    found = loaded(CODE, stage)
    assert f"stages.{stage}" in found
    assert found & UNUSED[stage] == set()


def test_reading_parameters_loads_no_library_of_an_extractor() -> None:
    found = loaded(READ)
    assert (
        "pipeline.features.text_encoder" in found
    )  # the extractors are there, without what they run on
    assert found & (MODELS | SLOW | SOUND | {"h5py", "huggingface_hub", "tokenizers"}) == set()


def test_every_stage_is_listed() -> None:
    stages = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__", "extraction"}
    # compare is train and evaluate together, convert is run once by hand
    assert stages - {"compare", "convert"} == set(UNUSED)
