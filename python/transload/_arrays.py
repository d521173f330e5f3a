"""Which library makes the tensors: torch if it is installed, else NumPy."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from ._core import UnsupportedError


def _installed(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def array_library() -> ModuleType:
    """transload._torch or transload._numpy; both have the same functions."""
    if _installed("torch"):
        return importlib.import_module("transload._torch")
    if _installed("numpy"):
        return importlib.import_module("transload._numpy")
    raise UnsupportedError("neither torch nor numpy is installed; tensors need one of them: pip install numpy")
