"""Makes ``import torchvision`` work with a CPU build of torch.

The operators in torchvision's wheel on the Python package index are compiled for CUDA. With a CPU
build of torch their library does not load, and the import of torchvision then fails with ``operator
torchvision::nms does not exist``. Its models and transforms use none of these operators, so it is
enough to declare them without an implementation. transformers imports torchvision if it is
installed and then fails with ``Could not import module 'BertModel'``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_DECLARATIONS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# torch removes a declaration when its Library object is garbage collected
_libraries: list[torch.library.Library] = []


def torchvision_operators() -> None:
    """Declare the operators that ``import torchvision`` requires; call it before that import.

    Nothing is declared if torch is a CUDA build, if torchvision is not installed, or if its
    operators are already declared or can be loaded.
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
    return [name for name in _DECLARATIONS if not hasattr(torch.ops.torchvision, name)]


def _load_own() -> None:
    """Load torchvision's compiled operators if they are built for this torch.

    Declarations made earlier would conflict with theirs.
    """
    package = importlib.util.find_spec("torchvision")
    for folder in (package.submodule_search_locations or []) if package else []:
        for library in sorted(Path(folder).glob("_C*.*")):
            try:
                torch.ops.load_library(str(library))
            except OSError:  # compiled for CUDA
                continue
