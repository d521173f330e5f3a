"""The file objects, settings and arguments that PyTorch's own test/test_serialization.py describes, through patch_torch().
Every test compares with torch itself."""
import copy
import gzip
import io
import pickle
import warnings
import zipfile

import pytest
import torch
from beside_torch import loads_as_torch_does, outcome, written
from equal import same
from torch.serialization import LoadEndianness, set_default_load_endianness
from torch.utils.serialization import config

import transload


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
    loads_as_torch_does(lambda: tmp_path / "l.pt", "a file of another format", mmap=mmap)


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
    data, _ = written(net.state_dict())
    got = loads_as_torch_does(lambda: io.BytesIO(data), "served")
    other = copy.deepcopy(torch.nn.Linear(3, 2))
    other.load_state_dict(copy.deepcopy(got))
    same(net.state_dict(), other.state_dict())
