"""Progress of a load or save: a function of the caller's, or a bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def shown(progress: Any, what: str) -> Iterator[Callable[[int, int], object] | None]:
    """Gives a function (bytes done, bytes in all), or None to show nothing. progress: None or False
    shows nothing; a function is used as it is; True shows tqdm's bar if that is installed, else a
    line if stderr is a terminal."""
    if progress is None or progress is False:
        yield None
    elif callable(progress):
        yield progress
    elif (bar := _tqdm(what)) is not None:
        with bar:

            def update(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield update
    elif sys.stderr.isatty():

        def line(done: int, total: int) -> None:
            sys.stderr.write(f"\r{what}: {done / 1e6:.0f} of {total / 1e6:.0f} MB")
            sys.stderr.flush()

        yield line
        sys.stderr.write("\n")
    else:
        yield None


def _tqdm(what: str) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm(unit="B", unit_scale=True, unit_divisor=1000, desc=what, leave=False)
