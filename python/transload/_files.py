"""What a caller may give for a file: a path, bytes in memory, or an open binary file object."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import _core
from ._options import path_text

_OF_THE_SYSTEM = (io.FileIO, io.BufferedReader, io.BufferedRandom)


def is_path(file: Any) -> bool:
    return isinstance(file, (str, os.PathLike))


def open_checkpoint(
    file: Any,
    *,
    refuse_objects: bool = False,
    keep_calls: bool = False,
    select: _core.Selection | None = None,
    values_by_name: bool = False,
) -> _core.Checkpoint:
    """Opens a path, bytes, bytearray, memoryview, or a file object with seek() and read() or
    readinto(). Reads headers. Of a model in shards, those must be there that have a tensor that
    `select` selects. Values outside of its `at` are not refused; with `values_by_name`, neither are
    those that its `keep` and `drop` leave out.

    Of a file object the bytes from its position on are meant, as torch.load has it; where they are
    not a model, all of its bytes. Bytes that lie in memory are not copied; a file on disk is read
    by its descriptor. The object is left where it was. Raises TypeError for anything else, and
    whatever the object raises.
    """
    options = _core.OpenOptions(
        refuse_objects=refuse_objects,
        keep_calls=keep_calls,
        select=select or _core.Selection(),
        values_by_name=values_by_name,
    )
    if is_path(file):
        path = path_text(file)
        with _filename_added(path):
            return _core.open(path, options)
    if isinstance(file, (bytes, bytearray, memoryview)):
        return _core.open(_core.File.of_buffer(file, f"<{type(file).__name__}>"), options)
    start = _position(file)
    source = _source_of(file)
    try:
        if 0 < start < source.nbytes:
            try:
                return _core.open(source.from_offset(start), options)
            except _core.FormatError:
                # A damaged file of torch.save is an error; other bytes are not meant.
                if source.from_offset(start).head(4) == b"PK\3\4":
                    raise
        return _core.open(source, options)
    finally:
        file.seek(start)


def moves_one_position(file: Any) -> bool:
    """Whether the bytes come through the object's own read(), which threads cannot do at the same
    time."""
    return (
        not is_path(file)
        and not isinstance(file, (bytes, bytearray, memoryview, io.BytesIO))
        and not _on_disk(file)
    )


@contextmanager
def _filename_added(path: str) -> Iterator[None]:
    try:
        yield
    except _core.IoError as error:
        if error.errno and error.filename is None:
            error.filename = path
        raise


def _position(file: Any) -> int:
    if isinstance(file, io.TextIOBase):
        raise TypeError('a file opened in text mode; open it in binary mode: open(path, "rb")')
    if not hasattr(file, "seek") or not (hasattr(file, "read") or hasattr(file, "readinto")):
        raise TypeError(
            f"a path, bytes, or a binary file object with seek() is expected, not {type(file).__name__}"
        )
    return file.tell() if hasattr(file, "tell") else file.seek(0, os.SEEK_CUR)


def _source_of(file: Any) -> _core.File:
    named = getattr(file, "name", None)
    name = named if isinstance(named, str) else f"<{type(file).__name__}>"
    if isinstance(file, io.BytesIO):
        return _core.File.of_buffer(file.getbuffer(), name)
    if _on_disk(file):
        if hasattr(file, "flush"):
            file.flush()
        try:
            return _core.File.at_path(f"/proc/self/fd/{file.fileno()}", name)
        except _core.IoError:  # no /proc, or the file may not be opened again
            pass
    return _core.File.of_object(file, name)


def _on_disk(file: Any) -> bool:
    """Whether its descriptor has the bytes that read() returns: not that of gzip, whose file is
    compressed."""
    inner = getattr(file, "file", file) if type(file).__module__ == "tempfile" else file
    raw = getattr(inner, "raw", inner)
    return type(inner) in _OF_THE_SYSTEM and type(raw) is io.FileIO
