"""save(): to a path, or to a file object."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from . import _core
from ._arrays import array_library
from ._dtensor import dtensors
from ._files import is_path
from ._options import io_options, map_location_rules, path_text
from ._progress import shown

# Python's own objects, which do not hold on to what they are given to write.
_COPY_WHAT_IS_WRITTEN = (io.BytesIO, io.FileIO, io.BufferedWriter, io.BufferedRandom)


def save(
    obj: Any,
    path: str | os.PathLike[str] | Any,
    *,
    format: str = "",
    values: str = "keep",
    compact: bool = False,
    allow_objects: bool = False,
    map_location: Any = None,
    metadata: Mapping[str, str] | None = None,
    in_place: bool = False,
    progress: Callable[[int, int], object] | bool | None = None,
) -> int:
    """Writes what load() returns: dicts, lists, plain values and tensors, on one device or several.
    torch.load opens it.

    path: a path, or a binary file object with write(), which is written from its position on.
    format: "torch_zip" or "safetensors", under any name; empty: safetensors for that suffix, else
        torch_zip. A suffix of a format that is not written, as .onnx, is an UnsupportedError.
    values: "keep" writes what is not a tensor too; "drop" leaves it out, as safetensors needs it.
    compact: a tensor that uses a part of its storage is saved without the rest.
    allow_objects: write objects of other classes too, as pickle does; without, they are an
        UnsafePickleError.
    map_location: the tags to write, instead of the devices that the tensors are on.
    metadata: of safetensors, texts by name.
    in_place: write into the existing file instead of replacing it, which keeps its hard links and
        works where it cannot be replaced: it is mounted by itself, or its folder is not writable.
        A crash while the bytes are copied loses the old file.
    progress: as load() has it.

    A path is written beside the target, synced, renamed over it, the folder synced: a crash at any
    moment leaves the old file or the new one, whole. The new file gets the owner, mode, ACL and
    extended attributes of the old one; a warning names what cannot be kept. Links are followed; a
    pipe or a device gets the bytes in order. What a file object was given before a failure stays.
    Returns the file's size in bytes. Raises before anything is written if the format cannot
    hold the object. No other thread may change the tensors meanwhile.
    """
    arrays = array_library()
    with shown(progress, "saving") as show:
        options = _core.SaveOptions(
            io=io_options(arrays, show),
            format=format,
            values=values,
            compact=compact,
            allow_objects=allow_objects,
            map_location=map_location_rules(map_location, arrays),
            metadata={str(key): str(value) for key, value in (metadata or {}).items()},
            in_place=in_place,
        )
        if not is_path(path):
            if in_place:
                raise TypeError("in_place writes over an existing file: it needs a path")
            with _dtensor_named(obj):
                return _save_to_object(obj, path, arrays, options)
        target = path_text(path)
        try:
            with _dtensor_named(obj):
                nbytes, leftovers, not_kept = _core.save(obj, target, arrays, options)
        except _core.IoError as error:
            if error.errno and error.filename is None:
                error.filename = target
            raise
    if leftovers:
        warnings.warn(
            f"saves that were killed have left {', '.join(leftovers)}, which cannot be removed",
            stacklevel=2,
        )
    if not_kept:
        warnings.warn(f"{target} does not keep {', '.join(not_kept)}", stacklevel=2)
    return nbytes


@contextmanager
def _dtensor_named(obj: Any) -> Iterator[None]:
    """Names the DTensor if that is why an object cannot be saved."""
    try:
        yield
    except (_core.UnsafePickleError, _core.UnsupportedError) as error:
        sharded = next(dtensors(obj), None)
        if sharded is None:
            raise
        raise type(error)(
            f'"{sharded}" is a DTensor, which this rank holds a shard of; save its full_tensor() or '
            "to_local(), or what torch.distributed.checkpoint.state_dict.get_model_state_dict() "
            "returns with StateDictOptions(full_state_dict=True). Nothing was written"
        ) from error


def _save_to_object(obj: Any, file: Any, arrays: ModuleType, options: _core.SaveOptions) -> int:
    is_text = isinstance(file, io.TextIOBase)
    if is_text or not callable(getattr(file, "write", None)):
        found = "a file opened in text mode" if is_text else type(file).__name__
        raise TypeError(f"a path or a binary file object with write() is expected, not {found}")
    nbytes: int = _core.save_stream(obj, _writer(file), arrays, options)
    if callable(getattr(file, "flush", None)):
        file.flush()
    return nbytes


def _writer(file: Any) -> Callable[[memoryview], None]:
    """Returns a function that writes all of a view, which is valid until it returns. An object of
    which nothing is known is given bytes, which it may keep."""
    inner = getattr(file, "file", file) if type(file).__module__ == "tempfile" else file
    is_view_enough = type(inner) in _COPY_WHAT_IS_WRITTEN

    def write(view: memoryview) -> None:
        while len(view):
            done = file.write(view if is_view_enough else bytes(view))
            if type(done) is not int or not 0 <= done < len(view):
                return  # objects that return nothing write all
            if done == 0:
                raise _core.IoError(f"{type(file).__name__}: write() took none of {len(view)} bytes")
            view = view[done:]

    return write
