"""Names and objects of a pickle, without looking up or calling anything."""

from __future__ import annotations

import copyreg
import sys
from collections import OrderedDict
from typing import Any

from ._installed import installed


class Name:
    """The name of a class or function, as a file has it. Never imported."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __repr__(self) -> str:
        return f"{self.module}.{self.name}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Name) and (self.module, self.name) == (other.module, other.name)

    def __hash__(self) -> int:
        return hash((self.module, self.name))


class Object:
    """An object of a class that is not plain data: what made it, with what, and its state. Inert.

    ``transload.save(..., allow_objects=True)`` writes it as it was read.
    """

    __slots__ = ("_made", "args", "callable", "entries", "items", "state")

    def __init__(
        self, callable: Any, args: Any, items: Any, entries: Any, state: Any, made: int
    ) -> None:
        self.callable = callable  #: a Name
        self.args = args  #: what it was called with
        self.items = items  #: a list: what was appended to it, or None
        self.entries = entries  #: a dict: what was set in it, or None
        self.state = state  #: what its attributes were set from, or None
        self._made = made

    def __repr__(self) -> str:
        args = ", ".join(map(repr, self.args)) if isinstance(self.args, tuple) else repr(self.args)
        state = "" if self.state is None else f" with {self.state!r}"
        return f"<{self.callable!r}({args}){state}>"


def make(callable: Any, args: Any, items: Any, entries: Any, state: Any, made: int) -> Any:
    """Returns a NumPy scalar, array or dtype, or else an inert Object."""
    if isinstance(callable, Name) and callable.module.partition(".")[0] == "numpy":
        if "numpy" in sys.modules or installed("numpy"):
            from ._numpy_pickle import make_numpy

            value = make_numpy(callable.module, callable.name, args, state)
            if value is not None:
                return value
    return Object(callable, args, items, entries, state, made)


def holds_inert(value: Any) -> bool:
    """Returns whether a Name or an Object can be reached through containers, arrays of objects, and
    the attributes of dicts and tensors. Objects that were built hold none."""
    stack, seen = [value], set()
    while stack:
        value = stack.pop()
        if isinstance(value, (Object, Name)):
            return True
        if id(value) in seen:
            continue
        seen.add(id(value))
        kind = type(value)
        if isinstance(value, dict):
            stack += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, set, frozenset)):
            stack += value
        elif kind.__module__ == "numpy" and kind.__name__ == "ndarray" and value.dtype.hasobject:
            stack += value.reshape(-1).tolist()
        if kind is OrderedDict or kind.__module__ in ("torch", "torch.nn.parameter"):
            stack += getattr(value, "__dict__", {}).values()
    return False


def reduce(o: Any) -> Any:
    """Returns how pickle takes an object apart: a name, or (how made, callable, args, state, items,
    entries). Returns None if it cannot be pickled."""
    if isinstance(o, Object):
        return o._made, o.callable, o.args, o.state, o.items, o.entries and list(o.entries.items())
    if isinstance(o, Name):
        return o.name
    try:
        by_table = copyreg.dispatch_table.get(type(o))
        taken = by_table(o) if by_table else o.__reduce_ex__(2)
    except Exception:
        return None
    if isinstance(taken, str):
        return taken
    function, args, state, items, entries = (tuple(taken) + (None,) * 3)[:5]
    made = 0
    if function is copyreg.__newobj__:
        made, function, args = 1, args[0], args[1:]
    elif function is copyreg.__newobj_ex__:
        made, function, args = 2, args[0], (args[1], args[2])
    if "<" in getattr(function, "__qualname__", ""):
        return None
    return (
        made,
        function,
        args,
        state,
        None if items is None else list(items),
        None if entries is None else list(entries),
    )


def module_of(o: Any, name: str) -> str:
    """Returns the module in which `name`, which stands for `o`, is found."""
    if isinstance(o, Name):
        return o.module
    module = getattr(o, "__module__", None)
    if module is None:
        module = next(
            (m for m, loaded in list(sys.modules.items()) if getattr(loaded, name, None) is o),
            "__main__",
        )
    return module
