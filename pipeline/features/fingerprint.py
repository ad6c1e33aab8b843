"""The code behind a module, as one digest: what was computed by other code is not reused."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

_NEVER = ("TYPE_CHECKING", "__name__ == '__main__'")


def of_code(module: str) -> str:
    """Digest of the source of a loaded module and of all modules of its package that it imports.

    Imports inside functions count, whether they have been run or not; those for a type checker or
    the module's own command line do not, such as the contact sheet of the visual features. Modules
    of other packages do not either: what the values owe to them is for the extractor's identity to
    say.
    """
    first = Path(str(sys.modules[module].__file__))
    package = module.rpartition(".")[0]
    found: dict[Path, bytes] = {}
    todo = [first]
    while todo:
        path = todo.pop()
        if path not in found and path.is_file():
            found[path] = path.read_bytes()
            todo += [first.parent / f"{name}.py" for name in _imports(found[path], package)]
    total = hashlib.sha256()
    for path, source in sorted(found.items()):
        total.update(f"{path.name} {len(source)}\n".encode() + source)
    return total.hexdigest()


def _imports(source: bytes, package: str) -> Iterator[str]:
    """Names directly below `package` that a source imports; some may be no modules."""
    for node in _executed(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith(f"{package}."):
                yield name.removeprefix(f"{package}.").partition(".")[0]


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes that run when a module is imported and its functions are called."""
    for child in ast.iter_child_nodes(node):
        parts: list[ast.AST] = [child]
        if isinstance(child, ast.If) and ast.unparse(child.test) in _NEVER:
            parts = [*child.orelse]
        for part in parts:
            yield part
            yield from _executed(part)
