"""What a caller may give for a file: a path, or an open binary file object."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ._rules import path_text


@contextmanager
def as_path(file: Any) -> Iterator[str]:
    """A path to open. A file object on disk is opened by its descriptor, from its beginning; one in memory is copied to
    a file in memory first."""
    if isinstance(file, (str, bytes, os.PathLike)):
        yield path_text(file)
        return
    try:
        descriptor = file.fileno()
    except (AttributeError, OSError):
        descriptor = None
    if descriptor is not None:
        yield f"/proc/self/fd/{descriptor}"
        return
    if not hasattr(file, "read"):
        raise TypeError(f"a path or a binary file object is expected, not {type(file).__name__}")
    with os.fdopen(os.memfd_create("transload"), "wb", closefd=True) as memory:
        memory.write(file.getbuffer() if hasattr(file, "getbuffer") else file.read())
        memory.flush()
        yield f"/proc/self/fd/{memory.fileno()}"
