"""Live tensors filled in place, whatever holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from . import _core
from ._dtensor import is_dtensor
from ._options import io_options, load_options, selection

T = TypeVar("T")
EXTRA_STATE = "_extra_state"  # torch.nn.modules.module._EXTRA_STATE_KEY_SUFFIX


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

    def load(self, map_location: str = "cpu", **selected: list[str]) -> Any:
        """Returns the selected part of the file as new tensors, in host memory unless told
        otherwise. `selected`: keep, drop and rename to be used instead of those of the options."""
        options = load_options(
            self.arrays,
            io=self.io(),
            map_location=map_location,
            at=self.at,
            verify=self.verify and map_location != "meta",
            tags=self.core.locations,
            **(selected or {"keep": self.keep, "drop": self.drop, "rename": self.rename}),
        )
        with self.arrays.loading(map_location):
            return self.core.load(self.arrays, options)

    def name_of(self, key: str) -> str | None:
        """Returns the name that a key of the file gets, or None if it is not selected."""
        return selection(self.at, self.keep, self.drop, self.rename).name_of(key)

    def state(self, map_location: str = "cpu") -> Any:
        """Returns the selected part as torch's load_state_dict takes it. Unlike load(), it selects
        and renames an extra state by its key, whatever it holds, and renames the modules in
        _metadata."""
        keys = self._extra_state_keys()
        state = self.load(
            map_location, keep=self.keep, drop=self.drop + _with_parts(keys), rename=self.rename
        )
        if not isinstance(state, dict):
            return state
        for key in keys:
            state.pop(key, None)
        state.update(self.extra_states(map_location))
        metadata = getattr(state, "_metadata", None)
        if self.rename and isinstance(metadata, dict):
            # A module's name and a dot are what its tensors' names begin with.
            state._metadata = type(metadata)(
                (self._module_name(name), value) for name, value in metadata.items()
            )
        return state

    def _module_name(self, old: str) -> str:
        renamed = selection(rename=self.rename).name_of(old + ".") if old else None
        return old if renamed is None else renamed.removesuffix(".")

    def extra_states(self, map_location: str = "cpu") -> dict[str, Any]:
        """Returns the extra states of modules that are selected, by their new names."""
        names = {key: self.name_of(key) for key in self._extra_state_keys()}
        wanted = {key: name for key, name in names.items() if name is not None}
        if not wanted:
            return {}
        with_tensors = any(
            name == key or name.startswith(key + "/")
            for name in flat(self.load("meta", keep=[]), self.arrays)
            for key in wanted
        )
        # No tensor fits `keep` where there is none, which would be an error.
        chosen = {"keep": _with_parts(wanted)} if with_tensors else {"drop": ["*"]}
        values = self.load(map_location, **chosen)
        return {name: values[key] for key, name in wanted.items()}

    def patterns_of_extra_states(self) -> list[str]:
        return _with_parts(self._extra_state_keys())

    def _extra_state_keys(self) -> list[str]:
        part = self.core.at_path(self.core.root, self.at) if self.at else self.core.root
        if "dict" not in self.core.kind(part).lower():
            return []
        return [
            key
            for key in self.core.keys(part)
            if isinstance(key, str) and key.endswith(EXTRA_STATE)
        ]


def _with_parts(keys: Iterable[str]) -> list[str]:
    """Returns patterns of these values and all that they hold."""
    return [pattern for key in keys for pattern in (key, key + "/*")]


def flat(
    live: Mapping[Any, Any], arrays: ModuleType, prefix: str = "", *, dtensors_too: bool = False
) -> dict[str, Any]:
    """Returns the tensors in dicts, lists and tuples by name: the keys and positions that lead
    there, joined by "/"."""
    found: dict[str, Any] = {}
    for key, value in live.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found.update(flat(value, arrays, name + "/", dtensors_too=dtensors_too))
        elif isinstance(value, (list, tuple)):
            numbered = dict(enumerate(value))
            found.update(flat(numbered, arrays, name + "/", dtensors_too=dtensors_too))
        elif (described := arrays.describe(value)) is not None and described[0] == "tensor":
            found[name] = value
        elif dtensors_too and is_dtensor(value):
            found[name] = value
    return found


def with_cache_given_back(arrays: ModuleType, work: Callable[[], T]) -> T:
    """Returns what `work` returns. If a device's memory is not enough, frees torch's cache there
    and calls `work` again: what torch keeps for reuse is free for us too."""
    try:
        return work()
    except _core.DeviceError:
        if not arrays.empty_cache():
            raise
    return work()
