"""Which library makes the tensors: torch if it is installed, else NumPy."""

from __future__ import annotations

from types import ModuleType

from ._core import UnsupportedError
from ._installed import installed


def array_library() -> ModuleType:
    """Returns transload._torch or transload._numpy, which have the same functions. Imports torch or
    numpy the first time. Raises UnsupportedError if neither is installed."""
    if installed("torch"):
        from . import _torch

        return _torch
    if installed("numpy"):
        from . import _numpy

        return _numpy
    raise UnsupportedError(
        "neither torch nor numpy is installed; tensors need one of them: pip install numpy"
    )
