"""The behaviors that PyTorch's own test/test_serialization.py describes, through patch_torch(): each call does what it does
without the patch, and goes where docs/from_torch_load.md says. Every test compares with torch itself."""
import collections
import contextlib
import copy
import enum
import functools
import gzip
import io
import os
import pathlib
import pickle
import types
import warnings
import zipfile

import numpy
import pytest
import torch
from equal import same
from torch.serialization import LoadEndianness, safe_globals, set_default_load_endianness
from torch.utils.serialization import config

import transload

OBJECTS = "objects of classes that are not plain data"


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


# --- file objects -----------------------------------------------------------------------------------------------


class Stream:
    """A file object with chosen methods: of the position, of reading in place, of a descriptor."""

    def __init__(self, content, *, has_readinto=True):
        self.inner = io.BytesIO(content)
        self.read, self.readline, self.seek, self.tell = self.inner.read, self.inner.readline, self.inner.seek, self.inner.tell
        if has_readinto:
            self.readinto = self.inner.readinto


@pytest.mark.parametrize("missing", ["read", "readline", "seek", "tell"])
def test_a_stream_without_a_method_is_torchs_error(missing):
    data, _ = written([torch.ones(3)])

    def opened():
        stream = Stream(data)
        delattr(stream, missing)
        return stream

    loads_as_torch_does(opened, "a file object without read, readline, tell or seek")


@pytest.mark.parametrize("has_readinto", [True, False])
@pytest.mark.parametrize("before", [0, 1, 4096])
def test_a_stream_from_its_position(has_readinto, before):
    data, _ = written([torch.ones(300), 3])

    def opened():
        stream = Stream(b"x" * before + data, has_readinto=has_readinto)
        stream.seek(before)
        return stream

    loads_as_torch_does(opened, "served")


@pytest.mark.parametrize("content", [b"", b"x", b"PK\3\4", b"PK\3\4 not an archive", bytes(100), pickle.dumps({"a": 1}), b"\x80\x02."], ids=repr)
@pytest.mark.parametrize("as_path", [True, False])
@pytest.mark.parametrize("only", [True, False])
def test_other_bytes_are_torchs_error(tmp_path, content, as_path, only):
    (tmp_path / "x").write_bytes(content)
    right, refusal = outcome(lambda: torch.load(tmp_path / "x" if as_path else io.BytesIO(content), weights_only=only))
    stream = io.BytesIO(content)
    with transload.patch_torch() as patch:
        got, error = outcome(lambda: torch.load(tmp_path / "x" if as_path else stream, weights_only=only))
    assert error is refusal and got == right and patch.loaded == 0


def test_truncated_files_are_torchs_error():
    data, _ = written({"w": torch.ones(1000)})
    for end in (10, 100, len(data) // 2, len(data) - 30, len(data) - 1):
        right, refusal = outcome(lambda: torch.load(io.BytesIO(data[:end])))
        with transload.patch_torch() as patch:
            got, error = outcome(lambda: torch.load(io.BytesIO(data[:end])))
        assert error is refusal is not None and patch.loaded == 0


def test_several_in_one_stream_of_the_legacy_format():
    stream = io.BytesIO()
    for i in range(3):
        torch.save(torch.full((2,), float(i)), stream, _use_new_zipfile_serialization=False)
    stream.seek(0)
    with transload.patch_torch() as patch:
        assert [torch.load(stream)[0].item() for _ in range(3)] == [0, 1, 2]
    assert patch.reasons == {"a file object that is not at the beginning of a zip archive": 3}


@pytest.mark.parametrize("mmap", [None, True, False])
def test_gzip_and_mmap_of_objects(tmp_path, mmap):
    data, _ = written([torch.ones(3)])
    with gzip.open(tmp_path / "x.gz", "wb") as f:
        f.write(data)
    loads_as_torch_does(lambda: gzip.open(tmp_path / "x.gz"), "a file object with mmap=True" if mmap else "served", mmap=mmap)
    (tmp_path / "x.pt").write_bytes(data)
    loads_as_torch_does(lambda: str(tmp_path / "x.pt"), "served", mmap=mmap)
    legacy, _ = written([torch.ones(3)], _use_new_zipfile_serialization=False)
    (tmp_path / "l.pt").write_bytes(legacy)
    loads_as_torch_does(lambda: tmp_path / "l.pt", "a file that transload refuses", mmap=mmap)


def test_torchscript_is_torchs(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "s.pt")
    for only in (True, False):
        loads_as_torch_does(lambda: tmp_path / "s.pt", "a file of another format", lambda a, b: same(a.state_dict(), b.state_dict()), weights_only=only)


def test_safetensors_by_path(tmp_path):
    from safetensors.torch import save_file

    save_file({"b": torch.ones(2), "a": torch.zeros(3)}, tmp_path / "m.safetensors")
    compare = lambda a, b: same({k: a[k] for k in sorted(a)}, {k: b[k] for k in sorted(b)})  # noqa: E731
    loads_as_torch_does(lambda: tmp_path / "m.safetensors", "served", compare)
    loads_as_torch_does(lambda: str(tmp_path / "m.safetensors"), "served", compare, map_location="cpu", mmap=True)
    loads_as_torch_does(lambda: tmp_path / "m.safetensors", "a safetensors file with a map_location that torch refuses", map_location={"cpu": "cpu"})
    (tmp_path / "m.safetensors").rename(tmp_path / "m.pt")
    loads_as_torch_does(lambda: tmp_path / "m.pt", "a file of another format")


# --- settings ---------------------------------------------------------------------------------------------------


def without_byte_order(value):
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(written(value)[0])) as a, zipfile.ZipFile(buffer, "w") as b:
        for name in a.namelist():
            if not name.endswith("byteorder"):
                b.writestr(name, a.read(name))
    return buffer.getvalue()


