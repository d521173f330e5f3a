"""DTensors: the parameters of modules under FSDP or tensor parallelism. A rank holds the local
shard of each. A file fills them where it has tensors of the local shards' shapes, as a rank writes
them with to_local().
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import _core


def is_dtensor(value: Any) -> bool:
    # Whoever has a DTensor has imported the module, which takes a second.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(value, module.DTensor)


def local_part(tensor: Any) -> Any:
    """Returns the local shard of a DTensor, which shares its memory; any other value as it is."""
    return tensor.detach().to_local() if is_dtensor(tensor) else tensor


def require_shards(live: Mapping[str, Any], stored: Callable[[], Any]) -> None:
    """Raises MismatchError if a DTensor's local shard is not what the file has. `stored` returns
    the file's tensors, and is called if there are DTensors."""
    if not any(map(is_dtensor, live.values())):
        return
    there = stored()
    wrong = [
        _why_not(key, tensor, there[key])
        for key, tensor in live.items()
        if is_dtensor(tensor) and key in there and not _fits(tensor, there[key])
    ]
    if wrong:
        raise _core.MismatchError(
            "\n  ".join(
                [
                    *wrong[:20],
                    "a file that holds whole tensors: pass what transload.load() returns to "
                    "torch.distributed.checkpoint.state_dict.set_model_state_dict(), with "
                    "StateDictOptions(full_state_dict=True)",
                ]
            )
        )


def _fits(tensor: Any, stored: Any) -> bool:
    whole = not any(placement.is_partial() for placement in tensor.placements)
    return whole and getattr(stored, "shape", None) == tensor.to_local().shape


def _why_not(key: str, tensor: Any, stored: Any) -> str:
    shape = list(getattr(stored, "shape", ()))
    return (
        f'"{key}" is a DTensor of shape {list(tensor.shape)} with the placements '
        f"{tensor.placements}; this rank holds {list(tensor.to_local().shape)} of it, and the file "
        f"has {shape}"
    )


def as_shards(state: Any, live: Mapping[str, Any]) -> None:
    """Makes DTensors of the entries of a state dict that fill DTensors."""
    for key, tensor in live.items():
        if is_dtensor(tensor) and key in state and not is_dtensor(state[key]):
            state[key] = type(tensor).from_local(
                state[key],
                tensor.device_mesh,
                tensor.placements,
                run_check=False,
                shape=tensor.shape,
                stride=tensor.stride(),
            )


def dtensors(value: Any, name: str = "") -> Iterator[str]:
    """Yields the names of the DTensors in dicts, lists and tuples."""
    if is_dtensor(value):
        yield name
    elif isinstance(value, (Mapping, list, tuple)):
        parts = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, part in parts:
            yield from dtensors(part, f"{name}/{key}" if name else str(key))
