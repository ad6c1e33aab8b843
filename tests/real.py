"""Where real corpora lie, for tests that need them: below the folder that CORPORA names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def real(name: str) -> Path:
    """The folder of a corpus; without it the test is skipped, and says so."""
    folder = os.environ.get("CORPORA")
    if not folder:
        pytest.skip(f"needs the real {name}: set CORPORA to the folder that holds {name}")
    path = Path(folder) / name
    if not path.is_dir():
        pytest.skip(f"needs the real {name}: {path} is no folder")
    return path
