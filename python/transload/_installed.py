"""Whether a library is there, without importing it."""

from __future__ import annotations

import importlib.util
import sys


def installed(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # what finders that hide a library raise
        return False
    return spec is not None and spec.origin is not None  # else a mere folder of that name
