"""open(): what a file holds, before any tensor's bytes are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import _core
from ._arrays import array_library
from ._core import UnsupportedError
from ._files import is_path, moves_one_position, open_checkpoint
from ._options import io_options, load_options, warn_of_unused_rules, path_text
from ._progress import shown

_DICTS = ("dict", "OrderedDict")


def open(
    path: str | os.PathLike[str] | Any, *, refuse_objects: bool = False, keep_calls: bool = False
) -> Index:
    """Returns a file's contents to be read lazily: headers now, each tensor when it is asked for.

    path: a path, bytes, or a binary file object, as load() takes them.
    refuse_objects, keep_calls: as load() has them.

    The file stays open until close(), the end of a `with` block, or until the Index and its parts
    are gone: what is read later is what was opened, even if another file takes its name. Reading
    moves a file object. Raises IoError, FormatError, UnsupportedError, UnsafePickleError.
    """
    core = open_checkpoint(path, refuse_objects=refuse_objects, keep_calls=keep_calls)
    name = (
        path_text(path) if is_path(path) else str(getattr(path, "name", f"<{type(path).__name__}>"))
    )
    return Index(_Opened(core, name, threads=1 if moves_one_position(path) else 0), core.root, "")


class _Opened:
    """An open file: what its Index and all parts of it share."""

    def __init__(self, core: _core.Checkpoint, path: str, threads: int) -> None:
        self.core, self.path, self.threads = core, path, threads


class Index(Mapping[Any, Any]):
    """A checkpoint, or a dict in it, as a mapping. Tensors are read when they are asked for, to the
    CPU.

    index["layer.0.weight"] is a tensor, index["epoch"] a value, index["model_state_dict"] an Index
    of that part; "a/b" is index["a"]["b"]. index.tensors has every tensor below, by name, without
    reading it.
    """

    def __init__(self, opened: _Opened, node: int, prefix: str) -> None:
        self._opened, self._node, self._prefix = opened, node, prefix
        self._numbers: dict[Any, int] | None = None
        self._tensors: TensorMap | None = None

    @property
    def _core(self) -> _core.Checkpoint:
        return self._opened.core

    @property
    def path(self) -> str:
        """The path that was opened, or the name of the file object."""
        return self._opened.path

    @property
    def format(self) -> str:
        """The format's name: "torch_zip", "torch_stream", "torchscript", "safetensors", …."""
        return self._core.format

    @property
    def metadata(self) -> dict[str, str]:
        """The texts that safetensors keeps beside its tensors."""
        return self._core.metadata

    @property
    def tensors(self) -> TensorMap:
        """Every tensor in here by name: the keys from here on, joined by "/"."""
        if self._tensors is None:
            self._tensors = TensorMap(self._opened, self._prefix)
        return self._tensors

    def close(self) -> None:
        """Closes the file, of the parts of this Index too. Reading raises Error from then on;
        tensors that were read stay. A second call does nothing."""
        self._core.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _entries(self) -> dict[Any, int]:
        if self._numbers is None:
            if self._core.kind(self._node) not in _DICTS:
                raise UnsupportedError(
                    f"{self.path}: holds a {self._core.kind(self._node)}, not a dict; "
                    "load() returns it"
                )
            self._numbers = {key: i for i, key in enumerate(self._core.keys(self._node))}
        return self._numbers

    def __getitem__(self, key: Any) -> Any:
        number = self._entries().get(key)
        node = self._at_path(key) if number is None else self._core.entry(self._node, number)
        kind = self._core.kind(node)
        name = f"{self._prefix}{key}"
        if kind in _DICTS:
            return Index(self._opened, node, name + "/")
        if kind == "Tensor":
            return LazyTensor(self._core, self._core.lazy(node), name, self._opened.threads).read()
        return self._load(node, map_location="cpu")

    def _at_path(self, path: Any) -> int:
        try:
            return self._core.at_path(self._node, str(path))
        except _core.Error as error:
            if self._core.is_closed:
                raise
            raise KeyError(str(error)) from None

    def __contains__(self, key: object) -> bool:
        return key in self._entries()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    def __repr__(self) -> str:
        if self._core.is_closed:
            return f"<transload.Index of {self.path}: closed>"
        return f"<transload.Index of {self.path}: {self.format}, {len(self.tensors)} tensors>"

    def load(self, map_location: Any = None, *, progress: Any = None, **options: Any) -> Any:
        """Returns all that is in here, as transload.load() does, with its options at, keep, drop,
        rename, dtype, verify, mmap and memory_limit. Raises TypeError for others."""
        with shown(progress, "loading") as show:
            return self._load(
                self._node if self._prefix else None, show, map_location=map_location, **options
            )

    def _load(self, node: int | None, progress: Any = None, **options: Any) -> Any:
        arrays = array_library()
        chosen = load_options(
            arrays,
            io=io_options(arrays, progress, self._opened.threads),
            tags=self._core.locations,
            **options,
        )
        warn_of_unused_rules(
            self._core, chosen.select, chosen.map_location, node=node, stacklevel=3
        )
        with arrays.loading(options["map_location"]):
            return (
                self._core.load(arrays, chosen)
                if node is None
                else self._core.load_value(node, arrays, chosen)
            )

    def plan(self, map_location: Any = None, **options: Any) -> Plan:
        """Returns what load() of the whole file would do with these options: where each storage
        goes and why, and what that takes. Raises as load() would, before anything is allocated."""
        arrays = array_library()
        chosen = load_options(
            arrays,
            io=io_options(arrays),
            map_location=map_location,
            tags=self._core.locations,
            **options,
        )
        warn_of_unused_rules(self._core, chosen.select, chosen.map_location, stacklevel=2)
        return Plan(self._core.plan(chosen))


