"""Which library makes the tensors: torch if it is installed, else NumPy."""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType

from ._core import UnsupportedError
from ._installed import installed


def array_library() -> ModuleType:
    """Returns transload._torch or transload._numpy, which have the same functions. Imports torch or
    numpy the first time. Raises UnsupportedError if neither is installed."""
    if installed("torch"):
        if "torch" not in sys.modules and not installed("numpy"):
            _import_apart("torch")
        from . import _torch

        return _torch
    if installed("numpy"):
        from . import _numpy

        return _numpy
    raise UnsupportedError(
        "neither torch nor numpy is installed; tensors need one of them: pip install numpy"
    )


def _import_apart(name: str) -> None:
    """Imports a module in a thread of its own. torch keeps the ImportError of a missing numpy, and
    with its traceback all frames below the import: here, no frame of a caller, with its files."""

    def load() -> None:
        try:
            importlib.import_module(name)
        except BaseException:  # the caller's own import raises it again
            pass

    thread = threading.Thread(target=load, name=f"import {name}")
    thread.start()
    thread.join()
