"""Filling torch's optimizers, and other objects that have a load_state_dict.

The tensors of an optimizer's state are filled in place by the library where torch's default rules
hold. Where an optimizer has code of its own that runs when a state dict is loaded (hooks,
load_state_dict), the file is read to host memory and that code runs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch

from . import _core
from ._dtensor import is_dtensor
from ._fill import Filling, FillResult, flat
from ._module import elements_restored


def fill_optimizer(optimizer: torch.optim.Optimizer, filling: Filling) -> FillResult:
    """Fills the tensors of state that lives in place. All else (learning rates, counts, state of
    parameters that have none yet) is set by load_state_dict. Raises as load_into(), and ValueError
    as load_state_dict if the groups of parameters differ."""
    _refuse_shards(optimizer)
    described = filling.load("meta")
    if not isinstance(described, dict) or not {"state", "param_groups"} <= set(described):
        raise _core.MismatchError(_no_optimizer_there(filling, described))
    live = flat(optimizer.state_dict()["state"], filling.arrays, "state/")
    stored = flat({"state": described["state"]}, filling.arrays)
    if (
        _optimizer_has_own_code(optimizer)
        or filling.selects
        or not live
        or set(live) != set(stored)
        or _share_memory(live.values())
    ):
        return _by_optimizers_load_state_dict(optimizer, filling)
    _require_same_groups(optimizer, described)
    result = filling.fill(live)
    # In the structure of the file, the live tensors: load_state_dict takes those as they are.
    described["state"] = _replaced(described["state"], "state/", live)
    optimizer.load_state_dict(described)
    return result


def _refuse_shards(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        if any(is_dtensor(parameter) for parameter in group["params"]):
            raise _core.MismatchError(
                "the optimizer's parameters are DTensors, and so is its state; pass what "
                "transload.load() returns to "
                "torch.distributed.checkpoint.state_dict.set_optimizer_state_dict()"
            )


def _share_memory(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether one of them would change with another; in the file they may differ."""
    storages = [t.untyped_storage()._cdata for t in tensors]
    return len(set(storages)) < len(storages)


def _optimizer_has_own_code(optimizer: torch.optim.Optimizer) -> bool:
    plain = torch.optim.Optimizer
    return bool(
        optimizer._optimizer_load_state_dict_pre_hooks
        or optimizer._optimizer_load_state_dict_post_hooks
        or any(
            getattr(getattr(optimizer, name), "__func__", getattr(optimizer, name))
            is not getattr(plain, name)
            for name in ("load_state_dict", "_process_value_according_to_param_policy")
        )
    )


def _require_same_groups(optimizer: torch.optim.Optimizer, described: dict[str, Any]) -> None:
    """Lets load_state_dict raise its ValueError before a byte moves."""
    there = [len(group["params"]) for group in described["param_groups"]]
    if there != [len(group["params"]) for group in optimizer.param_groups]:
        optimizer.load_state_dict(described)


def _replaced(value: Any, prefix: str, live: dict[str, torch.Tensor]) -> Any:
    """A copy of nested containers in which the tensors are those of `live`, by their names."""
    if isinstance(value, dict):
        return {key: _replaced(part, f"{prefix}{key}/", live) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(part, f"{prefix}{i}/", live) for i, part in enumerate(value))
    return live.get(prefix[:-1], value)


def _by_optimizers_load_state_dict(
    optimizer: torch.optim.Optimizer, filling: Filling
) -> FillResult:
    state = filling.load()
    if not filling.transactional:
        optimizer.load_state_dict(state)
        return FillResult([], [])
    live = flat(optimizer.state_dict()["state"], filling.arrays)
    restore = _optimizer_now(optimizer)
    try:
        with elements_restored(live):
            optimizer.load_state_dict(state)
    except BaseException:
        restore()
        raise
    return FillResult([], [])


def _optimizer_now(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """Returns a function that puts back which values the state and the groups hold."""
    state = {parameter: dict(values) for parameter, values in optimizer.state.items()}
    groups = [dict(group) for group in optimizer.param_groups]

    def restore() -> None:
        optimizer.state.clear()
        optimizer.state.update(state)
        optimizer.param_groups[:] = groups

    return restore


def _no_optimizer_there(filling: Filling, described: Any) -> str:
    where = f'at "{filling.at}"' if filling.at else "at the root of the file"
    text = f'{where}: not an optimizer\'s state, which is a dict with the keys "state" and "param_groups"'
    return text + _parts_that_fit(
        filling, described, lambda value: {"state", "param_groups"} <= set(value)
    )


def _parts_that_fit(
    filling: Filling, described: Any, fits: Callable[[dict[Any, Any]], bool]
) -> str:
    if not isinstance(described, dict):
        return ""
    start = filling.at + "/" if filling.at else ""
    inside = [
        f'at="{start}{key}"'
        for key, value in described.items()
        if isinstance(value, dict) and fits(value)
    ]
    return "; pass " + " or ".join(inside) if inside else ""


def fill_by_load_state_dict(live: Any, filling: Filling) -> FillResult:
    """Fills any other object that has state_dict() and load_state_dict(), such as a scheduler or a
    GradScaler, by its load_state_dict, from tensors in host memory. Raises MismatchError if its
    state has no key that the file has there: many a load_state_dict takes anything."""
    if not filling.strict:
        raise TypeError(
            f"strict=False: {type(live).__name__} is filled by its load_state_dict, which decides "
            "what is missing; leave it out"
        )
    described = filling.load("meta")
    before = live.state_dict() if hasattr(live, "state_dict") else {}
    keys = set(before) if isinstance(before, dict) else set()
    if keys and not (isinstance(described, dict) and keys & set(described)):
        where = f'at "{filling.at}"' if filling.at else "at the root of the file"
        raise _core.MismatchError(
            f"{where}: not the state of a {type(live).__name__}, which has the keys "
            + ", ".join(f'"{key}"' for key in list(before)[:5])
            + _parts_that_fit(filling, described, lambda value: bool(keys & set(value)))
        )
    before = copy.deepcopy(before) if filling.transactional else before
    state = filling.load()
    try:
        live.load_state_dict(state)
    except BaseException:
        if filling.transactional:
            live.load_state_dict(before)
        raise
    return FillResult([], [])
