"""Filling what torch has: modules and optimizers."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch

from . import _core
from ._index import open as open_index
from ._load import fill, flat, load


def fill_module(module: torch.nn.Module, file: str, chosen: dict[str, Any], arrays: ModuleType) -> tuple[list[str], list[str]]:
    if _rewrites_state_dicts(module):
        return _by_load_state_dict(module, file, chosen)
    live: dict[str, torch.Tensor] = {}
    extra: dict[str, torch.nn.Module] = {}
    for prefix, part in module.named_modules(remove_duplicate=False):
        start = prefix + "." if prefix else ""
        for name, tensor in [*part._parameters.items(), *part._buffers.items()]:
            if tensor is None or name in part._non_persistent_buffers_set:
                continue
            if torch.nn.parameter.is_lazy(tensor):
                raise _core.MismatchError(f'"{start}{name}" has no shape yet; run the module once before it is filled')
            live[start + name] = tensor
        if type(part).set_extra_state is not torch.nn.Module.set_extra_state:
            extra[f"{start}_extra_state"] = part
    index = _core.open(file, False, False)
    values = _extra_values(open_index(file), chosen["at"], extra) if extra else {}
    missing, unexpected = fill(live, index, {**chosen, "drop": [*chosen["drop"], *values]}, arrays)
    for key, value in values.items():
        extra[key].set_extra_state(value)
    return missing, unexpected


def _extra_values(index: Any, at: str, extra: dict[str, torch.nn.Module]) -> dict[str, Any]:
    part = index
    for step in filter(None, at.split("/")):
        part = part[step]
    return {key: part[key] for key in extra if key in part}


def _rewrites_state_dicts(module: torch.nn.Module) -> bool:
    """Whether a part of it has hooks that change a state dict before it is taken, which only torch can run."""
    plain = (torch.nn.Module._load_from_state_dict, torch.nn.modules.batchnorm._NormBase._load_from_state_dict)
    return any(
        part._load_state_dict_pre_hooks
        or part._load_state_dict_post_hooks
        or (type(part)._load_from_state_dict not in plain and type(part).__module__.partition(".")[0] != "torch")
        for part in module.modules()
    )


def _by_load_state_dict(module: torch.nn.Module, file: str, chosen: dict[str, Any]) -> tuple[list[str], list[str]]:
    state = load(file, "cpu", mmap=True, keep=chosen["keep"], drop=chosen["drop"], rename=chosen["rename"], verify=chosen["verify"])
    for step in filter(None, chosen["at"].split("/")):
        state = state[step]
    missing, unexpected = module.load_state_dict(state, strict=chosen["strict"])
    return missing, unexpected


def fill_optimizer(
    optimizer: torch.optim.Optimizer, file: str, chosen: dict[str, Any], arrays: ModuleType
) -> tuple[list[str], list[str]]:
    """Tensors of state that lives are filled in place; the rest (learning rates, the state of parameters that have none
    yet) is set by the optimizer's own load_state_dict."""
    live = flat(optimizer.state_dict()["state"], arrays, "state/")
    index = open_index(file)
    for step in filter(None, chosen["at"].split("/")):
        index = index[step]
    stored = {name for name in index.tensors}
    if live and set(live) == stored:
        values = index.load(map_location="meta")
        result = fill(live, _core.open(file, False, False), chosen, arrays)
        for group, saved in zip(optimizer.param_groups, values["param_groups"], strict=True):
            group.update({key: value for key, value in saved.items() if key != "params"})
        return result
    optimizer.load_state_dict(index.load(map_location="cpu", mmap=True))
    return [], []
