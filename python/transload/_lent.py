"""Memory that the extension owns, as Python buffers."""

from __future__ import annotations

import ctypes
from typing import Any


def lent(address: int, nbytes: int, keeper: object) -> Any:
    """Returns a writable buffer over memory owned by `keeper`, which it keeps alive."""
    memory = (ctypes.c_uint8 * nbytes).from_address(address)
    memory.keeper = keeper
    return memory
