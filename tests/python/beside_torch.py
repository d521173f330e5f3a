"""Calls of torch.load with patch_torch() and without it, side by side."""
import contextlib
import io
import warnings

import torch
from equal import same

import transload


def outcome(call):
    """What a call gives, or the type of what it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call(), None
        except Exception as error:
            return None, type(error)


def written(value, *, patched=False, **options):
    """What torch.save writes to memory, and the patch it went through or None."""
    buffer = io.BytesIO()
    with transload.patch_torch() if patched else contextlib.nullcontext() as patch:
        torch.save(value, buffer, **options)
    return buffer.getvalue(), patch


def loads_as_torch_does(opened, expect, compare=same, **options):
    """Compares torch.load with and without the patch. opened: returns a file anew. expect: "served", or the reason."""
    right, refusal = outcome(lambda: torch.load(opened(), **options))
    with transload.patch_torch() as patch:
        got, error = outcome(lambda: torch.load(opened(), **options))
    assert error is refusal, (error, refusal, patch.reason)
    if refusal is None:
        compare(right, got)
    if expect == "served":
        assert (patch.loaded, patch.left_to_torch) == (1, 0), patch.reason
    else:
        assert patch.loaded == 0 and patch.reasons == {expect: 1}, patch.reason
    return got
