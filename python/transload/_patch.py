"""patch_torch(): existing code that calls torch.load and torch.save goes through transload. What is
served and what is left to torch, and why, is decided here and in _patch_rules.py."""

from __future__ import annotations

import errno
import functools
import os
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from . import _core
from ._files import is_path, open_checkpoint
from ._load import load_opened
from ._object import holds_inert
from ._patch_rules import OBJECTS, Left, require_loadable, require_saveable, require_served_classes
from ._save import save

# Nothing was written then, and torch may write into a file that is there.
_CANNOT_BEGIN = (errno.EACCES, errno.EISDIR, errno.ENOENT, errno.ENOTDIR, errno.EPERM, errno.EROFS)
_lock = threading.Lock()
_standing: list[patch_torch] = []  # the last one serves and counts
_installed: _Installed | None = None


class patch_torch:
    """Makes torch.load and torch.save go through transload where the arguments, torch's settings
    and the file allow it; torch's own code runs otherwise. Ends with undo(), or as a context
    manager with the block. Several may stand at the same time, and end in any order: the last one
    that stands counts the calls.

    `loaded` and `saved` count the calls that went through transload, `served` is their sum;
    `left_to_torch` counts the others, `reasons` by the reason, in the words of
    docs/from_torch_load.md, and `reason` says more of the last one.
    """

    def __init__(self) -> None:
        global _installed
        self.loaded = self.saved = self.left_to_torch = 0
        self.reason = ""
        self.reasons: Counter[str] = Counter()
        with _lock:
            if _installed is None:
                _installed = _Installed()
            _standing.append(self)

    @property
    def served(self) -> int:
        """The number of calls that went through transload."""
        return self.loaded + self.saved

    def undo(self) -> None:
        """Ends this patch. Puts torch's own functions back if no other stands. A second call does
        nothing."""
        global _installed
        with _lock:
            if self in _standing:
                _standing.remove(self)
                if not _standing and _installed is not None:
                    _installed.remove()
                    _installed = None

    def __enter__(self) -> patch_torch:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def _leave(self, left: Left) -> None:
        self.left_to_torch += 1
        self.reasons[left.reason] += 1
        self.reason = f"{left.reason}: {left.details}" if left.details else left.reason


class _Installed:
    """The functions in torch's place. torch.serialization has them too: pickle looks there for
    them, when torch.load is handed to another process."""

    def __init__(self) -> None:
        import torch

        self._places = [(torch, "load"), (torch, "save")]
        if torch.serialization.load is torch.load and torch.serialization.save is torch.save:
            self._places += [(torch.serialization, "load"), (torch.serialization, "save")]
        self._before = [getattr(module, name) for module, name in self._places]
        ours = {"load": _patched(torch.load, _load), "save": _patched(torch.save, _save)}
        self._ours = [ours[name] for _, name in self._places]
        for (module, name), function in zip(self._places, self._ours):
            setattr(module, name, function)

    def remove(self) -> None:
        """Puts the functions back that stood there, except where somebody has replaced ours."""
        for (module, name), ours, before in zip(self._places, self._ours, self._before):
            if getattr(module, name) is ours:
                setattr(module, name, before)


def _patched(own: Callable[..., Any], serve: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that looks like torch's own, which it calls for what is left to it."""

    @functools.wraps(own)
    def function(*args: Any, **options: Any) -> Any:
        patch = _standing[-1] if _standing else None
        if patch is None:  # somebody holds on to this function
            return own(*args, **options)
        try:
            return serve(patch, *args, **options)
        except Left as left:
            patch._leave(left)
        return own(*args, **options)

    return function


def _load(
    patch: patch_torch,
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Raises Left where torch has to load it, with the file object where it was."""
    chosen = require_loadable(f, map_location, pickle_module, weights_only, mmap, pickle_load_args)
    try:
        core = open_checkpoint(f)
        require_served_classes(core, f, chosen)
        found = load_opened(core, f, map_location, mmap=chosen.mapped)
    except _core.UnsafePickleError as error:
        raise Left(OBJECTS, error) from error
    except (_core.Error, OSError, TypeError, ValueError) as error:
        raise Left("a file that transload refuses", error) from error
    if chosen.has_numpy and holds_inert(found):
        raise Left(OBJECTS, "of NumPy")
    if not is_path(f):
        f.seek(0, os.SEEK_END)  # torch leaves it somewhere behind the first member
    patch.loaded += 1
    return found


def _save(
    patch: patch_torch,
    obj: Any,
    f: Any,
    pickle_module: Any = None,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Raises Left where torch has to save it, before anything is written."""
    require_saveable(
        f,
        pickle_module,
        pickle_protocol,
        _use_new_zipfile_serialization and not _disable_byteorder_record,
    )
    try:
        save(obj, f, format="torch_zip")
    except (_core.UnsupportedError, _core.UnsafePickleError) as error:
        raise Left(OBJECTS, error) from error
    except _core.IoError as error:
        if not is_path(f) or error.errno not in _CANNOT_BEGIN:
            raise
        raise Left("a file that cannot be replaced", error) from error
    patch.saved += 1
