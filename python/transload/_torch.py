"""PyTorch as the library that makes tensors. It is imported, never linked. It allocates, so that
its own counters stay true; transload fills the memory by address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ._core import DeviceError, UnsupportedError
from ._lent import lent
from ._object import Name, Object, holds_inert, make, module_of, reduce  # noqa: F401  (part of what an array library has)

Size = torch.Size
_DTYPE_NAMES = {
    value: str(value).removeprefix("torch.")
    for value in vars(torch).values()
    if isinstance(value, torch.dtype)
}
_STORAGES = (torch.UntypedStorage, torch.storage.TypedStorage)


def allocate(device: str, nbytes: int) -> tuple[torch.UntypedStorage, int]:
    """Returns a new storage of nbytes, and its address. Raises DeviceError if there is no memory."""
    try:
        storage = torch.UntypedStorage(nbytes, device=device)
    except (
        RuntimeError,
        AssertionError,
        MemoryError,
    ) as error:  # its "out of memory", or a build without CUDA
        raise DeviceError(
            f"{device}: torch has no memory for {nbytes} bytes there: {error}"
        ) from error
    return storage, storage.data_ptr()


def wrap(address: int, nbytes: int, keeper: Any) -> torch.UntypedStorage:
    """Returns a storage over memory owned by `keeper`, which it keeps alive."""
    return torch.frombuffer(lent(address, nbytes, keeper), dtype=torch.uint8).untyped_storage()


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device=device)


def tensor(
    storage: torch.UntypedStorage | None,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    offset: int,
    requires_grad: bool,
    is_parameter: bool,
    conj: bool,
    neg: bool,
) -> torch.Tensor:
    if storage is None:
        made = torch.empty_strided(shape, stride, dtype=dtype, device="meta")
    else:
        made = torch.empty(0, dtype=dtype, device=storage.device).set_(
            storage, offset, shape, stride
        )
    if conj or neg:
        bits = {"conj": conj, "neg": neg}
        torch._utils.set_tensor_metadata(made, {name: True for name, bit in bits.items() if bit})
    if is_parameter:
        return torch.nn.Parameter(made, requires_grad)
    if requires_grad:
        made.requires_grad_()
    return made


def typed_storage(storage: torch.UntypedStorage, dtype: torch.dtype) -> torch.storage.TypedStorage:
    return torch.storage.TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)


def size(items: tuple[int, ...]) -> torch.Size:
    return torch.Size(items)


def device(text: str) -> torch.device:
    return torch.device(text)


def dtype(name: str) -> torch.dtype:
    try:
        return getattr(torch, name)
    except AttributeError:
        raise UnsupportedError(
            f"dtype {name}: torch {torch.__version__} has none of that name"
        ) from None


def dtype_name(dtype: Any) -> str:
    return (
        _DTYPE_NAMES[dtype] if isinstance(dtype, torch.dtype) else str(dtype).removeprefix("torch.")
    )


def name(module: str, qualname: str) -> Any:
    """Returns the value of a name that stands by itself: what torch's restricted unpickler allows,
    or else an inert Name."""
    known = _allowed(Name(module, qualname))
    return Name(module, qualname) if known is None else known


def object(
    callable: Any, args: Any, items: Any, entries: Any, state: Any, made: int, has_state: bool
) -> Any:
    """Returns the object that torch's restricted unpickler would make, with the functions and
    classes that it allows: its own list, and torch.serialization.add_safe_globals(). Returns an
    inert Object for all others, and where a part is inert: no class is given what it does not
    expect."""
    inert = make(callable, args, items, entries, state, made)
    if not isinstance(inert, Object) or not isinstance(callable, Name):
        return inert
    function = _allowed(callable)
    if function is None or made == 2 or not isinstance(args, tuple):
        return inert
    if holds_inert((args, items, entries, state)):
        return inert
    try:
        built = function.__new__(function, *args) if made == 1 else function(*args)
        if items is not None:
            built.extend(items)
        if entries is not None:
            built.update(entries)
        if has_state:
            _set_state(built, state)
        if torch._utils._sparse_tensors_to_validate:
            # Its functions note what torch.load checks at its end, if the invariants are enabled.
            torch._utils._validate_loaded_sparse_tensors()
    except Exception as error:
        raise UnsupportedError(f"{callable!r} refuses what the file gives it: {error}") from error
    return built


def allowed_globals() -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what torch's restricted unpickler makes of names: its own list, and the user's."""
    unpickler = torch._weights_only_unpickler
    own = getattr(unpickler, "_get_allowed_globals", dict)()
    return own, getattr(unpickler, "_get_user_allowed_globals", dict)()


def _allowed(name: Name) -> Any:
    own, of_user = allowed_globals()
    return own.get(repr(name), of_user.get(repr(name)))


