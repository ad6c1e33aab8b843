"""Makes ``import torchvision`` work beside a CPU build of torch.

The torchvision wheel of the Python package index carries operators compiled for CUDA. Beside a
CPU build of torch their library does not load, and torchvision then stops at its own import,
because it describes two operators that nobody has declared: ``operator torchvision::nms does not
exist``. Its models and transforms use neither, so a declaration without an implementation is
enough. transformers imports torchvision wherever it is installed and fails the same way, as
``Could not import module 'BertModel'``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_DECLARATIONS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# torch withdraws a declaration when its Library object is collected
_libraries: list[torch.library.Library] = []


def torchvision_operators() -> None:
    """Declare the operators that ``import torchvision`` misses; call it before that import.

    Where torch is a CUDA build, torchvision is absent, or its operators are there (already
    declared, or loadable from a torchvision built for this torch), nothing is declared.
    """
    if torch.version.cuda is not None or not _missing():
        return
    _load_own()
    if missing := _missing():
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            library.define(_DECLARATIONS[name])
        _libraries.append(library)


def _missing() -> list[str]:
    """List the operators that torch does not know yet."""
    return [name for name in _DECLARATIONS if not hasattr(torch.ops.torchvision, name)]


def _load_own() -> None:
    """Load torchvision's compiled operators where they fit this torch.

    A declaration made before they load would collide with theirs.
    """
    package = importlib.util.find_spec("torchvision")
    for folder in (package.submodule_search_locations or []) if package else []:
        for library in sorted(Path(folder).glob("_C*.*")):
            try:
                torch.ops.load_library(str(library))
            except OSError:  # compiled for CUDA, whose libraries a CPU build lacks
                continue
