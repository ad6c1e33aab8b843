"""Packages that only some users need: the extras of setup.cfg."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from pipeline import InputError


def imported(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a module of an extra.

    Parameters
    ----------
    purpose
        The name of the package and what it is for, as "X does Y".

    Raises
    ------
    InputError
        If it cannot be imported; the message says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(
            f"{purpose}, and cannot be imported ({error}); install it: "
            f"pip install -c constraints.txt -e '.[{extra}]'"
        ) from error