def _set_state(built: Any, state: Any) -> None:
    """As Python's pickle and torch's restricted unpickler do it: a tuple of two has slots."""
    if hasattr(built, "__setstate__"):
        return built.__setstate__(state)
    slots = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        built.__dict__.update(state)
    for key, value in (slots or {}).items():
        setattr(built, key, value)


def _storage_parts(storage: torch.UntypedStorage) -> tuple[int, int, int, str]:
    """Returns what tells the storage apart, its address, bytes and device. They are valid as long
    as the storage lives."""
    on = storage.device
    where = "cuda:" + str(on.index or 0) if on.type == "cuda" else str(on)
    return storage._cdata, 0 if on.type == "meta" else storage.data_ptr(), storage.nbytes(), where


def describe_tensor(t: torch.Tensor) -> tuple:
    """Returns what the extension takes for a tensor, and its storage: who keeps the tuple keeps the
    bytes."""
    storage = t.untyped_storage()
    return (
        *_storage_parts(storage),
        _DTYPE_NAMES[t.dtype],
        t.shape,
        t.stride(),
        t.storage_offset(),
        t.requires_grad,
        isinstance(t, torch.nn.Parameter),
        t.is_conj(),
        t.is_neg(),
        storage,
    )


def describe(o: Any) -> tuple | None:
    """Returns the kind ("tensor", "storage", "dtype", "device") and the parts of an object of
    torch, or None for any other object."""
    if type(o) in (torch.Tensor, torch.nn.Parameter):
        if o.layout != torch.strided or o.is_quantized or o.is_nested:
            return None
        return "tensor", describe_tensor(o)
    if isinstance(o, torch.dtype):
        return "dtype", _DTYPE_NAMES[o]
    if isinstance(o, torch.device):
        return "device", str(o)
    if type(o) in _STORAGES:
        untyped, dtype = (
            (o, torch.uint8) if type(o) is torch.UntypedStorage else (o._untyped_storage, o.dtype)
        )
        parts = _storage_parts(untyped)
        count = parts[2] // dtype.itemsize
        return "storage", (
            *parts,
            _DTYPE_NAMES[dtype],
            (count,),
            (1,),
            0,
            False,
            False,
            False,
            False,
            untyped,
        )
    return None


def device_of(place: Any) -> str | None:
    """Returns the name of a device that a map_location may be or return: a text, torch.device,
    storage or index. Returns None for None; raises TypeError for anything else."""
    if place is None:
        return None
    if isinstance(place, _STORAGES):
        place = place.device
    if isinstance(place, int):
        place = torch.device(place)
    if isinstance(place, str):
        try:
            place = torch.device(place)
        except RuntimeError:
            return place  # the library says what is wrong with it
    if not isinstance(place, torch.device):
        raise TypeError(f"map_location gave {place!r}, no device, storage or None")
    if place.type == "cuda":
        index = (
            place.index
            if place.index is not None
            else (torch.cuda.current_device() if torch.cuda.is_available() else 0)
        )
        return f"cuda:{index}"
    return place.type if place.type == "cpu" else str(place)


def called_as_torch_does(function: Any) -> Any:
    """Returns a function for the extension from a map_location function, which torch calls with
    (storage, location). It passes an empty storage: nothing has been read when it decides."""

    def decide(location: str, nbytes: int, key: str) -> str | None:
        empty = torch.UntypedStorage(0)
        place = function(empty, location)
        if isinstance(place, _STORAGES) and place is not empty and place.device.type == "cpu":
            raise UnsupportedError(
                f"the map_location function gave a storage of its own for {location!r}; only the "
                "device of a storage counts here: return the storage that it was called with"
            )
        return device_of(place)

    return decide


@contextmanager
def loading(map_location: Any) -> Iterator[None]:
    """Gives torch's loader the map_location, which torch's functions that rebuild tensors of other
    devices ask for."""
    now = torch.serialization._serialization_tls
    before, now.map_location = now.map_location, map_location
    try:
        yield
    finally:
        now.map_location = before


def streams() -> list[tuple[str, int]]:
    """Returns torch's current stream on each device. Copies come after what torch has queued
    there."""
    if not torch.cuda.is_initialized():
        return []
    legacy = 1  # CU_STREAM_LEGACY: the driver's handle of the default stream, which is 0 in torch
    return [
        (f"cuda:{i}", torch.cuda.current_stream(i).cuda_stream or legacy)
        for i in range(torch.cuda.device_count())
    ]


def empty_cache() -> bool:
    """Frees the memory that torch keeps for reuse on GPUs. Returns whether it could have kept
    any."""
    if not torch.cuda.is_initialized():
        return False
    torch.cuda.empty_cache()
    return True


def filled(tensors: list[torch.Tensor]) -> None:
    """Tells autograd that these were changed in place."""
    torch.autograd.graph.increment_version(tensors)
