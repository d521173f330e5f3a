"""NumPy as the library that makes tensors, where there is no PyTorch: arrays in host memory.
bfloat16 and the float8 types come from ml_dtypes. requires_grad and Parameters have no meaning here
and are dropped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy

from ._core import DeviceError, PlacementError, UnsupportedError
from ._lent import lent
from . import _object
from ._object import Name, make, module_of  # noqa: F401  (part of what an array library has)

_OTHER_NAMES = {"bool": "bool_"}
_OF_ML_DTYPES = {
    "bfloat16",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float4_e2m1fn_x2",
}


class Size(tuple):
    """Stands for torch.Size where there is no torch. It is never made, so that a tuple stays a
    tuple."""


def allocate(device: str, nbytes: int) -> tuple[numpy.ndarray, int]:
    """Returns a new array of nbytes, and its address. Raises DeviceError if there is no memory."""
    if device != "cpu":
        raise PlacementError(
            f'NumPy arrays cannot be on {device}; pass map_location="cpu", or install torch'
        )
    try:
        made = numpy.empty(nbytes, numpy.uint8)
    except MemoryError as error:
        raise DeviceError(f"cpu: numpy has no memory for {nbytes} bytes") from error
    return made, made.ctypes.data


def wrap(address: int, nbytes: int, keeper: Any) -> numpy.ndarray:
    """Returns an array over memory owned by `keeper`, which it keeps alive."""
    return numpy.frombuffer(lent(address, nbytes, keeper), numpy.uint8)


def empty(shape: tuple[int, ...], dtype: numpy.dtype, device: str) -> numpy.ndarray:
    if device != "cpu":
        raise PlacementError(f"NumPy arrays cannot be on {device}")
    return numpy.empty(shape, dtype)


def tensor(
    storage: numpy.ndarray | None,
    dtype: numpy.dtype,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    offset: int,
    requires_grad: bool,
    is_parameter: bool,
    conj: bool,
    neg: bool,
) -> numpy.ndarray:
    if storage is None:
        raise UnsupportedError(
            f"a meta tensor of shape {list(shape)} has no NumPy form; install torch"
        )
    step = dtype.itemsize
    made = numpy.ndarray(shape, dtype, storage, offset * step, [s * step for s in stride])
    if conj:
        made = made.conj()
    return -made if neg else made


def typed_storage(storage: numpy.ndarray, dtype: numpy.dtype) -> numpy.ndarray:
    return storage.view(dtype)


def size(items: tuple[int, ...]) -> tuple[int, ...]:
    return items


def device(text: str) -> str:
    return text


def dtype(name: str) -> numpy.dtype:
    if name in _OF_ML_DTYPES and name != "float4_e2m1fn_x2":
        try:
            import ml_dtypes
        except ImportError:
            raise UnsupportedError(f"dtype {name} needs ml_dtypes: pip install ml_dtypes") from None
        return numpy.dtype(getattr(ml_dtypes, name))
    try:
        return numpy.dtype(getattr(numpy, _OTHER_NAMES.get(name, name)))
    except (AttributeError, TypeError):
        raise UnsupportedError(f"dtype {name} has no NumPy form; install torch") from None


def dtype_name(dtype: Any) -> str:
    return dtype if isinstance(dtype, str) else numpy.dtype(dtype).name


def name(module: str, qualname: str) -> Any:
    return Name(module, qualname)


def object(
    callable: Any, args: Any, items: Any, entries: Any, state: Any, made: int, has_state: bool
) -> Any:
    return make(callable, args, items, entries, state, made)


def describe_tensor(a: numpy.ndarray) -> tuple:
    base = a
    while isinstance(base.base, numpy.ndarray):
        base = base.base
    begin, nbytes = base.ctypes.data, base.nbytes
    first = a.ctypes.data
    if (
        not base.flags.forc
        or any(s < 0 or s % a.itemsize for s in a.strides)
        or (first - begin) % a.itemsize
    ):
        raise UnsupportedError(
            f"an array with strides {a.strides}: copy it, with numpy.ascontiguousarray()"
        )
    if a.dtype.byteorder == ">":
        raise UnsupportedError("an array of big-endian elements: astype(a.dtype.newbyteorder('='))")
    strides = tuple(s // a.itemsize for s in a.strides)
    return (
        id(base),
        begin,
        nbytes,
        "cpu",
        a.dtype.name,
        a.shape,
        strides,
        (first - begin) // a.itemsize,
        False,
        False,
        False,
        False,
    )


def describe(o: Any) -> tuple | None:
    """Returns the kind ("tensor", "dtype") and the parts of an object of NumPy, or None for any
    other object: arrays of times, texts, records and objects are pickled as NumPy does it."""
    if type(o) is numpy.ndarray and _is_of_tensors(o.dtype):
        return "tensor", describe_tensor(o)
    if isinstance(o, numpy.dtype) and _is_of_tensors(o):
        return "dtype", o.name
    return None


def _is_of_tensors(dtype: numpy.dtype) -> bool:
    if dtype.kind in "fc":
        return dtype.itemsize <= (8 if dtype.kind == "f" else 16)  # not of long double
    return dtype.kind in "biu" or dtype.name in _OF_ML_DTYPES


class _PickledDtype:
    """A dtype inside of a pickled array or scalar, where NumPy expects one of its own; a dtype that
    stands by itself becomes one of torch's in a file."""

    def __init__(self, dtype: numpy.dtype) -> None:
        self.dtype = dtype


def reduce(o: Any) -> Any:
    """Like _object.reduce()."""
    of_numpy = isinstance(o, (numpy.ndarray, numpy.generic, numpy.dtype, _PickledDtype))
    taken = _object.reduce(o.dtype if isinstance(o, _PickledDtype) else o)
    if not of_numpy or not isinstance(taken, tuple):
        return taken
    made, function, args, state, *others = taken
    return made, function, _with_own_dtypes(args), _with_own_dtypes(state), *others


def _with_own_dtypes(value: Any) -> Any:
    """The lists of arrays of objects stay as they are."""
    if isinstance(value, numpy.dtype):
        return _PickledDtype(value)
    if isinstance(value, tuple):
        return tuple(_with_own_dtypes(item) for item in value)
    if isinstance(value, dict):
        return {key: _with_own_dtypes(item) for key, item in value.items()}
    return value


def device_of(place: Any) -> str | None:
    if place is None or isinstance(place, str):
        return place
    raise TypeError(f"map_location gave {place!r}, no device")


def called_as_torch_does(function: Any) -> Any:
    def decide(location: str, nbytes: int, key: str) -> str | None:
        return device_of(function(None, location))

    return decide


@contextmanager
def loading(map_location: Any) -> Iterator[None]:
    yield


def streams() -> list[tuple[str, int]]:
    return []


def empty_cache() -> bool:
    return False


def filled(tensors: list[numpy.ndarray]) -> None:
    pass
