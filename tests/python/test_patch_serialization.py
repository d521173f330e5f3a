"""The values that PyTorch's own test/test_serialization.py describes, through patch_torch(): each call does what it does
without the patch, and goes where docs/from_torch_load.md says. Every test compares with torch itself."""
import collections
import enum
import functools
import io
import os
import pathlib
import pickle
import types
import warnings

import numpy
import pytest
import torch
from beside_torch import loads_as_torch_does, outcome, written
from equal import same
from torch.serialization import safe_globals

import transload

OBJECTS = "objects of classes that are not plain data"


def trip(value, expect="served", compare=same, **options):
    """Saves and loads, all four ways: with the patch and without."""
    plain, _ = written(value)
    by_patch, patch = written(value, patched=True)
    assert patch.saved == 1, patch.reason
    loads_as_torch_does(lambda: io.BytesIO(plain), expect, compare, **options)
    got = loads_as_torch_does(lambda: io.BytesIO(by_patch), expect, compare, **options)
    if got is not None:
        compare(value, got)
    return got


# --- values -----------------------------------------------------------------------------------------------------


def test_views_of_several_dtypes_and_sharing():
    base = torch.arange(20.0)
    trip([base, base[3:9], base.view(4, 5).t(), base[::3], torch.zeros(2, 0), torch.tensor(3), torch.arange(5, dtype=torch.uint8)])


def test_a_part_of_a_storage_takes_its_whole_storage():
    got = trip(torch.arange(1000.0)[10:20])
    assert got.untyped_storage().nbytes() == 4000


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fnuz, torch.float8_e8m0fnu, torch.uint16, torch.uint32, torch.uint64, torch.bool,
                                   torch.complex32, torch.complex128, torch.bfloat16], ids=str)
def test_dtypes_with_and_without_a_storage_class(dtype):
    trip({"t": torch.arange(8, dtype=torch.uint8).repeat(16).view(dtype), "dtype": dtype})


def test_bare_storages():
    def compare(a, b):
        assert bytes(a[0].untyped()) == bytes(b[0].untyped()) and bytes(a[1].untyped()) == bytes(b[1].untyped())

    data, _ = written([torch.arange(4.0).untyped_storage(), torch.arange(5).storage()])
    loads_as_torch_does(lambda: io.BytesIO(data), "served", compare)
    by_patch, patch = written([torch.arange(4.0).untyped_storage(), torch.arange(5).storage()], patched=True)
    assert patch.saved == 1
    loads_as_torch_does(lambda: io.BytesIO(by_patch), "served", compare)


def test_views_of_one_storage_in_two_dtypes_are_torchs_error():
    base = torch.arange(4.0)
    value = [base, base.view(torch.int32)]
    assert outcome(lambda: written(value))[1] is RuntimeError
    assert outcome(lambda: written(value, patched=True))[1] is RuntimeError


def test_conjugate_and_negative_bits():
    t = torch.tensor([1 + 2j, 3 - 4j])
    trip([t.conj(), torch.tensor([1 + 2j]).conj().imag, torch._neg_view(torch.ones(2)), t.clone()])


def test_attributes_of_tensors_and_parameters():
    t, p = torch.ones(2), torch.nn.Parameter(torch.ones(2), requires_grad=False)
    t.tag, p.extra = "a", {"b": [1, torch.zeros(1)]}
    got = trip([t, p, t])
    assert got[0].tag == "a" and got[1].extra["b"][0] == 1 and got[2] is got[0]


def test_grads_are_not_saved_and_requires_grad_is():
    t = torch.ones(2, requires_grad=True)
    t.sum().backward()
    got = trip([t, t.detach(), torch.ones(1, requires_grad=True)])
    assert got[0].requires_grad and got[0].grad is None


