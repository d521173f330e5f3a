"""Which calls of torch.load and torch.save transload serves under patch_torch(). All others are
left to torch: see the table in docs/from_torch_load.md, which has the reasons in these words."""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import dataclass
from mmap import MAP_PRIVATE
from typing import Any

from . import _core
from ._files import is_path
from ._installed import installed

OBJECTS = "objects of classes that are not plain data"
_YES = ("1", "y", "yes", "true")


class Left(Exception):
    """A call is left to torch, for a reason of the table; the details differ from call to call."""

    def __init__(self, reason: str, details: object = "") -> None:
        super().__init__(reason, details)
        self.reason, self.details = reason, str(details)


@dataclass
class Chosen:
    """What torch would make of the arguments and its settings."""

    weights_only: bool
    mapped: bool
    of_safetensors: bool
    has_numpy: bool = False  # of a file: NumPy's objects, which may be of kinds that stay inert


def require_loadable(
    f: Any,
    map_location: Any,
    pickle_module: Any,
    weights_only: bool | None,
    mmap: bool | None,
    pickle_load_args: dict[str, Any],
) -> Chosen:
    """Returns how torch.load would load this. Raises Left if transload does not serve it."""
    import torch

    if pickle_module not in (None, pickle) or pickle_load_args:
        raise Left("a pickle module, or arguments for it")
    only = _weights_only(weights_only, pickle_module)
    if not is_path(f):
        _require_at_archive(f)
    config = _config(torch)
    mapped = bool(config.load.mmap if mmap is None and config else mmap)
    of_safetensors = is_path(f) and os.fsdecode(f).endswith(".safetensors")
    if mapped and not is_path(f):
        raise Left("a file object with mmap=True")
    _require_defaults(torch, mapped)
    if _names_meta(map_location):
        raise Left("map_location meta", "torch notes where the bytes are")
    if of_safetensors and (isinstance(map_location, dict) or callable(map_location)):
        raise Left("a safetensors file with a map_location that torch refuses")
    return Chosen(only, mapped and not of_safetensors, of_safetensors)


def _weights_only(weights_only: bool | None, pickle_module: Any) -> bool:
    """As torch.load decides it, with its environment variables."""
    forced = os.getenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0").lower() in _YES
    never = os.getenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0").lower() in _YES
    if never and (forced or weights_only is None):
        raise Left("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set")
    only = forced or (pickle_module is None if weights_only is None else bool(weights_only))
    if only and pickle_module is not None:
        raise Left("a pickle module, or arguments for it")
    return only


def _require_at_archive(f: Any) -> None:
    """Raises Left unless a file object is at the beginning of a zip archive. Leaves it where it
    was."""
    if not all(callable(getattr(f, name, None)) for name in ("read", "readline", "tell", "seek")):
        raise Left("a file object without read, readline, tell or seek")
    try:
        start = f.tell()
        f.seek(start)
    except Exception as error:  # torch has an error of its own for it
        raise Left("a file object without read, readline, tell or seek", error) from error
    begins = f.read(4)
    f.seek(start)
    if begins != b"PK\3\4":
        raise Left("a file object that is not at the beginning of a zip archive")


def _require_defaults(torch: Any, mapped: bool) -> None:
    serialization, config = torch.serialization, _config(torch)
    device = torch.get_default_device()
    if device.type == "meta" or _has_modes(torch):
        raise Left("a default device or mode that torch applies", device)
    if _skips_data(torch):
        raise Left("skip_data")
    order = serialization.get_default_load_endianness()
    if order is not None and order.name not in ("LITTLE", "NATIVE" if _is_little() else ""):
        raise Left("another default byte order", order)
    # Older PyTorch has no such settings.
    flags = getattr(serialization, "get_default_mmap_options", lambda: MAP_PRIVATE)()
    if mapped and flags != MAP_PRIVATE:
        raise Left("other mmap options", flags)
    if mapped and config and getattr(config.load, "calculate_storage_offsets", False):
        raise Left("calculate_storage_offsets")
    if _has_packages(serialization):
        raise Left("a package that was registered")


