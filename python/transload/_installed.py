"""Whether a library is there, without importing it."""

from __future__ import annotations

import importlib.util
import sys


def installed(name: str) -> bool:
    if name in sys.modules:
        return True
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None  # else a mere folder of that name
