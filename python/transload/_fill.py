"""Live tensors filled in place, whatever holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from . import _core
from ._options import io_options, load_options, selection

T = TypeVar("T")


class FillResult(NamedTuple):
    """What load_state_dict returns: keys only the live model has, and keys only the file has."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (
            f"FillResult(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"
        )

    __str__ = __repr__


@dataclass
class Filling:
    """An open checkpoint and the options of load_into(), which documents them. Each way to fill
    uses all of them."""

    core: _core.Checkpoint
    arrays: ModuleType
    at: str = ""
    strict: bool = True
    keep: list[str] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)
    rename: list[tuple[str, str]] = field(default_factory=list)
    verify: bool = False
    transactional: bool = False
    progress: Callable[[int, int], object] | None = None
    threads: int = 0

    def io(self) -> _core.IoOptions:
        return io_options(self.arrays, self.progress, self.threads)

    @property
    def selects(self) -> bool:
        """Whether some of the file's tensors are left out or renamed."""
        return bool(self.keep or self.drop or self.rename)

    def fill(
        self, live: Mapping[str, Any], *, at: str | None = None, drop: list[str] | None = None
    ) -> FillResult:
        """Fills tensors by name. `drop`: patterns besides those of the options. Raises as
        load_into()."""
        tensors = list(live.values())
        descriptions = [self.arrays.describe_tensor(tensor) for tensor in tensors]
        options = _core.FillOptions(
            io=self.io(),
            select=selection(
                self.at if at is None else at, self.keep, self.drop + (drop or []), self.rename
            ),
            strict=self.strict,
            transactional=self.transactional,
            verify=self.verify,
        )
        result = with_cache_given_back(
            self.arrays, lambda: self.core.fill(list(live), descriptions, options)
        )
        self.arrays.filled(tensors)
        return FillResult(*result)

    def load(self, map_location: str = "cpu") -> Any:
        """Returns the selected part of the file as new tensors, in host memory unless told
        otherwise."""
        options = load_options(
            self.arrays,
            io=self.io(),
            map_location=map_location,
            at=self.at,
            keep=self.keep,
            drop=self.drop,
            rename=self.rename,
            verify=self.verify and map_location != "meta",
            tags=self.core.locations,
        )
        with self.arrays.loading(map_location):
            return self.core.load(self.arrays, options)


def flat(live: Mapping[Any, Any], arrays: ModuleType, prefix: str = "") -> dict[str, Any]:
    """Returns the tensors in dicts, lists and tuples by name: the keys and positions that lead
    there, joined by "/"."""
    found: dict[str, Any] = {}
    for key, value in live.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found.update(flat(value, arrays, name + "/"))
        elif isinstance(value, (list, tuple)):
            found.update(flat(dict(enumerate(value)), arrays, name + "/"))
        elif (described := arrays.describe(value)) is not None and described[0] == "tensor":
            found[name] = value
    return found


def with_cache_given_back(arrays: ModuleType, work: Callable[[], T]) -> T:
    """Returns what `work` returns. If a device's memory is not enough, torch's cache there is freed
    and `work` called
    again: what torch keeps for reuse is free for us too."""
    try:
        return work()
    except _core.DeviceError:
        if not arrays.empty_cache():
            raise
    return work()
