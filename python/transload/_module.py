"""Filling torch's modules.

Tensors are filled in place by the library where torch's default rules hold. Where a module has
code of its own that runs when a state dict is loaded (hooks, _load_from_state_dict,
load_state_dict), the file is read to host memory and that code runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from . import _core
from ._dtensor import as_shards, local_part, require_shards
from ._fill import EXTRA_STATE, Filling, FillResult

_Module = torch.nn.Module
_NORM = torch.nn.modules.batchnorm._NormBase


def fill_module(module: torch.nn.Module, filling: Filling) -> FillResult:
    """Fills parameters, persistent buffers and extra state. Raises as load_into()."""
    live = _live_tensors(module)
    require_shards(live, lambda: filling.state("meta"))
    if _has_own_code(module, live):
        return _by_load_state_dict(module, filling)
    extra = {
        start + EXTRA_STATE: part
        for start, part in _parts(module)
        if _is_overridden(part, "set_extra_state")
    }
    _leave_out_counts(module, live, filling)
    values = {k: v for k, v in filling.extra_states().items() if k in extra} if extra else {}
    missing = [key for key in extra if key not in values]
    if missing and filling.strict:
        raise _core.MismatchError("missing keys: " + ", ".join(f'"{key}"' for key in missing))
    with values_restored(module) if values and filling.transactional else nullcontext():
        result = filling.fill(
            {key: local_part(tensor) for key, tensor in live.items()},
            drop=filling.patterns_of_extra_states() if extra else [],
        )
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


def _has_own_code(module: torch.nn.Module, live: dict[str, torch.Tensor]) -> bool:
    if _is_overridden(module, "load_state_dict"):  # of the root: torch calls no other
        return True
    if not all(_is_plain(local_part(tensor)) for tensor in live.values()):
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
    stored = filling.state("meta")
    metadata = getattr(stored, "_metadata", None) or {}
    for start in counts:
        version = metadata.get(start[:-1], {}).get("version", None)
        if f"{start}num_batches_tracked" not in stored and (version is None or version < 2):
            del live[f"{start}num_batches_tracked"]


def _by_load_state_dict(module: torch.nn.Module, filling: Filling) -> FillResult:
    """By the module's own load_state_dict, from tensors in host memory. If it fails, parameters and
    buffers get back the values that they had, from copies in host memory; what else its code has
    changed stays changed."""
    state = filling.state()
    live = _live_tensors(module)
    _add_tied(state, live)
    as_shards(state, live)
    with values_restored(module):
        try:
            result = module.load_state_dict(state, **_strictness(module, filling))
        except RuntimeError as error:
            if not str(error).startswith("Error(s) in loading state_dict"):
                raise
            raise _core.MismatchError(str(error)) from error
        _refuse_meta(module, state)
    missing, unexpected = result if result is not None else ((), ())
    return FillResult(list(missing), list(unexpected))


def _strictness(module: torch.nn.Module, filling: Filling) -> dict[str, bool]:
    parameters = inspect.signature(module.load_state_dict).parameters
    takes = "strict" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if not takes and not filling.strict:
        raise TypeError(
            f"strict=False: the load_state_dict of {type(module).__name__} has no such argument; "
            "leave it out"
        )
    return {"strict": filling.strict} if takes else {}


def _add_tied(state: Any, live: dict[str, torch.Tensor]) -> None:
    """Adds the other names of live tensors that have several, where a state dict has one."""
    if not isinstance(state, dict):
        return
    names: dict[Any, list[str]] = {}
    for key, tensor in live.items():
        if not torch.nn.parameter.is_lazy(tensor) and tensor.layout == torch.strided:
            names.setdefault(id(tensor), []).append(key)
    for tied in names.values():
        known = [key for key in tied if key in state]
        for key in tied if known else []:
            state.setdefault(key, state[known[0]])


def _refuse_meta(module: torch.nn.Module, state: Any) -> None:
    """torch copies nothing to a tensor on meta, and warns."""
    empty = [
        key
        for key, tensor in _live_tensors(module).items()
        if tensor.is_meta
        and tensor.numel() > 0
        and isinstance(state, dict)
        and not getattr(state.get(key), "is_meta", True)
    ]
    if empty:
        raise _core.MismatchError(
            f'"{empty[0]}" lives on meta, where it has no memory to be filled; give it memory '
            "first: model.to_empty(device=…)"
        )


@contextmanager
def values_restored(module: torch.nn.Module) -> Iterator[None]:
    """Puts back parameters and buffers, and the elements that they had, if the body raises."""
    parts = [(part, dict(part._parameters), dict(part._buffers)) for part in module.modules()]
    with elements_restored(_live_tensors(module)):
        try:
            yield
        except BaseException:
            for part, parameters, buffers in parts:
                for now, before in ((part._parameters, parameters), (part._buffers, buffers)):
                    now.clear()
                    now.update(before)
            raise


@contextmanager
def elements_restored(live: dict[str, torch.Tensor]) -> Iterator[None]:
    """Puts the elements of tensors back if the body raises, their shapes too: observers resize
    theirs, and lazy modules give theirs a shape."""
    lazy = torch.nn.parameter.is_lazy
    uninitialized = [(t, type(t)) for t in live.values() if lazy(t)]
    before = [
        (t, t.detach().to("cpu", copy=True))
        for t in map(local_part, live.values())
        if not lazy(t) and t.device.type != "meta"
    ]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for tensor, copy in before:
                if tensor.shape != copy.shape:
                    tensor.resize_(copy.shape)
                tensor.copy_(copy)
            for tensor, kind in uninitialized:
                if type(tensor) is not kind:
                    tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
                    tensor.__class__ = kind
        raise
