"""load, load_into, save."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from . import _core
from ._arrays import array_library
from ._core import DeviceError
from ._files import as_path
from ._progress import shown
from ._rules import options, path_text


class FillResult(NamedTuple):
    """What load_state_dict returns: keys only the live model has, and keys only the file has."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"FillResult(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"

    __str__ = __repr__


def load(
    path: str | os.PathLike[str] | Any,
    map_location: Any = None,
    *,
    at: str = "",
    keys: list[str] | None = None,
    keep: str | list[str] | None = None,
    drop: str | list[str] | None = None,
    rename: Mapping[str, str] | None = None,
    dtype: Any = None,
    verify: bool = False,
    mmap: bool = False,
    memory_limit: int | Mapping[Any, int] | None = None,
    progress: Callable[[int, int], object] | bool | None = None,
    refuse_objects: bool = False,
    keep_calls: bool = False,
) -> Any:
    """What a file holds: what torch.load(path, weights_only=True) returns, each storage once, straight on its device.

    path: a file, or a binary file object (in memory: it is copied).
    map_location: as torch's (None: where it was saved), and rules over keys: {"encoder.*": "cuda:0"}, "auto".
    at: the part of a checkpoint that is meant: "model_state_dict". Names begin there.
    keys: these tensors, by name (KeyError if one is not there); keep, drop: patterns of names, where * stands for any
        text. A name is the keys from the root, joined by "/". Values that are no tensors stay.
    rename: {"module.*": "*"} strips a prefix.
    dtype: that floating point tensors are cast to, on their way.
    verify: compare bytes with the file's checksums on the way; FormatError names what differs.
    mmap: on the CPU, map the file instead of reading it.
    memory_limit: bytes that the load may take of each device, or {device: bytes}.
    progress: a function (bytes done, bytes in all), called about ten times a second; True: a bar.
    refuse_objects: UnsafePickleError for objects of classes that are not plain data; else they are kept, inert.
    keep_calls: calls of what runs code, as os.system, are kept as inert objects; else they are an UnsafePickleError.

    Raises IoError, FormatError, UnsupportedError, UnsafePickleError, PlacementError, DeviceError. A failure, Ctrl-C
    too, leaves nothing behind. The GIL is released while bytes move.
    """
    arrays = array_library()
    with as_path(path) as file, shown(progress, "loading") as show:
        index = _core.open(file, refuse_objects, keep_calls)
        if keys is not None:
            _require_keys(index, at, keys)
            keep = list(keep or []) + list(keys) if not isinstance(keep, str) else [keep, *keys]
        chosen = options(
            arrays,
            _core.devices() if memory_limit is not None else [],
            map_location=map_location,
            at=at,
            keep=keep,
            drop=drop,
            rename=rename,
            dtype=dtype,
            verify=verify,
            mmap=mmap,
            memory_limit=memory_limit,
            progress=show,
        )
        if keys is not None and not chosen["keep"]:
            chosen["drop"] = ["*"]
        with arrays.loading(map_location):
            return _with_cache_given_back(arrays, lambda: index.load(arrays, chosen))


def _require_keys(index: Any, at: str, keys: list[str]) -> None:
    part = at + "/" if at else ""
    there = {name[len(part) :] for name, _ in index.tensors() if name.startswith(part)}
    for key in keys:
        if key not in there:
            raise KeyError(f"no tensor {key!r} in the file; it has {len(there)}: {', '.join(sorted(there)[:5])}, …")


def _with_cache_given_back(arrays: ModuleType, work: Callable[[], Any]) -> Any:
    """What torch keeps for reuse is free for us too: it is given back before a device counts as full."""
    try:
        return work()
    except DeviceError:
        if not arrays.empty_cache():
            raise
    return work()


def load_into(
    live: Any,
    path: str | os.PathLike[str] | Any,
    strict: bool = True,
    *,
    at: str = "",
    keep: str | list[str] | None = None,
    drop: str | list[str] | None = None,
    rename: Mapping[str, str] | None = None,
    verify: bool = False,
    transactional: bool = False,
    progress: Callable[[int, int], object] | bool | None = None,
) -> FillResult:
    """Fills a live module, state dict or optimizer from a file: in place, on whatever device each tensor is, cast to its
    dtype, by its strides. No second copy anywhere.

    live: a torch.nn.Module (parameters and persistent buffers), a torch.optim.Optimizer, or a dict of tensors.
    at: the part of a checkpoint that is meant: "model_state_dict".
    strict: missing and unexpected keys are a MismatchError, as are shapes that differ; all of them are listed, before a
        byte moves.
    keep, drop, rename: of the file's tensors, as load() has them, before they are matched.
    verify: compare the file's bytes with its checksums first.
    transactional: load everything beside the live tensors first, so that a failure changes nothing.

    Ordered after torch's current streams. A failure while bytes move raises an error that lists which keys are new,
    which torn and which untouched.
    """
    arrays = array_library()
    with as_path(path) as file, shown(progress, "loading") as show:
        chosen = options(
            arrays,
            [],
            keep=keep,
            drop=drop,
            rename=rename,
            verify=verify,
            progress=show,
            at=at,
            strict=strict,
            transactional=transactional,
        )
        if _is_instance_of(live, "torch.nn", "Module"):
            from ._module import fill_module

            return FillResult(*fill_module(live, file, chosen, arrays))
        if _is_instance_of(live, "torch.optim", "Optimizer"):
            from ._module import fill_optimizer

            return FillResult(*fill_optimizer(live, file, chosen, arrays))
        if isinstance(live, Mapping):
            return FillResult(*fill(flat(live, arrays), _core.open(file, False, False), chosen, arrays))
        raise TypeError(f"cannot be filled: {type(live).__name__}; a module, optimizer or dict of tensors can")


def _is_instance_of(o: Any, module: str, name: str) -> bool:
    import sys

    return module in sys.modules and isinstance(o, getattr(sys.modules[module], name))


def flat(live: Mapping[Any, Any], arrays: ModuleType, prefix: str = "") -> dict[str, Any]:
    """Tensors by name, "/" between levels."""
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


def fill(live: Mapping[str, Any], index: Any, chosen: dict[str, Any], arrays: ModuleType) -> tuple[list[str], list[str]]:
    tensors = list(live.values())
    descriptions = [arrays.describe_tensor(tensor) for tensor in tensors]
    result = _with_cache_given_back(arrays, lambda: index.fill(list(live), descriptions, chosen))
    arrays.filled(tensors)
    return result


def save(
    obj: Any,
    path: str | os.PathLike[str],
    *,
    format: str = "",
    compact: bool = False,
    allow_objects: bool = False,
    map_location: Any = None,
    metadata: Mapping[str, str] | None = None,
    progress: Callable[[int, int], object] | bool | None = None,
) -> int:
    """Writes what load() gives: dicts, lists, plain values and tensors, on one device or several. torch.load opens it.

    format: "torch_zip" or "safetensors"; empty: safetensors for that suffix, else torch_zip.
    compact: a tensor that uses a part of its storage is saved without the rest.
    allow_objects: write objects of other classes too, as pickle does; without, they are an UnsafePickleError.
    map_location: the tags to write, instead of the devices that the tensors are on.
    metadata: of safetensors, texts by name.

    Written beside the target, synced, renamed over it, the folder synced: a crash at any moment leaves the old file or
    the new one, whole. Returns the file's size in bytes. Raises before anything is written if the format cannot hold
    the object. No other thread may change the tensors meanwhile.
    """
    arrays = array_library()
    with shown(progress, "saving") as show:
        chosen = options(
            arrays,
            [],
            map_location=map_location,
            progress=show,
            format=format,
            compact=compact,
            allow_objects=allow_objects,
            metadata=[(str(key), str(value)) for key, value in (metadata or {}).items()],
        )
        nbytes, leftovers = _core.save(obj, path_text(path), arrays, chosen)
    if leftovers:
        import warnings

        warnings.warn(f"saves that were killed have left {', '.join(leftovers)}; they can be removed", stacklevel=2)
    return nbytes