class Plan:
    """Every decision of a load, made before any of it has an effect. print() it, or take its
    data."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._text: str = data.pop("text")
        #: by device: storage_nbytes, allocated (by how much its memory will grow), mapped_nbytes,
        #: free
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

    def __init__(self, opened: _Opened, prefix: str) -> None:
        self._opened, self._prefix = opened, prefix
        start = len(prefix)
        self._nodes = {
            name[start:]: node for name, node in opened.core.tensors() if name.startswith(prefix)
        }

    def __getitem__(self, name: str) -> LazyTensor:
        core = self._opened.core
        return LazyTensor(
            core, core.lazy(self._nodes[name]), self._prefix + name, self._opened.threads
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)


class LazyTensor:
    """A tensor in a file. tensor[10:20, :3] reads that part, read() all of it."""

    def __init__(
        self, core: _core.Checkpoint, lazy: _core.LazyTensor, name: str, threads: int
    ) -> None:
        self._core, self._lazy, self._threads = (
            core,
            lazy,
            threads,
        )  # the checkpoint stays open as long as this is used
        self.name = name  #: the keys from the root, joined by "/"
        self.shape: tuple[int, ...] = lazy.shape
        self.stride: tuple[int, ...] = lazy.stride  #: in elements
        self.storage_offset: int = lazy.storage_offset  #: in elements
        self.requires_grad: bool = lazy.requires_grad
        self.storage: int | None = (
            lazy.storage
        )  #: equal for tensors that share bytes; None: saved without bytes
        self.location: str = lazy.location  #: the device that it was saved on: "cuda:0"

    @property
    def dtype(self) -> Any:
        """torch's or NumPy's dtype."""
        return array_library().dtype(self._lazy.dtype)

    def __repr__(self) -> str:
        what = f"{self._lazy.dtype} {list(self.shape)} on {self.location}"
        return f"<transload.LazyTensor {self.name}: {what}>"

    def __len__(self) -> int:
        return self.shape[0]

    def read(
        self, device: Any = "cpu", progress: Callable[[int, int], object] | None = None
    ) -> Any:
        """Returns the tensor, row-major, on a device. Raises Error if the file was closed, IoError,
        FormatError, PlacementError, DeviceError."""
        return self._read(self._lazy, device, progress)

    def __getitem__(self, where: Any) -> Any:
        """Returns that part, on the CPU. Raises IndexError if it is out of bounds or a step is not
        positive, TypeError for what is not an int, a slice or an ellipsis."""
        return self._read(self._lazy.slice(where), "cpu", None)

    def _read(self, part: _core.LazyTensor, device: Any, progress: Any) -> Any:
        arrays = array_library()
        dtype = arrays.dtype(part.dtype)
        if part.storage is None:
            return arrays.tensor(
                None, dtype, part.shape, part.stride, 0, False, False, False, False
            )
        made = arrays.empty(part.shape, dtype, arrays.device_of(device))
        part.read_into(arrays.describe_tensor(made), io_options(arrays, progress, self._threads))
        return made
