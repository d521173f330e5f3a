"""patch_torch(): existing code that calls torch.load and torch.save goes through transload."""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any

from . import _core
from ._load import load, save
from ._object import Name, Object


class patch_torch:
    """Makes torch.load and torch.save go through transload where the arguments and the file allow
    it; torch's own code runs otherwise. Ends with undo(), or as a context manager with the block.

    `loaded` and `saved` count the calls that went through transload, `left_to_torch` the others,
    and `reason` says why the last of those did not.
    """

    def __init__(self) -> None:
        import torch

        self.loaded = self.saved = self.left_to_torch = 0
        self.reason = ""
        self._torch = torch
        self._load, self._save = torch.load, torch.save

        @functools.wraps(self._load)
        def patched_load(*args: Any, **options: Any) -> Any:
            return self._patched_load(*args, **options)

        @functools.wraps(self._save)
        def patched_save(*args: Any, **options: Any) -> None:
            self._patched_save(*args, **options)

        torch.load, torch.save = patched_load, patched_save

    def undo(self) -> None:
        """Puts torch's own functions back."""
        self._torch.load, self._torch.save = self._load, self._save

    def __enter__(self) -> patch_torch:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def _leave(self, reason: object) -> None:
        self.left_to_torch += 1
        self.reason = str(reason)

    def _patched_load(
        self,
        f: Any,
        map_location: Any = None,
        pickle_module: Any = None,
        *,
        weights_only: bool | None = None,
        mmap: bool | None = None,
        **pickle_load_args: Any,
    ) -> Any:
        def by_torch(reason: object) -> Any:
            self._leave(reason)
            return self._load(
                f,
                map_location,
                pickle_module,
                weights_only=weights_only,
                mmap=mmap,
                **pickle_load_args,
            )

        if pickle_module is not None or pickle_load_args:
            return by_torch("a pickle module or its arguments")
        is_path = isinstance(f, (str, os.PathLike))
        if not is_path and (not hasattr(f, "read") or not hasattr(f, "tell") or mmap):
            return by_torch("a file object that cannot be mapped, or has no position")
        if not is_path and f.tell() != 0 and not _is_at_archive(f):
            return by_torch("a file object that is not at the beginning of an archive")
        if mmap is None:
            mmap = importlib.import_module("torch.utils.serialization").config.load.mmap
        device = self._torch.get_default_device()
        if device.type == "meta" or _active_modes(self._torch):
            return by_torch(f"a default device or mode that torch applies: {device}")
        try:
            # torch maps only files that it opens itself.
            found = load(f, map_location, mmap=bool(mmap) and is_path)
        except (_core.Error, OSError, TypeError, ValueError) as error:
            return by_torch(error)
        if _holds_objects(found):
            return by_torch("objects of classes that are not plain data")
        if not is_path:
            f.seek(0, os.SEEK_END)  # torch leaves it somewhere behind the first member
        self.loaded += 1
        return found

    def _patched_save(
        self,
        obj: Any,
        f: Any,
        pickle_module: Any = None,
        pickle_protocol: int = 2,
        _use_new_zipfile_serialization: bool = True,
        _disable_byteorder_record: bool = False,
    ) -> None:
        def by_torch(reason: object) -> None:
            self._leave(reason)
            chosen = {} if pickle_module is None else {"pickle_module": pickle_module}
            self._save(
                obj,
                f,
                pickle_protocol=pickle_protocol,
                _use_new_zipfile_serialization=_use_new_zipfile_serialization,
                _disable_byteorder_record=_disable_byteorder_record,
                **chosen,
            )

        if (
            pickle_module is not None
            or not _use_new_zipfile_serialization
            or _disable_byteorder_record
        ):
            return by_torch("an older format, or another pickle module")
        if not isinstance(f, (str, os.PathLike)):
            return by_torch("a file object: only a named file can be replaced whole")
        if pickle_protocol != 2 or _skips_data(self._torch):
            return by_torch("another pickle protocol, or skip_data")
        try:
            save(obj, f, format="torch_zip")
        except (_core.UnsupportedError, _core.UnsafePickleError) as error:
            return by_torch(error)
        self.saved += 1
        return None


def _is_at_archive(file: Any) -> bool:
    start = file.tell()
    begins = file.read(4)
    file.seek(start)
    return begins == b"PK\3\4"


def _active_modes(torch: Any) -> bool:
    modes = torch.overrides._get_current_function_mode_stack()
    return any(type(mode).__name__ != "DeviceContext" for mode in modes) or bool(
        torch.utils._python_dispatch._get_current_dispatch_mode()
    )


def _skips_data(torch: Any) -> bool:
    return bool(torch.serialization._serialization_tls.skip_data) or bool(
        torch.serialization._serialization_tls.materialize_fake_tensors
    )


def _holds_objects(found: Any) -> bool:
    """Returns whether anything below is an inert object, which torch would have refused or made."""
    stack, seen = [found], set()
    while stack:
        value = stack.pop()
        if isinstance(value, (Object, Name)):
            return True
        if isinstance(value, (dict, list, tuple, set, frozenset)) and id(value) not in seen:
            seen.add(id(value))
            stack.extend(value)
            if isinstance(value, dict):
                stack.extend(value.values())
    return False
