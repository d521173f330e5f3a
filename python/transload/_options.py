"""Options as users write them, as the classes of the extension, which have the fields of the C++
library's options."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from types import ModuleType
from typing import Any

from . import _core

_NUMBERED_DEVICE = re.compile(r"[a-z]+:\d+")


def map_location_rules(
    map_location: Any, arrays: ModuleType, tags: Collection[str] = ()
) -> _core.MapLocation:
    """Returns the rules of a map_location as torch takes it: None, a text, a torch.device, a dict
    or a function. Rules over keys are taken too, in a dict ({"encoder.*": "cuda:0"}) or a list
    (["encoder.*:cuda:0", "cpu"]), and "auto". tags: the file's, which are any texts; a key of a
    dict that is one of them, or a device's name, is a tag."""
    rules = _core.MapLocation()
    _add_rules(rules, map_location, arrays, tags)
    return rules


def _add_rules(
    rules: _core.MapLocation, map_location: Any, arrays: ModuleType, tags: Collection[str]
) -> None:
    if map_location is None:
        return
    if isinstance(map_location, str):
        # "cuda" is torch's current device. Other devices, "auto", "a=b" and "glob:device" are as on
        # the command line.
        rules.add_text(arrays.device_of(map_location) if map_location == "cuda" else map_location)
    elif isinstance(map_location, Mapping):
        for key, place in map_location.items():
            add = rules.add_tag if _is_tag(str(key), tags) else rules.add_key
            add(str(key), arrays.device_of(place))
    elif callable(map_location):
        rules.add_function(arrays.called_as_torch_does(map_location))
    elif isinstance(map_location, Iterable):
        for item in map_location:
            _add_rules(rules, item, arrays, tags)
    else:
        rules.add_text(arrays.device_of(map_location))


def _is_tag(key: str, tags: Collection[str]) -> bool:
    # Extensions of torch have devices of any name: "npu:0".
    return key in tags or _core.is_torch_device(key) or bool(_NUMBERED_DEVICE.fullmatch(key))


def _texts(value: Any, option: str) -> list[str]:
    """Nothing, one text or several. Raises TypeError for anything else."""
    if value is None:
        return []
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, (bytes, Mapping)) or not isinstance(texts, Iterable):
        raise TypeError(f"{option}: expected a text or a list of texts, found {value!r}")
    texts = list(texts)
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"{option}: expected a text or a list of texts, found {text!r} in it")
    return texts


def _pairs(rename: Any) -> list[tuple[str, str]]:
    """The patterns and new names of a mapping, or of a list of pairs. Raises TypeError for anything
    else."""
    if rename is None:
        return []
    pairs = list(rename.items()) if isinstance(rename, Mapping) else rename
    if not isinstance(pairs, (list, tuple)) or not all(
        isinstance(pair, (list, tuple))
        and len(pair) == 2
        and all(isinstance(text, str) for text in pair)
        for pair in pairs
    ):
        raise TypeError(
            f'rename: expected a mapping of patterns to new names, as {{"module.*": "*"}}, '
            f"found {rename!r}"
        )
    return [(old, new) for old, new in pairs]


def warn_of_unused_rules(
    core: _core.Checkpoint,
    select: _core.Selection,
    map_location: _core.MapLocation | None = None,
    *,
    node: int | None = None,
    stacklevel: int,
) -> None:
    """Warns of rules that fit nothing in a file: a typing error, most likely. node: the part that
    is loaded. stacklevel: 1 for the caller of this function."""
    places = _core.MapLocation() if map_location is None else map_location
    for unused in core.unused_rules(select, places, node):
        warnings.warn(unused, stacklevel=stacklevel + 1)


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
    return _core.Selection(at=at, keep=_texts(keep, "keep"), drop=_texts(drop, "drop"), rename=_pairs(rename))


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
    tags: Collection[str] = (),
) -> _core.LoadOptions:
    """Returns the options of load(), which documents them. tags: the file's. Raises TypeError for
    others."""
    return _core.LoadOptions(
        io=io,
        map_location=map_location_rules(map_location, arrays, tags),
        select=selection(at, keep, drop, rename),
        dtype=None if dtype is None else arrays.dtype_name(dtype),
        mapped=bool(mmap),
        verify=bool(verify),
        memory_limits=_limits(memory_limit),
    )


def path_text(path: Any) -> str:
    return os.fsdecode(os.fspath(path))
