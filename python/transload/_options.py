"""Options as users write them, as the classes of the extension, which have the fields of the C++
library's options."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from . import _core

_DEVICE_TAG = re.compile(r"[a-z]+(:\d+)?")


def map_location_rules(map_location: Any, arrays: ModuleType) -> _core.MapLocation:
    """Returns the rules of a map_location as torch takes it: None, a text, a torch.device, a dict
    or a function. Rules over keys are taken too, in a dict ({"encoder.*": "cuda:0"}) or a list
    (["encoder.*:cuda:0", "cpu"]), and "auto"."""
    rules = _core.MapLocation()
    _add_rules(rules, map_location, arrays)
    return rules


def _add_rules(rules: _core.MapLocation, map_location: Any, arrays: ModuleType) -> None:
    if map_location is None:
        return
    if isinstance(map_location, str):
        # "cuda" is torch's current device. Other devices, "auto", "a=b" and "glob:device" are as on
        # the command line.
        rules.add_text(arrays.device_of(map_location) if map_location == "cuda" else map_location)
    elif isinstance(map_location, Mapping):
        for key, place in map_location.items():
            add = rules.add_tag if _DEVICE_TAG.fullmatch(str(key)) else rules.add_key
            add(str(key), arrays.device_of(place))
    elif callable(map_location):
        rules.add_function(arrays.called_as_torch_does(map_location))
    elif isinstance(map_location, Iterable):
        for item in map_location:
            _add_rules(rules, item, arrays)
    else:
        rules.add_text(arrays.device_of(map_location))


def _texts(value: Any) -> list[str]:
    """Nothing, one pattern or several."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(item) for item in value]


def _pairs(rename: Any) -> list[tuple[str, str]]:
    if rename is None:
        return []
    return [
        (str(old), str(new))
        for old, new in (rename.items() if isinstance(rename, Mapping) else rename)
    ]


def _limits(memory_limit: Any) -> list[tuple[str, int]]:
    """Bytes that a load may take: of each device, or by device."""
    if memory_limit is None:
        return []
    if isinstance(memory_limit, Mapping):
        return [
            ("cuda:0" if str(device) == "cuda" else str(device), int(nbytes))
            for device, nbytes in memory_limit.items()
        ]
    return [(device, int(memory_limit)) for device in _core.devices() if device != "meta"]


def selection(
    at: str = "", keep: Any = None, drop: Any = None, rename: Any = None
) -> _core.Selection:
    """Returns which tensors are meant: the part of the checkpoint, patterns to keep, patterns to
    drop, new names."""
    return _core.Selection(at=at, keep=_texts(keep), drop=_texts(drop), rename=_pairs(rename))


def io_options(
    arrays: ModuleType, progress: Callable[[int, int], object] | None = None, threads: int = 0
) -> _core.IoOptions:
    """Returns how bytes are moved: after what is queued on torch's current streams. threads: 0 for
    the default."""
    return _core.IoOptions(progress=progress, streams=arrays.streams(), threads=threads)


def load_options(
    arrays: ModuleType,
    *,
    io: _core.IoOptions,
    map_location: Any = None,
    at: str = "",
    keep: Any = None,
    drop: Any = None,
    rename: Any = None,
    dtype: Any = None,
    verify: bool = False,
    mmap: bool = False,
    memory_limit: Any = None,
) -> _core.LoadOptions:
    """Returns the options of load(), which documents them. Raises TypeError for others."""
    return _core.LoadOptions(
        io=io,
        map_location=map_location_rules(map_location, arrays),
        select=selection(at, keep, drop, rename),
        dtype=None if dtype is None else arrays.dtype_name(dtype),
        mapped=bool(mmap),
        verify=bool(verify),
        memory_limits=_limits(memory_limit),
    )


def path_text(path: Any) -> str:
    return os.fsdecode(os.fspath(path))
