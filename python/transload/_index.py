"""open(): what a file holds, before any tensor's bytes are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from . import _core
from ._arrays import array_library
from ._core import UnsupportedError
from ._progress import shown
from ._rules import options, path_text

_DICTS = ("dict", "OrderedDict")


def open(path: str | os.PathLike[str], *, refuse_objects: bool = False, keep_calls: bool = False) -> Index:
    """A file's contents, read lazily: headers now, each tensor when it is asked for. The file stays open: what is read
    later is what was opened, also if another one takes its name meanwhile."""
    core = _core.open(path_text(path), refuse_objects, keep_calls)
    return Index(core, core.root, "", path_text(path))


class Index(Mapping[Any, Any]):
    """A checkpoint, or a dict in it, as a mapping. Tensors are read when they are asked for, to the CPU.

    index["layer.0.weight"] is a tensor, index["epoch"] a value, index["model_state_dict"] an Index of that part;
    "a/b" is index["a"]["b"]. index.tensors has every tensor below, by name, without reading it.
    """

    def __init__(self, core: Any, node: int, prefix: str, path: str) -> None:
        self._core, self._node, self._prefix, self._path = core, node, prefix, path
        self._numbers: dict[Any, int] | None = None
        self._tensors: TensorMap | None = None

    @property
    def path(self) -> str:
        return self._path

    @property
    def format(self) -> str:
        """What the file is: "torch_zip", "torchscript", "safetensors" or "shards"."""
        return self._core.format

    @property
    def metadata(self) -> dict[str, str]:
        """The texts that safetensors keeps beside its tensors."""
        return self._core.metadata

    @property
    def tensors(self) -> TensorMap:
        """Every tensor in here by name: the keys from here on, joined by "/"."""
        if self._tensors is None:
            self._tensors = TensorMap(self._core, self._prefix)
        return self._tensors

    def _entries(self) -> dict[Any, int]:
        if self._numbers is None:
            if self._core.kind(self._node) not in _DICTS:
                raise UnsupportedError(f"{self._path}: holds a {self._core.kind(self._node)}, no dict; load() gives it")
            self._numbers = {key: i for i, key in enumerate(self._core.keys(self._node))}
        return self._numbers

    def __getitem__(self, key: Any) -> Any:
        number = self._entries().get(key)
        if number is None:
            head, slash, rest = str(key).partition("/")
            if slash and head in self._entries():
                return self[head][rest]
            try:
                self._core.find(self._node, str(key))
            except _core.Error as error:
                raise KeyError(str(error)) from None
            raise KeyError(key)
        node, kind = self._core.entry(self._node, number)
        if kind in _DICTS:
            return Index(self._core, node, f"{self._prefix}{key}/", self._path)
        if kind == "Tensor":
            return LazyTensor(self._core, node, f"{self._prefix}{key}").read()
        arrays = array_library()
        return self._core.load_value(node, arrays, options(arrays, [], map_location="cpu"))

    def __contains__(self, key: object) -> bool:
        return key in self._entries()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    def __repr__(self) -> str:
        return f"<transload.Index of {self._path}: {self.format}, {len(self.tensors)} tensors>"

    def load(self, map_location: Any = None, *, progress: Any = None, **chosen: Any) -> Any:
        """All that is in here, as load() gives it, with the same options."""
        arrays = array_library()
        with shown(progress, "loading") as show:
            choice = options(arrays, _core.devices(), map_location=map_location, progress=show, **chosen)
            if self._prefix:
                return self._core.load_value(self._node, arrays, choice)
            return self._core.load(arrays, choice)

    def plan(self, map_location: Any = None, **chosen: Any) -> Plan:
        """What load() would do with these options: where each storage goes and why, and what that takes. Of the whole
        file. Raises as load() would, before anything is allocated."""
        arrays = array_library()
        return Plan(self._core.plan(options(arrays, _core.devices(), map_location=map_location, **chosen)))


class Plan:
    """Every decision of a load, made before any of it has an effect. print() it, or take its data."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._text: str = data.pop("text")
        #: by device: storage_nbytes, allocated (by how much its memory will grow), mapped_nbytes, free
        self.devices: list[dict[str, Any]] = data["devices"]
        #: keys that use it, location it was saved on, device, rule that decided, nbytes
        self.storages: list[dict[str, Any]] = data["storages"]
        self.transfers: int = data["transfers"]
        self.transfer_nbytes: int = data["transfer_nbytes"]  #: to be read
        self.staging_nbytes: int = data["staging_nbytes"]  #: host memory besides, at most

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<transload.Plan: {self.transfer_nbytes} bytes in {self.transfers} transfers>"


class TensorMap(Mapping[str, "LazyTensor"]):
    """Tensors of a file by name, none of them read."""

    def __init__(self, core: Any, prefix: str) -> None:
        self._core, self._prefix = core, prefix
        start = len(prefix)
        self._nodes = {name[start:]: node for name, node in core.tensors() if name.startswith(prefix)}

    def __getitem__(self, name: str) -> LazyTensor:
        return LazyTensor(self._core, self._nodes[name], self._prefix + name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)


class LazyTensor:
    """A tensor in a file. tensor[10:20, :3] reads that part, read() all of it."""

    def __init__(self, core: Any, node: int, name: str) -> None:
        self._core, self._node, self.name = core, node, name
        self._dtype, shape, self.stride, self.storage_offset, self.requires_grad, self.storage, self.location = core.tensor_info(node)
        self.shape = tuple(shape)

    @property
    def dtype(self) -> Any:
        return array_library().dtype(self._dtype)

    def __repr__(self) -> str:
        return f"<transload.LazyTensor {self.name}: {self._dtype} {list(self.shape)} on {self.location}>"

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, device: Any = "cpu", progress: Callable[[int, int], object] | None = None) -> Any:
        return self._view(self.storage_offset, list(self.shape), list(self.stride), device, progress)

    def __getitem__(self, where: Any) -> Any:
        where = where if isinstance(where, tuple) else (where,)
        if Ellipsis in where:
            at = where.index(Ellipsis)
            where = where[:at] + (slice(None),) * (len(self.shape) - len(where) + 1) + where[at + 1 :]
        if len(where) > len(self.shape):
            raise IndexError(f"{len(where)} indices for {self!r}")
        offset, shape, strides = self.storage_offset, [], []
        for i, (size, stride) in enumerate(zip(self.shape, self.stride, strict=True)):
            chosen = where[i] if i < len(where) else slice(None)
            if isinstance(chosen, slice):
                begin, end, step = chosen.indices(size)
                if step < 0:
                    raise IndexError("steps must be positive; flip what was read")
                count = max(0, -(-(end - begin) // step))
                shape.append(count)
                strides.append(stride * step)
                offset += begin * stride if count else 0
            else:
                number = chosen.__index__()
                if not -size <= number < size:
                    raise IndexError(f"index {number} is out of bounds for dimension {i} of {self!r}")
                offset += (number % size) * stride
        return self._view(offset, shape, strides, "cpu", None)

    def _view(self, offset: int, shape: list[int], strides: list[int], device: Any, progress: Any) -> Any:
        arrays: ModuleType = array_library()
        if self.storage is None:
            return arrays.tensor(None, self.dtype, tuple(shape), tuple(strides), 0, False, False, False, False)
        made = arrays.empty(tuple(shape), self.dtype, arrays.device_of(device))
        if 0 not in shape:
            self._core.read_view(self._node, offset, shape, strides, arrays.describe_tensor(made), options(arrays, [], progress=progress))
        return made
