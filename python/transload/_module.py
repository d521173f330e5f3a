"""Filling torch's modules and optimizers.

Tensors are filled in place by the library where torch's default rules hold. Where a module or an
optimizer has code of its own that runs when a state dict is loaded (hooks, _load_from_state_dict,
load_state_dict), the file is read to host memory and that code runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from . import _core
from ._fill import Filling, FillResult, flat

_Module = torch.nn.Module
_NORM = torch.nn.modules.batchnorm._NormBase


def fill_module(module: torch.nn.Module, filling: Filling) -> FillResult:
    """Fills parameters, persistent buffers and extra state. Raises as load_into()."""
    if _has_own_code(module):
        return _by_load_state_dict(module, filling)
    live = _live_tensors(module)
    extra = {
        f"{start}_extra_state": part
        for start, part in _parts(module)
        if _is_overridden(part, "set_extra_state")
    }
    _leave_out_counts(module, live, filling)
    values = _extra_values(filling, extra) if extra else {}
    missing = [key for key in extra if key not in values]
    if missing and filling.strict:
        raise _core.MismatchError("missing keys: " + ", ".join(f'"{key}"' for key in missing))
    result = filling.fill(live, drop=[pattern for key in values for pattern in (key, key + "/*")])
    for key, value in values.items():
        extra[key].set_extra_state(value)
    return FillResult(result.missing_keys + missing, result.unexpected_keys)


def _parts(module: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """Each module below, under each name that it has, which ends with "." unless it is the
    root's."""
    for prefix, part in module.named_modules(remove_duplicate=False):
        yield prefix + "." if prefix else "", part


def _live_tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    live: dict[str, torch.Tensor] = {}
    for start, part in _parts(module):
        for name, tensor in [*part._parameters.items(), *part._buffers.items()]:
            if tensor is not None and name not in part._non_persistent_buffers_set:
                live[start + name] = tensor
    return live


def _is_overridden(part: torch.nn.Module, name: str) -> bool:
    """Whether a class, or the object itself, has another method than torch.nn.Module."""
    return getattr(getattr(part, name), "__func__", None) is not getattr(_Module, name)


def _has_own_code(module: torch.nn.Module) -> bool:
    if _is_overridden(module, "load_state_dict"):  # of the root: torch calls no other
        return True
    if not all(_is_plain(tensor) for tensor in _live_tensors(module).values()):
        return True
    return any(
        part._load_state_dict_pre_hooks
        or part._load_state_dict_post_hooks
        or (
            _is_overridden(part, "_load_from_state_dict")
            and getattr(part._load_from_state_dict, "__func__", None)
            is not _NORM._load_from_state_dict
        )
        for part in module.modules()
    )


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether its elements are the bytes of a storage: not a subclass's, sparse or quantized."""
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
    return (
        plain
        and tensor.layout == torch.strided
        and not tensor.is_quantized
        and not tensor.is_nested
    )


def _leave_out_counts(
    module: torch.nn.Module, live: dict[str, torch.Tensor], filling: Filling
) -> None:
    """A state dict from before version 2 of BatchNorm has no num_batches_tracked, which then stays
    as it is: torch's _NormBase._load_from_state_dict."""
    counts = [
        start
        for start, part in _parts(module)
        if isinstance(part, _NORM) and f"{start}num_batches_tracked" in live
    ]
    if not counts:
        return
    stored = filling.load("meta")
    metadata = getattr(stored, "_metadata", None) or {}
    for start in counts:
        version = metadata.get(start[:-1], {}).get("version", None)
        if f"{start}num_batches_tracked" not in stored and (version is None or version < 2):
            del live[f"{start}num_batches_tracked"]


def _extra_values(filling: Filling, extra: dict[str, torch.nn.Module]) -> dict[str, Any]:
    """Extra states that the file has, as far as keep and drop select them."""
    stored = filling.load("meta")
    wanted = [key for key in extra if key in stored and _is_selected(key, filling)]
    if not wanted:
        return {}
    alone = Filling(
        filling.core, filling.arrays, filling.at, threads=filling.threads, verify=filling.verify
    )
    alone.keep = [pattern for key in wanted for pattern in (key, key + "/*")]
    if not any(
        name in wanted or name.startswith(tuple(key + "/" for key in wanted))
        for name in flat(stored, filling.arrays)
    ):
        return {key: stored[key] for key in wanted}  # without tensors
    values = alone.load()
    return {key: values[key] for key in wanted}


def _is_selected(key: str, filling: Filling) -> bool:
    def fits(patterns: list[str]) -> bool:
        return any(
            re.fullmatch(re.escape(p).replace(r"\*", ".*").replace(r"\?", "."), key, re.DOTALL)
            for p in patterns
        )

    return (not filling.keep or fits(filling.keep)) and not fits(filling.drop)


def _by_load_state_dict(module: torch.nn.Module, filling: Filling) -> FillResult:
    """By the module's own load_state_dict, from tensors in host memory. If it fails, parameters and
    buffers get back the values that they had, from copies in host memory; what else its code has
    changed stays changed."""
    state = filling.load()
    with _values_restored(_live_tensors(module)):
        try:
            result = module.load_state_dict(state, strict=filling.strict)
        except RuntimeError as error:
            if not str(error).startswith("Error(s) in loading state_dict"):
                raise
            raise _core.MismatchError(str(error)) from error
    missing, unexpected = result if result is not None else ((), ())
    return FillResult(list(missing), list(unexpected))


@contextmanager
def _values_restored(live: dict[str, torch.Tensor]) -> Iterator[None]:
    """Puts the elements of tensors back if the body raises."""
    lazy = torch.nn.parameter.is_lazy
    before = [
        (t, t.detach().to("cpu", copy=True))
        for t in live.values()
        if not lazy(t) and t.device.type != "meta"
    ]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for tensor, copy in before:
                tensor.copy_(copy)
        raise


def fill_optimizer(optimizer: torch.optim.Optimizer, filling: Filling) -> FillResult:
    """Fills the tensors of state that lives in place. All else (learning rates, counts, state of
    parameters that have none yet) is set by load_state_dict. Raises as load_into(), and ValueError
    as load_state_dict if the groups of parameters differ."""
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
    ):
        return _by_optimizers_load_state_dict(optimizer, filling)
    _require_same_groups(optimizer, described)
    result = filling.fill(live)
    # In the structure of the file, the live tensors: load_state_dict takes those as they are.
    described["state"] = _replaced(described["state"], "state/", live)
    optimizer.load_state_dict(described)
    return result


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
        with _values_restored(live):
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
    if isinstance(described, dict):
        inside = [
            str(key)
            for key, value in described.items()
            if isinstance(value, dict) and {"state", "param_groups"} <= set(value)
        ]
        start = filling.at + "/" if filling.at else ""
        if inside:
            text += "; pass " + " or ".join(f'at="{start}{key}"' for key in inside)
    return text
