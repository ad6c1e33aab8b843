"""The worked example of a page: its file and its line of the registry, taken from there."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest


def register(
    page: str,
    package: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kind: type,
    registry: dict[str, Any],
) -> str:
    """Make the documented file a module of `package`, and its line an entry of `registry`.

    `kind` is the class of entries, and `folder` where the file is written; returns its name.
    """
    [source] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    line = rf'^    "(\w+)": ({kind.__name__}\(.*\)),$'
    [(name, entry)] = re.findall(line, page, re.MULTILINE)
    path = folder / f"{name}.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(f"{package}.{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(registry, name, eval(entry, {kind.__name__: kind}))
    return name
