"""load, load_into."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from . import _core
from ._arrays import array_library
from ._dtensor import local_part, require_shards
from ._files import moves_one_position, open_checkpoint
from ._fill import Filling, FillResult, flat, with_cache_given_back
from ._options import (
    _pairs,
    _texts,
    io_options,
    load_options,
    selection,
    warn_of_unused_rules,
)
from ._progress import shown


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
    """Returns what a file holds, as torch.load(path, weights_only=True) does: each storage once,
    straight on its device.

    path: a path, a file's bytes, or a binary file object with seek(), read from its position on,
        which stays. What lies in memory is not copied; what only read() returns, as of gzip.open(),
        is read by one thread.
    map_location: as torch's (None: where it was saved), and rules over keys:
        {"encoder.*": "cuda:0"}, "auto". A key of a dict that is a tag of the file, or a device's
        name, is where storages were saved; any other is a pattern of tensors' names.
    at: the part of a checkpoint that is meant: "model_state_dict". Names begin there. Where it is a
        module that was pickled whole, its state dict is returned; so it is for a file that holds a
        module.
    keys: these tensors, by name (KeyError if one is not there); keep, drop: patterns of names,
        where * stands for any text. A name is the keys from the root, joined by "/". Values that
        are not tensors stay. Of a model in shards only the files that hold these need be there.
    rename: {"module.*": "*"} strips a prefix, {"*._orig_mod.*": "*.*"} a part in the middle: the
        n-th * of the new name is what the n-th * of the pattern stands for. The first pattern that
        fits renames.
    dtype: that floating point tensors are cast to, on their way.
    verify: compare bytes with the file's checksums on the way; FormatError names what differs.
    mmap: on the CPU, map the file instead of reading it.
    memory_limit: bytes that the load may take of each device, or {device: bytes}.
    progress: a function (bytes done, bytes in all), called about ten times a second; True: a bar.
    refuse_objects: UnsafePickleError for objects of classes that are not plain data; else they are
        kept, inert. What `at` leaves out is not refused.
    keep_calls: calls of what runs code, as os.system, are kept as inert objects; else they are an
        UnsafePickleError.

    A pattern that fits nothing in the file is a UserWarning. Raises IoError, FormatError,
    UnsupportedError, UnsafePickleError, PlacementError, DeviceError, and what a file object raises. A failure, Ctrl-C too, leaves nothing behind. The GIL is released
    while bytes move.
    """
    arrays = array_library()
    with shown(progress, "loading") as show:
        keep, drop = _texts(keep, "keep"), _texts(drop, "drop")
        chosen = selection(at, keep, drop, rename)
        names = _texts(keys, "keys")
        if keys is not None:
            keep = keep + names
            drop = drop if keep else drop + ["*"]
        core = open_checkpoint(
            path,
            refuse_objects=refuse_objects,
            keep_calls=keep_calls,
            select=selection(at, keep, drop),
        )
        if keys is not None:
            _require_keys(core, at, names)
        options = load_options(
            arrays,
            io=io_options(arrays, show, 1 if moves_one_position(path) else 0),
            map_location=map_location,
            at=at,
            keep=keep,
            drop=drop,
            rename=rename,
            dtype=dtype,
            verify=verify,
            mmap=mmap,
            memory_limit=memory_limit,
            tags=core.locations,
        )
        warn_of_unused_rules(core, chosen, options.map_location, stacklevel=2)
        with arrays.loading(map_location), _position_kept(path):
            return with_cache_given_back(arrays, lambda: core.load(arrays, options))


def load_opened(core: _core.Checkpoint, file: Any, map_location: Any, *, mmap: bool) -> Any:
    """Returns all of what load() has opened."""
    arrays = array_library()
    with shown(None, "loading") as show:
        io = io_options(arrays, show, 1 if moves_one_position(file) else 0)
        options = load_options(arrays, io=io, map_location=map_location, mmap=mmap)
        with arrays.loading(map_location), _position_kept(file):
            return with_cache_given_back(arrays, lambda: core.load(arrays, options))


def _require_keys(core: _core.Checkpoint, at: str, keys: list[str]) -> None:
    part = at + "/" if at else ""
    there = {name[len(part) :] for name, _ in core.tensors() if name.startswith(part)}
    for key in keys:
        if key not in there:
            raise KeyError(
                f"no tensor {key!r} in the file; it has {len(there)}: {', '.join(sorted(there)[:5])}, …"
            )


class _position_kept:
    """Leaves a file object where it was: the body may read it."""

    def __init__(self, file: Any) -> None:
        self._file = file if moves_one_position(file) else None

    def __enter__(self) -> None:
        if self._file is not None:
            self._position = self._file.tell()

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.seek(self._position)


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
    refuse_objects: bool = False,
    keep_calls: bool = False,
) -> FillResult:
    """Fills a live module, state dict or optimizer from a file: in place, on whatever device each
    tensor is, cast to its dtype, by its strides. No second copy anywhere.

    live: a torch.nn.Module (parameters, persistent buffers, extra state), a torch.optim.Optimizer,
        a dict of tensors, or any other object with a load_state_dict, such as a scheduler.
    path: as load() takes it.
    at: the part of a checkpoint that is meant: "model_state_dict".
    strict: missing and unexpected keys are a MismatchError, as are shapes that differ; all of them
        are listed, before a byte moves. A key is not missing if another key fills its memory (tied
        weights).
    keep, drop, rename: of the file's tensors, as load() has them, before they are matched.
    verify: compare the file's bytes with its checksums first.
    transactional: load everything beside the live tensors first, so that a failure changes nothing.
    progress: as load() has it.
    refuse_objects, keep_calls: as load() has them. What at, keep and drop leave out is not refused.

    A module with hooks, or a _load_from_state_dict or load_state_dict of its own, is filled by its
    load_state_dict, from tensors that are read to host memory. Its parameters and buffers are
    copied there first, and put back if that fails; what else its code has changed by then stays. An
    optimizer with hooks or a load_state_dict of its own is filled by that, and so is any other
    object; with `transactional` its state is put back if it fails.

    DTensors are filled by their local shards, where the file has tensors of those shapes.

    Ordered after torch's current streams. A failure while bytes move raises an error that lists
    which keys are new, which torn and which untouched. Raises MismatchError, and as load().
    """
    arrays = array_library()
    is_module = _is_a(live, "torch.nn", "Module")
    is_optimizer = _is_a(live, "torch.optim", "Optimizer")
    is_other = not isinstance(live, Mapping) and callable(getattr(live, "load_state_dict", None))
    if not (is_module or is_optimizer or is_other or isinstance(live, Mapping)):
        raise TypeError(
            f"cannot be filled: {type(live).__name__}; a module, an optimizer, a dict of tensors "
            "or an object with a load_state_dict can"
        )
    with shown(progress, "loading") as show, _position_kept(path):
        core = open_checkpoint(
            path,
            refuse_objects=refuse_objects,
            keep_calls=keep_calls,
            select=selection(at, keep, drop),
            values_by_name=True,
        )
        warn_of_unused_rules(core, selection(at, keep, drop, rename), stacklevel=2)
        filling = Filling(
            core,
            arrays,
            at=at,
            strict=strict,
            keep=_texts(keep, "keep"),
            drop=_texts(drop, "drop"),
            rename=_pairs(rename),
            verify=verify,
            transactional=transactional,
            progress=show,
            threads=1 if moves_one_position(path) else 0,
        )
        if is_module:
            from ._module import fill_module

            return fill_module(live, filling)
        if is_optimizer:
            from ._optimizer import fill_optimizer

            return fill_optimizer(live, filling)
        if is_other:
            from ._optimizer import fill_by_load_state_dict

            return fill_by_load_state_dict(live, filling)
        named = flat(live, arrays, dtensors_too=True)
        require_shards(named, lambda: flat(filling.load("meta"), arrays))
        return filling.fill({name: local_part(tensor) for name, tensor in named.items()})


def _is_a(o: Any, module: str, name: str) -> bool:
    """isinstance() without importing the module."""
    return module in sys.modules and isinstance(o, getattr(sys.modules[module], name))
