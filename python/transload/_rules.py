"""Options as users write them, as the plain values that the extension takes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

_DEVICE_TAG = re.compile(r"[a-z]+(:\d+)?")


def rules(map_location: Any, arrays: ModuleType) -> list[Any]:
    """map_location as torch takes it: None, a text, a torch.device, a dict or a function. Besides: rules over keys, in a
    dict ({"encoder.*": "cuda:0"}) or a list (["encoder.*:cuda:0", "cpu"]), and "auto"."""
    if map_location is None:
        return []
    if isinstance(map_location, str):
        # "cuda:1", "cuda" and "auto" are devices; "a=b" and "glob:device" rules, as on the command line
        return [arrays.device_of(map_location)] if map_location == "cuda" else [map_location]
    if isinstance(map_location, Mapping):
        return [_entry(key, place, arrays) for key, place in map_location.items()]
    if callable(map_location):
        return [("function", "", arrays.called_as_torch_does(map_location))]
    if isinstance(map_location, Iterable):
        return [rule for item in map_location for rule in rules(item, arrays)]
    return [arrays.device_of(map_location)]


def _entry(key: Any, place: Any, arrays: ModuleType) -> tuple[str, str, str | None]:
    key = str(key)
    return ("tag" if _DEVICE_TAG.fullmatch(key) else "key", key, arrays.device_of(place))


def texts(value: Any) -> list[str]:
    """Nothing, one pattern or several."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(item) for item in value]


def limits(memory_limit: Any, devices: list[str]) -> list[tuple[str, int]]:
    """Bytes that a load may take: of each device, or by device."""
    if memory_limit is None:
        return []
    if isinstance(memory_limit, Mapping):
        return [("cuda:0" if str(device) == "cuda" else str(device), int(nbytes)) for device, nbytes in memory_limit.items()]
    return [(device, int(memory_limit)) for device in devices if device != "meta"]


def pairs(rename: Any) -> list[tuple[str, str]]:
    if rename is None:
        return []
    return list(rename.items() if isinstance(rename, Mapping) else rename)


def options(
    arrays: ModuleType,
    devices: list[str],
    *,
    map_location: Any = None,
    at: str = "",
    keep: Any = None,
    drop: Any = None,
    rename: Any = None,
    dtype: Any = None,
    verify: bool = False,
    mmap: bool = False,
    memory_limit: Any = None,
    progress: Callable[[int, int], object] | None = None,
    **more: Any,
) -> dict[str, Any]:
    return {
        "map_location": rules(map_location, arrays),
        "at": at,
        "keep": texts(keep),
        "drop": texts(drop),
        "rename": pairs(rename),
        "dtype": None if dtype is None else arrays.dtype_name(dtype),
        "verify": verify,
        "mapped": mmap,
        "memory_limits": limits(memory_limit, devices),
        "progress": progress,
        "streams": arrays.streams(),
        **more,
    }


def path_text(path: Any) -> str:
    return os.fsdecode(os.fspath(path))
