"""Which library makes the tensors: torch if it is installed, else NumPy."""

from __future__ import annotations

import ctypes
import importlib
from types import ModuleType
from typing import Any

from ._core import UnsupportedError
from ._installed import installed


def lent(address: int, nbytes: int, keeper: object) -> Any:
    """Memory that somebody else owns, as a buffer that can be written to; it lives as long as `keeper`, which this keeps."""
    memory = (ctypes.c_uint8 * nbytes).from_address(address)
    memory.keeper = keeper
    return memory


def array_library() -> ModuleType:
    """transload._torch or transload._numpy; both have the same functions."""
    if installed("torch"):
        return importlib.import_module("transload._torch")
    if installed("numpy"):
        return importlib.import_module("transload._numpy")
    raise UnsupportedError("neither torch nor numpy is installed; tensors need one of them: pip install numpy")
