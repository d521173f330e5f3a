"""NumPy's scalars, arrays and dtypes from the parts that a pickle states. Nothing of a file is
called: each dtype is put together anew, and what does not fit is left inert.

Facts: numpy/_core/src/multiarray/descriptor.c, arraydescr_reduce; methods.c, array_reduce."""

from __future__ import annotations

from typing import Any

import numpy

_UNITS = {"Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "generic"}


def make_numpy(module: str, name: str, args: Any, state: Any) -> Any:
    """Returns what numpy's function makes, or None: another function, a subclass of arrays other
    than numpy.matrix, or parts that do not fit."""
    if not isinstance(args, tuple):
        return None
    try:
        if (module, name) == ("numpy", "dtype"):
            return _dtype(args, state)
        if module.endswith("core.multiarray") and name == "scalar":
            return _scalar(*args)
        if module.endswith("core.multiarray") and name == "_reconstruct":
            return _array(args, state)
    except (ValueError, TypeError, OverflowError):
        pass
    return None


def _dtype(args: tuple[Any, ...], state: Any) -> Any:
    """args: ("f8", False, True). state: (version, byte order, subarray, names, fields, itemsize,
    alignment, flags, metadata): None and -1 for those that `args` implies."""
    text = args[0] if args else None
    if not isinstance(text, str):
        return None
    if not isinstance(state, tuple) or len(state) < 5:
        return None if text[:1] in "VMm" else numpy.dtype(text)
    order, subarray, names, fields = state[1:5]
    if order not in ("<", ">", "=", "|"):
        return None
    if subarray is not None:
        base, shape = subarray
        return numpy.dtype((base, shape)) if isinstance(base, numpy.dtype) else None
    if names is not None:
        return _record(names, fields, state)
    if text[:1] in "Mm":
        return _time(text[0], order, state)
    return numpy.dtype(text).newbyteorder(order if order in "<>" else "=")


def _record(names: Any, fields: Any, state: tuple[Any, ...]) -> Any:
    """A structured dtype. fields: by name, its dtype and offset. A third part is a title."""
    parts = [fields[name] for name in names]
    if any(len(part) != 2 or not isinstance(part[0], numpy.dtype) for part in parts):
        return None
    is_aligned = state[7] & 0x80 != 0 if len(state) > 7 else False  # NPY_ALIGNED_STRUCT
    return numpy.dtype(
        {
            "names": list(names),
            "formats": [part[0] for part in parts],
            "offsets": [part[1] for part in parts],
            "itemsize": state[5],
        },
        align=is_aligned,
    )


def _time(kind: str, order: str, state: tuple[Any, ...]) -> Any:
    """datetime64 or timedelta64. The last part of the state: (dict, (unit, count, 1, event))."""
    unit, count, divisor = state[8][1][:3]
    if isinstance(unit, bytes):
        unit = unit.decode("ascii")
    if unit not in _UNITS or type(count) is not int or divisor != 1 or not 0 < count < 1 << 31:
        return None
    text = f"{kind}8" if unit == "generic" else f"{kind}8[{count}{unit}]"
    return numpy.dtype(text).newbyteorder(order if order in "<>" else "=")


def _scalar(dtype: Any, data: Any) -> Any:
    if not isinstance(dtype, numpy.dtype) or dtype.hasobject or not isinstance(data, bytes):
        return None
    return numpy.frombuffer(data, dtype)[0] if 0 < dtype.itemsize == len(data) else None


def _array_class(name: Any) -> Any:
    """The class that a name stands for, or that torch's allow-list has made of it."""
    if name is numpy.ndarray or name is numpy.matrix:
        return name
    known = {
        ("numpy", "ndarray"): numpy.ndarray,
        ("numpy", "matrix"): numpy.matrix,
        ("numpy.matrixlib.defmatrix", "matrix"): numpy.matrix,
    }
    return known.get((getattr(name, "module", None), getattr(name, "name", None)))


def _array(args: tuple[Any, ...], state: Any) -> Any:
    """args: (class, (0,), b"b"). state: (version, shape, dtype, is Fortran, bytes or a list)."""
    kind = _array_class(args[0]) if args else None
    if kind is None:
        return None
    if not isinstance(state, tuple) or len(state) != 5:
        return None
    _, shape, dtype, is_fortran, data = state
    if not isinstance(dtype, numpy.dtype):
        return None
    if dtype.hasobject:
        # A list of the objects, in the order of the rows whatever is_fortran says.
        if dtype != numpy.dtype(object) or not isinstance(data, list):
            return None
        made = numpy.empty(len(data), object)
        for i, item in enumerate(data):
            made[i] = item
        made = numpy.asarray(made.reshape(shape), order="F" if is_fortran else "C")
    elif not isinstance(data, (bytes, bytearray)):
        return None
    elif dtype.itemsize == 0:
        made = numpy.empty(shape, dtype)
    else:
        made = numpy.frombuffer(bytearray(data), dtype).reshape(
            shape, order="F" if is_fortran else "C"
        )
        if dtype.byteorder in "<>":  # as NumPy's __setstate__ does it; records keep theirs
            made = made.astype(dtype.newbyteorder("="), copy=False)
    return made.view(numpy.matrix) if kind is numpy.matrix else made
