"""Whether two objects that torch.load gave are the same: types, order, values, strides, ties, requires_grad."""
import math

import torch


def same(a, b, path="", ties=None):
    """Asserts it. Storages that are one in `a` must be one in `b`, and no others."""
    ties = {} if ties is None else ties
    assert type(a) is type(b), f"{path}: {type(a)} and {type(b)}"
    if isinstance(a, (list, dict)):
        if ties.setdefault(id(a), id(b)) == id(b) and ("seen", id(a)) in ties:
            return  # it is in itself, or here a second time
        ties["seen", id(a)] = True
    if isinstance(a, torch.Tensor):
        same_tensor(a, b, path, ties)
    elif isinstance(a, dict):
        assert [*map(repr, a)] == [*map(repr, b)], f"{path}: keys {list(a)[:5]} and {list(b)[:5]}"
        for (key, x), y in zip(a.items(), b.values()):
            same(x, y, f"{path}/{key}", ties)
        if hasattr(a, "__dict__"):
            same(vars(a), vars(b), path + ".__dict__", ties)
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b)):
            same(x, y, f"{path}/{i}", ties)
    elif isinstance(a, torch.UntypedStorage):
        assert bytes(a) == bytes(b), path
    elif isinstance(a, torch.storage.TypedStorage):
        assert a.dtype == b.dtype and bytes(a.untyped()) == bytes(b.untyped()), path
    elif isinstance(a, float):
        assert (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b)), path
    else:
        assert a == b, f"{path}: {a!r} and {b!r}"


def same_tensor(a, b, path, ties):
    assert a.dtype == b.dtype and a.is_nested == b.is_nested, f"{path}: {a.dtype}, {b.dtype}"
    if a.is_nested:
        assert a.requires_grad == b.requires_grad and a.layout == b.layout, path
        for x, y in zip(a.unbind(), b.unbind(), strict=True):
            assert torch.equal(x, y), path
        return
    assert a.shape == b.shape, f"{path}: {a.shape}, {b.shape}"
    assert a.requires_grad == b.requires_grad and a.device == b.device and a.layout == b.layout, path
    if a.is_quantized or a.layout != torch.strided:
        assert repr(a) == repr(b), path
        return
    assert a.is_conj() == b.is_conj() and a.is_neg() == b.is_neg(), path
    assert a.stride() == b.stride(), f"{path}: strides {a.stride()} and {b.stride()}"
    if a.device.type == "meta":
        return
    x, y = a.untyped_storage(), b.untyped_storage()
    if x.nbytes():
        assert ties.setdefault(("a", x.data_ptr()), y.data_ptr()) == y.data_ptr(), f"{path}: tied differently"
        assert ties.setdefault(("b", y.data_ptr()), x.data_ptr()) == x.data_ptr(), f"{path}: tied differently"
    assert elements(a) == elements(b), f"{path}: other values"
    if getattr(a, "__dict__", None) or getattr(b, "__dict__", None):
        assert set(vars(a)) == set(vars(b)), path


def elements(t):
    """Its elements as stored, in row-major order."""
    t = torch.empty(0, dtype=t.dtype).set_(t.untyped_storage(), t.storage_offset(), t.shape, t.stride())
    if t.numel() == 0:
        return b""
    return bytes(torch.empty(t.shape, dtype=t.dtype).copy_(t).reshape(-1).view(torch.uint8).numpy())
