"""memory_report(): the tensors that hold the memory of each device, in this process."""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass, field
from typing import Any

from . import _core


@dataclass
class Held:
    """A storage of this process: how large it is, and by what names it can be reached."""

    nbytes: int
    names: list[
        str
    ]  #: "module ToyModel: net1.weight", "state dict of 4 tensors: net1.weight", "a tensor"
    only_in_state_dicts: bool  #: nobody but dicts of tensors refers to it: dropping those frees it


@dataclass
class DeviceMemory:
    """One device, in bytes."""

    device: str
    name: str
    total: int
    free: int
    allocated: int  #: in live tensors, as the pools count them
    reserved: int  #: held by the pools of torch and transload, live or kept for reuse
    others: int  #: of the rest of what is in use: other processes, and contexts
    limit: str = ""  #: the limit of the process that decides what is free; empty: there is none
    storages: list[Held] = field(
        default_factory=list
    )  #: those that Python can reach, largest first

    @property
    def held_nbytes(self) -> int:
        return sum(held.nbytes for held in self.storages)

    @property
    def only_in_state_dicts_nbytes(self) -> int:
        return sum(held.nbytes for held in self.storages if held.only_in_state_dicts)

    def __str__(self) -> str:
        lines = [
            f"{self.device} ({self.name}): {_core.human_bytes(self.total)}, {_core.human_bytes(self.free)} free{', by ' if self.limit else ''}{self.limit}",
            f"  allocated {_core.human_bytes(self.allocated)}, reserved {_core.human_bytes(self.reserved)}, others {_core.human_bytes(self.others)}",
            f"  {len(self.storages)} storages that Python reaches, {_core.human_bytes(self.held_nbytes)}; "
            f"{_core.human_bytes(self.only_in_state_dicts_nbytes)} of it only through state dicts",
        ]
        for held in self.storages[:10]:
            only = ", nobody else" if held.only_in_state_dicts else ""
            lines.append(
                f"    {_core.human_bytes(held.nbytes):>9}  {'; '.join(held.names[:3])}{only}"
            )
        if len(self.storages) > 10:
            lines.append(f"    and {len(self.storages) - 10} more")
        return "\n".join(lines)


@dataclass
class MemoryReport:
    devices: list[DeviceMemory]

    def __getitem__(self, device: str) -> DeviceMemory:
        return next(one for one in self.devices if one.device == device)

    def __str__(self) -> str:
        return "\n".join(map(str, self.devices))


def memory_report() -> MemoryReport:
    """Returns for each device the bytes that are allocated, reserved and used by others; the
    tensors that hold them, by name; and those that only a loaded state dict refers to. Looks at
    every object of the process, which takes seconds if there are millions."""
    torch = sys.modules.get("torch")
    storages = _storages(torch) if torch else {}
    report = []
    for device in _core.devices():
        if device == "meta":
            continue
        use = _core.memory_use(device)
        allocated, reserved = use["allocated"], use["reserved"]
        held = sorted(
            (h for (where, _), h in storages.items() if where == device), key=lambda h: -h.nbytes
        )
        if device == "cpu":
            allocated += sum(h.nbytes for h in held)
            reserved = allocated
        elif torch and torch.cuda.is_initialized():
            allocated += torch.cuda.memory_allocated(device)
            reserved += torch.cuda.memory_reserved(device)
        used = use["total"] - use["free"]
        report.append(
            DeviceMemory(
                device,
                use["name"],
                use["total"],
                use["free"],
                allocated,
                reserved,
                max(0, used - reserved),
                use["limit"],
                held,
            )
        )
    return MemoryReport(report)


def _storages(torch: Any) -> dict[tuple[str, int], Held]:
    objects = gc.get_objects()
    tensors = {id(o): o for o in objects if issubclass(type(o), torch.Tensor)}
    modules = [o for o in objects if issubclass(type(o), torch.nn.Module)]
    names: dict[int, list[str]] = {}  # by id of a tensor
    state_dicts: dict[int, int] = {}  # by id of a tensor: how many dicts of tensors refer to it
    inner = {id(d) for m in modules for d in (m.__dict__, m._parameters, m._buffers, m._modules)}

    def add(tensor: Any, name: str) -> None:
        tensors.setdefault(id(tensor), tensor)
        names.setdefault(id(tensor), []).append(name)

    below = {id(child) for m in modules for child in m._modules.values()}
    for module in modules:
        if id(module) in below:
            continue
        kind = type(module).__name__
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            add(tensor, f"module {kind}: {name}")
            if tensor.grad is not None:
                add(tensor.grad, f"module {kind}: gradient of {name}")
    for o in objects:
        if issubclass(type(o), torch.optim.Optimizer):
            inner.update(id(per) for per in o.state.values())
            inner.add(id(o.state))
            for per in o.state.values():
                for name, value in per.items():
                    if isinstance(value, torch.Tensor):
                        add(value, f"optimizer {type(o).__name__}: {name}")
    for o in objects:
        if issubclass(type(o), dict) and id(o) not in inner and o is not names and o is not tensors:
            held = [
                (key, value)
                for key, value in o.items()
                if isinstance(key, str) and issubclass(type(value), torch.Tensor)
            ]
            if (
                not held or "__name__" in o or "__module__" in o
            ):  # a module's or class's names, no state dict
                continue
            for key, value in held:
                add(value, f"state dict of {len(held)} tensors: {key}")
                state_dicts[id(value)] = state_dicts.get(id(value), 0) + 1
            del held, value
    del objects, modules, o
    storages: dict[tuple[str, int], Held] = {}
    for number in list(tensors):
        tensor = tensors[number]
        try:
            storage = tensor.untyped_storage()
        except (
            RuntimeError,
            NotImplementedError,
        ):  # sparse, or a wrapper without a storage of its own
            continue
        # `tensors`, this loop's variable and getrefcount's argument
        own = 3
        only = (
            number in state_dicts
            and sys.getrefcount(tensor) - own <= state_dicts[number]
            and len(names[number]) == state_dicts[number]
        )
        where = (
            "cuda:" + str(storage.device.index or 0)
            if storage.device.type == "cuda"
            else str(storage.device)
        )
        held = storages.setdefault((where, storage._cdata), Held(storage.nbytes(), [], True))
        held.names.extend(names.get(number, ["a tensor"]))
        held.only_in_state_dicts = held.only_in_state_dicts and only
    return storages