def _is_little() -> bool:
    return sys.byteorder == "little"


def _config(torch: Any) -> Any:
    """torch.utils.serialization.config; None before PyTorch 2.6."""
    try:
        from torch.utils.serialization import config
    except ImportError:
        return None
    return config


def _has_modes(torch: Any) -> bool:
    modes = torch.overrides._get_current_function_mode_stack()
    return any(type(mode).__name__ != "DeviceContext" for mode in modes) or bool(
        torch.utils._python_dispatch._get_current_dispatch_mode()
    )


def _skips_data(torch: Any) -> bool:
    local = torch.serialization._serialization_tls
    names = ("skip_data", "materialize_fake_tensors")
    return any(getattr(local, name, False) for name in names)


def _has_packages(serialization: Any) -> bool:
    """Whether register_package() added tags of devices to torch's own."""
    return any(
        getattr(getattr(function, "func", function), "__module__", "") != serialization.__name__
        for package in serialization._package_registry
        for function in package[1:]
    )


def _names_meta(map_location: Any) -> bool:
    return str(getattr(map_location, "type", map_location)) == "meta"


def require_served_classes(core: _core.Checkpoint, f: Any, chosen: Chosen) -> None:
    """Raises Left if the file is of another format than torch would read it as, or names a class
    or function that torch may refuse, or makes of it what transload does not."""
    wanted = "safetensors" if chosen.of_safetensors else "torch_zip"
    if core.format != wanted:
        raise Left("a file of another format", core.format)
    if chosen.of_safetensors:
        if not installed("safetensors"):
            raise Left("a safetensors file where safetensors is not installed")
        return
    if core.is_module:  # load() gives its state dict, torch the module
        raise Left(OBJECTS, "a whole module")
    if chosen.weights_only and core.pickle_protocol != 2:
        raise Left("pickle protocols other than 2", core.pickle_protocol)
    from ._torch import allowed_globals

    ours, of_user = allowed_globals()
    for module, name, how in core.named_classes():
        key = f"{module}.{name}"
        chosen.has_numpy |= module.partition(".")[0] == "numpy"
        value = ours.get(key, of_user.get(key))
        is_served = (
            value is not None
            and how not in ("items", "new with keywords")
            and not (how == "entries" and key != "collections.Counter")
            and (chosen.weights_only or key in ours or _full_name(value) == key)
        ) or (not chosen.weights_only and _is_served_unrestricted(module, name, how))
        if not is_served:
            raise Left(OBJECTS, key)


def _full_name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def _is_served_unrestricted(module: str, name: str, how: str) -> bool:
    """Whether transload makes what Python's own unpickler makes."""
    if module == "builtins":
        return name in ("frozenset", "bytes", "int") and how == "call"
    if (module, name) in (("numpy", "ndarray"), ("numpy", "matrix"), ("numpy", "dtype")):
        return True
    return module in ("numpy.core.multiarray", "numpy._core.multiarray") and how == "call"


def require_saveable(
    f: Any, pickle_module: Any, pickle_protocol: int, is_default_format: bool
) -> None:
    """Raises Left if torch.save would write something else than transload does."""
    import torch

    if pickle_module not in (None, pickle):
        raise Left("a pickle module, or arguments for it")
    if not is_default_format:
        raise Left("an older format")
    if pickle_protocol != 2:
        raise Left("pickle protocols other than 2", pickle_protocol)
    if not is_path(f) and not all(callable(getattr(f, name, None)) for name in ("write", "flush")):
        raise Left("a file object without write or flush")
    if _skips_data(torch):
        raise Left("skip_data")
    if _has_modes(torch):
        raise Left("a default device or mode that torch applies")
    config = _config(torch)
    if config and config.save.storage_alignment != 64:
        raise Left("another storage_alignment", config.save.storage_alignment)
    if not getattr(torch.serialization, "get_crc32_options", lambda: True)():
        raise Left("crc32 turned off")
    if _has_packages(torch.serialization):
        raise Left("a package that was registered")