@pytest.mark.parametrize("value", [
    {1, 2}, 1 + 2j, b"bytes", bytearray(b"ab"), 2**200, -1, True, None, "é\ud800", 1e300, torch.Size([1]), torch.device("cuda:3"),
    torch.float16, torch.sparse_csr, torch.per_tensor_affine, collections.Counter("abca"), collections.OrderedDict(a=1), (), [[]]], ids=str)
def test_plain_values_are_served(value):
    trip({"v": value})


class Color(enum.Enum):
    RED = 1


Pair = collections.namedtuple("Pair", "a b")


class Own:
    def __init__(self, v=1):
        self.v = v

    def __eq__(self, other):
        return type(self) is type(other) and self.v == other.v

    __hash__ = None


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self):
        self.a, self.b = torch.ones(1), 2


class WithState(Own):
    def __getstate__(self):
        return (self.v, torch.full((3,), float(self.v)))

    def __setstate__(self, state):
        self.v, self.tensor = state


class WithNew(Own):
    def __new__(cls, v):
        made = super().__new__(cls)
        made.from_new = v
        return made

    def __getnewargs__(self):
        return (self.v,)


class SubDict(dict):
    pass


class SubList(list):
    pass


REFUSED = {
    "frozenset": frozenset([1]), "empty bytes": b"", "long int": 1 << 4000, "range": range(3), "deque": collections.deque([1]),
    "defaultdict": collections.defaultdict(int, a=1), "namespace": types.SimpleNamespace(a=1), "enum": Color.RED, "class": Own,
    "own": Own(3), "named tuple": Pair(1, 2), "numpy scalar": numpy.float64(2), "numpy array": numpy.arange(3), "path": pathlib.Path("a"),
    "partial": functools.partial(int, base=2), "dict": SubDict(a=1), "list": SubList([1]), "slice": slice(1), "ellipsis": ...,
    "numpy dtype": numpy.dtype("f4"), "function": os.path.join,
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("where", [lambda v: v, lambda v: {"a": [v]}, lambda v: ({"k": (v,), "t": torch.ones(1)},)], ids=["root", "list", "tuple"])
def test_what_weights_only_refuses_is_refused_and_else_is_torchs_value(name, where):
    def compare(a, b):
        assert type(a) is type(b)
        x, y = inside(a), inside(b)
        assert type(x) is type(y) and pickle.dumps(x) == pickle.dumps(y)

    def inside(v):
        while isinstance(v, (dict, list, tuple)) and type(v) in (dict, list, tuple):
            v = v.get("a", v.get("k")) if isinstance(v, dict) else v[0]
        return v

    data, _ = written(where(REFUSED[name]))
    by_patch, _ = written(where(REFUSED[name]), patched=True)
    for content in (data, by_patch):
        loads_as_torch_does(lambda: io.BytesIO(content), OBJECTS)
        with transload.patch_torch():
            got = torch.load(io.BytesIO(content), weights_only=False)
        compare(torch.load(io.BytesIO(content), weights_only=False), got)


@pytest.mark.parametrize("name", ["frozenset", "empty bytes", "long int", "numpy scalar", "numpy array", "numpy dtype"])
def test_plain_values_that_only_weights_only_refuses_are_served_without_it(name):
    data, _ = written([REFUSED[name]])
    loads_as_torch_does(lambda: io.BytesIO(data), "served", weights_only=False,
                        compare=lambda a, b: pickle.dumps(a) == pickle.dumps(b) or pytest.fail(f"{a} {b}"))


# --- weights_only and the allow-list ----------------------------------------------------------------------------


def like(a, b):
    assert type(a) is type(b)
    for key in ("v", "from_new", "a", "b"):
        assert hasattr(a, key) == hasattr(b, key)
        if not isinstance(getattr(a, key, None), torch.Tensor):
            assert getattr(a, key, None) == getattr(b, key, None)
    if hasattr(a, "tensor"):
        assert torch.equal(a.tensor, b.tensor)


@pytest.mark.parametrize("value", [Own(2), WithState(3), WithNew(4), Slotted()], ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("only", [True, False])
def test_allowed_classes_are_made_as_torch_makes_them(value, only):
    data, _ = written(value)
    loads_as_torch_does(lambda: io.BytesIO(data), OBJECTS, like, weights_only=only)
    with safe_globals([type(value)]):
        loads_as_torch_does(lambda: io.BytesIO(data), "served", like, weights_only=only)


@pytest.mark.parametrize("value", [SubDict(a=1), SubList([1]), collections.deque([1]), Color.RED, Pair(1, 2)], ids=lambda v: type(v).__name__)
def test_allowed_classes_that_torch_builds_in_a_way_of_its_own(value):
    """It neither appends to nor sets items of classes other than its own."""
    data, _ = written(value)
    with safe_globals([type(value), SubDict, SubList]):
        right, refusal = outcome(lambda: torch.load(io.BytesIO(data)))
        with transload.patch_torch():
            got, error = outcome(lambda: torch.load(io.BytesIO(data)))
        assert error is refusal and type(got) is type(right) and got == right


def test_a_blocked_module_stays_blocked_although_it_is_allowed():
    class Runs:
        def __reduce__(self):
            return os.getpid, ()

    data, _ = written(Runs())
    with safe_globals([os.getpid]):
        right, refusal = outcome(lambda: torch.load(io.BytesIO(data)))
        with transload.patch_torch():
            got, error = outcome(lambda: torch.load(io.BytesIO(data)))
    assert error is refusal is pickle.UnpicklingError


def test_numpy_that_is_allowed_is_torchs():
    data, _ = written(numpy.float64(2))
    allowed = [numpy._core.multiarray.scalar, numpy.dtype, numpy.dtypes.Float64DType]
    with safe_globals(allowed):
        right, refusal = outcome(lambda: torch.load(io.BytesIO(data)))
        with transload.patch_torch():
            got, error = outcome(lambda: torch.load(io.BytesIO(data)))
    assert error is refusal is None and got == right == 2


class Wrapped(torch.Tensor):
    pass


@pytest.mark.parametrize("make", [lambda: torch.ones(2).as_subclass(Wrapped), lambda: torch.nn.Parameter(torch.ones(2).as_subclass(Wrapped)),
                                  lambda: [torch.ones(2), torch.ones(3).as_subclass(Wrapped)]], ids=["alone", "parameter", "list"])
def test_subclasses_of_tensors(make):
    def compare(a, b):
        for x, y in zip(a if isinstance(a, list) else [a], b if isinstance(b, list) else [b]):
            assert type(x) is type(y) and torch.equal(x.as_subclass(torch.Tensor), y.as_subclass(torch.Tensor))

    for content in (written(make())[0], written(make(), patched=True)[0]):
        for options in ({}, {"weights_only": False}):
            right, refusal = outcome(lambda: torch.load(io.BytesIO(content), **options))
            with transload.patch_torch() as patch:
                got, error = outcome(lambda: torch.load(io.BytesIO(content), **options))
            assert error is refusal and patch.loaded == 0
            if refusal is None:
                compare(right, got)


def test_whole_modules_and_optimizers():
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    data, _ = written(net)
    loads_as_torch_does(lambda: io.BytesIO(data), OBJECTS)
    loads_as_torch_does(lambda: io.BytesIO(data), OBJECTS, lambda a, b: same(a.state_dict(), b.state_dict()), weights_only=False)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=5)
    trip({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": {k: v for k, v in scheduler.state_dict().items()
                                                                                     if isinstance(v, (int, float, list))}})


def test_sparse_and_nested_and_quantized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dense = torch.eye(4)
        values = [dense.to_sparse(), dense.to_sparse_csr(), dense.to_sparse_csc(), dense.to_sparse_bsr((2, 2)),
                  torch.nested.nested_tensor([torch.ones(2), torch.zeros(3)]), torch.quantize_per_tensor(torch.ones(3), 0.1, 1, torch.qint8)]
        trip(values)