@pytest.mark.parametrize("order", [None, *LoadEndianness])
def test_the_default_byte_order(order):
    data = without_byte_order({"f": torch.tensor([1.0, 2.5]), "i": torch.tensor([1, 256], dtype=torch.int16)})
    set_default_load_endianness(order)
    try:
        loads_as_torch_does(lambda: io.BytesIO(data), "another default byte order" if order is LoadEndianness.BIG else "served")
    finally:
        set_default_load_endianness(None)


def test_skip_data_both_ways():
    data, _ = written([torch.ones(3)])
    with torch.serialization.skip_data():
        loads_as_torch_does(lambda: io.BytesIO(data), "skip_data", lambda a, b: a[0].shape == b[0].shape or pytest.fail())
        _, patch = written([torch.ones(3)], patched=True)
    assert patch.reasons == {"skip_data": 1}


def test_fake_tensors_are_torchs():
    from torch._subclasses import FakeTensorMode

    data, _ = written([torch.ones(3)])
    with FakeTensorMode():
        loads_as_torch_does(lambda: io.BytesIO(data), "a default device or mode that torch applies",
                            lambda a, b: (type(a[0]) is type(b[0]) and a[0].shape == b[0].shape) or pytest.fail())


@pytest.mark.parametrize("setting, reason", [({"save.storage_alignment": 4096}, "another storage_alignment"),
                                             ({"save.compute_crc32": False}, "crc32 turned off"),
                                             ({"save.use_pinned_memory_for_d2h": True}, None)], ids=str)
def test_settings_of_saving(setting, reason):
    with config.patch(setting):
        data, patch = written({"w": torch.ones(3), "v": torch.ones(500)}, patched=True)
        plain, _ = written({"w": torch.ones(3), "v": torch.ones(500)})
    assert patch.reasons == ({reason: 1} if reason else {})
    assert set(zipfile.ZipFile(io.BytesIO(data)).namelist()) >= {"archive/data.pkl", "archive/.storage_alignment"}
    if reason:
        assert len(data) == len(plain)


def test_settings_of_loading(tmp_path):
    data, _ = written([torch.ones(3)])
    (tmp_path / "x.pt").write_bytes(data)
    with config.patch("load.calculate_storage_offsets", True):
        loads_as_torch_does(lambda: tmp_path / "x.pt", "served")
        loads_as_torch_does(lambda: tmp_path / "x.pt", "calculate_storage_offsets", mmap=True)
    with torch.serialization.set_default_mmap_options(1):
        loads_as_torch_does(lambda: tmp_path / "x.pt", "other mmap options", mmap=True)
        loads_as_torch_does(lambda: tmp_path / "x.pt", "served")


@pytest.mark.parametrize("options, reason", [({"pickle_module": pickle}, "served"), ({"encoding": "latin1"}, "a pickle module, or arguments for it"),
                                             ({"pickle_module": pickle, "weights_only": True}, "a pickle module, or arguments for it")], ids=str)
def test_pickle_modules(options, reason):
    data, _ = written([torch.ones(3)])
    loads_as_torch_does(lambda: io.BytesIO(data), reason, **options)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_pickle_protocols(protocol):
    data, patch = written({"a": torch.ones(2), "b": b"x"}, patched=True, pickle_protocol=protocol)
    assert patch.reasons == {"pickle protocols other than 2": 1}
    loads_as_torch_does(lambda: io.BytesIO(data), "pickle protocols other than 2")
    loads_as_torch_does(lambda: io.BytesIO(data), "served", weights_only=False)


# --- map_location -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["cpu", torch.device("cpu"), {"cpu": "cpu"}, {}, lambda s, tag: s, lambda s, tag: None, lambda s, tag: s.cpu()],
                         ids=["text", "device", "dict", "empty dict", "function", "none", "cpu()"])
def test_places_on_the_cpu(place):
    data, _ = written([torch.ones(3), torch.zeros(2)])
    loads_as_torch_does(lambda: io.BytesIO(data), "served", map_location=place)


@pytest.mark.parametrize("place", ["cuda:9", "nowhere", torch.device("cuda", 9), {"cpu": "cuda:9"}, 3.5], ids=str)
def test_places_that_are_not_here_are_torchs_error(place):
    data, _ = written([torch.ones(3)])
    right, refusal = outcome(lambda: torch.load(io.BytesIO(data), map_location=place))
    with transload.patch_torch() as patch:
        got, error = outcome(lambda: torch.load(io.BytesIO(data), map_location=place))
    assert error is refusal is not None and patch.loaded == 0


def test_a_function_is_called_with_each_tag_once():
    data, _ = written([torch.ones(3), torch.zeros(2), torch.ones(3)])
    calls = []
    with transload.patch_torch() as patch:
        torch.load(io.BytesIO(data), map_location=lambda storage, tag: calls.append(tag))
    assert calls == ["cpu"] * 3 and patch.loaded == 1


def test_deep_copies_and_modules_after_loading():
    net = torch.nn.Linear(3, 2)
    got = trip(net.state_dict())
    other = copy.deepcopy(torch.nn.Linear(3, 2))
    other.load_state_dict(copy.deepcopy(got))
    same(net.state_dict(), other.state_dict())
