"""torch.load and torch.save of existing code, through patch_torch(): behaviours that PyTorch's own tests of
serialization and of load_state_dict describe. `through` says that transload did it, `left` that torch had to."""
import collections
import copy
import gzip
import io
import os
import pathlib
import pickle
import tempfile
import warnings
import zipfile

import pytest
import torch

import transload


@pytest.fixture
def trip(patched, tmp_path):
    """Saves and loads by torch's names; both went through transload."""

    def go(obj, **options):
        path = tmp_path / "f.pt"
        torch.save(obj, path)
        loaded = torch.load(path, **options)
        assert (patched.saved, patched.loaded, patched.left_to_torch) == (1, 1, 0), patched.reason
        assert patched.served == 2 and not patched.reasons
        return loaded

    return go


# --- values and tensors -----------------------------------------------------------------------------------------

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int16, torch.int32, torch.int64,
          torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.complex64, torch.complex128,
          torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_tensor_of_each_dtype(trip, dtype):
    t = torch.arange(6).to(dtype)
    loaded = trip(t)
    assert loaded.dtype == dtype and torch.equal(loaded.view(torch.uint8), t.view(torch.uint8))


def test_several_tensors_of_one_storage_stay_so(trip):
    a = torch.arange(10.0)
    b, c = trip([a, a[3:7]])
    b[4] = 100
    assert c[1] == 100 and c.storage_offset() == 3


def test_two_storages_stay_two(trip):
    b, c = trip([torch.zeros(3), torch.zeros(3)])
    b.fill_(1)
    assert c.sum() == 0


def test_the_same_object_twice_is_one_object(trip):
    t = torch.ones(2)
    inner = [t]
    x, y, z = trip((inner, inner, t))
    assert x is y and x[0] is z


def test_a_list_in_itself(trip):
    x = []
    x.append(x)
    y = trip(x)
    assert y[0] is y


def test_strides_of_a_transposed_tensor(trip):
    t = torch.randn(3, 4).t()
    assert trip(t).stride() == t.stride()


def test_an_expanded_tensor_keeps_stride_zero(trip):
    t = torch.ones(1).expand(1000)
    loaded = trip(t)
    assert loaded.stride() == (0,) and loaded.untyped_storage().nbytes() == 4


def test_a_slice_is_saved_with_all_of_its_storage(trip):
    assert trip(torch.arange(100)[10:12]).untyped_storage().nbytes() == 800


def test_an_empty_tensor(trip):
    assert trip(torch.empty(0, 5)).shape == (0, 5)


def test_a_scalar_tensor(trip):
    assert trip(torch.tensor(3.5)).item() == 3.5


def test_requires_grad(trip):
    assert trip(torch.ones(2, requires_grad=True)).requires_grad


def test_a_parameter(trip):
    loaded = trip(torch.nn.Parameter(torch.ones(2), requires_grad=False))
    assert isinstance(loaded, torch.nn.Parameter) and not loaded.requires_grad


def test_a_conjugate_view(trip):
    t = torch.tensor([1 + 2j]).conj()
    loaded = trip(t)
    assert loaded.is_conj() and torch.equal(loaded, t)


def test_a_negative_view(trip):
    t = torch.tensor([1 + 2j]).conj().imag
    loaded = trip(t)
    assert loaded.is_neg() and torch.equal(loaded, t)


def test_a_tensor_with_attributes(trip):
    t = torch.ones(2)
    t.tag = {"name": "x"}
    assert trip(t).tag == {"name": "x"}


@pytest.mark.parametrize("layout", ["coo", "csr", "csc", "bsr", "bsc"])
def test_sparse_tensors(trip, layout):
    dense = torch.eye(4)
    sparse = {"coo": dense.to_sparse, "csr": dense.to_sparse_csr, "csc": dense.to_sparse_csc,
              "bsr": lambda: dense.to_sparse_bsr((2, 2)), "bsc": lambda: dense.to_sparse_bsc((2, 2))}[layout]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = trip(sparse)
    assert loaded.layout == sparse.layout and torch.equal(loaded.to_dense(), dense)


def test_an_uncoalesced_sparse_tensor_stays_so(trip):
    t = torch.sparse_coo_tensor([[0, 0]], [1.0, 2.0], (2,))
    assert not trip(t).is_coalesced()


def test_a_quantized_tensor(trip):
    t = torch.quantize_per_tensor(torch.randn(3), 0.1, 10, torch.quint8)
    assert torch.equal(trip(t).int_repr(), t.int_repr())


def test_a_tensor_quantized_per_channel(trip):
    t = torch.quantize_per_channel(torch.randn(2, 3), torch.tensor([0.1, 0.2]), torch.tensor([0, 1]), 0, torch.qint8)
    assert torch.equal(trip(t).q_per_channel_scales(), t.q_per_channel_scales())


def test_a_meta_tensor(trip):
    loaded = trip(torch.empty_strided((2, 3), (1, 2), device="meta"))
    assert loaded.is_meta and loaded.stride() == (1, 2)


def test_plain_values(trip):
    values = {"i": 2**70, "f": 1e-300, "s": "é\n", "b": b"\0", "n": None, "t": (1,), "set": {1}, "c": 1j}
    assert trip(values) == values


def test_an_ordered_dict_keeps_order_and_attributes(trip):
    d = collections.OrderedDict(b=1, a=2)
    d.extra = 3
    loaded = trip(d)
    assert list(loaded) == ["b", "a"] and loaded.extra == 3


def test_sizes_dtypes_and_devices(trip):
    assert trip([torch.Size([1, 2]), torch.float16, torch.device("cuda", 1)]) == [torch.Size([1, 2]), torch.float16, torch.device("cuda:1")]


def test_a_counter(trip):
    assert trip(collections.Counter("abca")) == collections.Counter("abca")


def test_a_bare_storage(trip):
    loaded = trip(torch.arange(4, dtype=torch.int16).untyped_storage())
    assert bytes(loaded.untyped()) == bytes(torch.arange(4, dtype=torch.int16).untyped_storage())


# --- places and files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("map_location", ["cpu", torch.device("cpu"), {"cuda:0": "cpu"}, lambda s, l: s, lambda s, l: None],
                         ids=["text", "device", "dict", "function", "no opinion"])
def test_map_location(patched, file, map_location):
    loaded = torch.load(file, map_location=map_location)
    assert patched.loaded == 1 and loaded["a"].device.type == "cpu"


@pytest.mark.parametrize("meta", ["meta", torch.device("meta")], ids=["text", "device"])
def test_meta_is_torchs_which_notes_where_the_bytes_are(patched, file, meta):
    loaded = torch.load(file, map_location=meta)
    assert patched.reasons == {"map_location meta": 1} and loaded["a"].untyped_storage()._checkpoint_offset > 0


def test_a_function_that_makes_a_storage_of_its_own_is_called_by_torch(patched, file):
    made = []
    torch.load(file, map_location=lambda storage, tag: made.append(storage.clone()) or made[-1])
    assert patched.left_to_torch == 1 and [s.nbytes() for s in made if s.nbytes()] == [16, 8]


def test_a_function_sees_each_tag(patched, data):
    path = next(data.glob("torch-2.13/*cuda0*.zip.pt"))
    seen = set()
    torch.load(path, map_location=lambda storage, location: seen.add(location) or storage)
    assert "cuda:0" in seen and patched.loaded == 1


def test_a_device_that_is_not_here_is_torchs_error(patched, data):
    with pytest.raises(RuntimeError, match="map_location"):
        torch.load(next(data.glob("torch-2.13/*cuda0*.zip.pt")))
    assert patched.left_to_torch == 1


@pytest.mark.parametrize("as_file", [str, pathlib.Path, lambda p: open(p, "rb"), lambda p: io.BytesIO(p.read_bytes())],
                         ids=["text", "path", "file", "memory"])
def test_what_can_be_a_file(patched, file, as_file):
    assert torch.load(as_file(file))["a"][3] == 3 and patched.loaded == 1


def test_mmap(patched, file):
    loaded = torch.load(file, mmap=True)
    loaded["a"].fill_(9)
    assert patched.loaded == 1 and torch.load(file)["a"][3] == 3


def test_the_default_of_mmap_is_heeded(patched, file):
    from torch.utils.serialization import config

    def is_mapped():
        return str(file) in pathlib.Path("/proc/self/maps").read_text()

    loaded = torch.load(file)
    assert not is_mapped()
    with config.patch("load.mmap", True):
        loaded = torch.load(file)
    assert is_mapped() and loaded["a"].sum() == 6 and patched.loaded == 2


def test_a_missing_file_is_torchs_error(patched, tmp_path):
    with pytest.raises(FileNotFoundError):
        torch.load(tmp_path / "none.pt")


def test_a_damaged_file_is_torchs_error(patched, tmp_path):
    (tmp_path / "x.pt").write_bytes(b"PK\3\4 damaged")
    with pytest.raises((RuntimeError, pickle.UnpicklingError)):
        torch.load(tmp_path / "x.pt")


def test_an_empty_file_is_torchs_error(patched, tmp_path):
    (tmp_path / "x.pt").write_bytes(b"")
    with pytest.raises(EOFError):
        torch.load(tmp_path / "x.pt")


def test_writing_over_a_file_that_is_mapped(patched, tmp_path):
    torch.save({"a": torch.ones(5)}, tmp_path / "m.pt")
    loaded = torch.load(tmp_path / "m.pt", mmap=True)
    torch.save({"a": torch.zeros(5)}, tmp_path / "m.pt")  # a new file takes the name: the old bytes stay
    assert loaded["a"].sum() == 5 and patched.saved == 2


def test_a_file_object_is_written_where_it_is(patched):
    buffer = io.BytesIO(b"xx")
    buffer.seek(2)
    torch.save({"a": torch.ones(2)}, buffer)
    buffer.seek(2)
    assert torch.load(buffer)["a"].sum() == 2
    assert (patched.saved, patched.loaded, patched.left_to_torch) == (1, 1, 0)


@pytest.mark.parametrize("name", ["file.pt", "file"])
def test_what_others_write_to(patched, tmp_path, name):
    """An archive's member, which has no position; a temporary file; a gzip file; a file with a buffer."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, archive.open(name, "w", force_zip64=True) as member:
        torch.save({"a": torch.ones(2)}, member)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, archive.open(name) as member:
        assert torch.load(member)["a"].sum() == 2
    with tempfile.NamedTemporaryFile() as temporary:
        torch.save({"a": torch.ones(3)}, temporary)
        temporary.seek(0)
        assert torch.load(temporary)["a"].sum() == 3
    with gzip.open(tmp_path / "a.gz", "wb") as packed:
        torch.save({"a": torch.ones(4)}, packed)
    with gzip.open(tmp_path / "a.gz") as packed:
        assert torch.load(packed)["a"].sum() == 4
    with open(tmp_path / name, "wb") as stream:
        torch.save({"a": torch.ones(5)}, stream)
        assert stream.tell() == os.fstat(stream.fileno()).st_size  # flushed, as torch does it
    assert torch.load(tmp_path / name)["a"].sum() == 5
    assert (patched.saved, patched.loaded, patched.left_to_torch) == (4, 4, 0), patched.reason


class Part(io.IOBase):
    """Ten bytes behind the beginning of a file. As torch's _ReaderView, its seek() returns the position in the file."""

    def __init__(self, data):
        self.inner, self.nbytes = io.BytesIO(b"x" * 10 + data + b"y" * 10), len(data)
        self.inner.seek(10)

    def seek(self, offset, whence=0):
        return self.inner.seek(10 + offset + (self.nbytes if whence == 2 else 0) if whence != 1 else self.inner.tell() + offset)

    def tell(self):
        return self.inner.tell() - 10

    def readable(self):
        return True

    def seekable(self):
        return True

    def readinto(self, room):
        end = min(len(room), self.nbytes - self.tell())
        return self.inner.readinto(memoryview(room)[:end])

    def read(self, nbytes=-1):
        left = self.nbytes - self.tell()
        return self.inner.read(left if nbytes < 0 else min(nbytes, left))


def test_a_part_of_a_file_whose_seek_counts_from_elsewhere(patched, file):
    assert torch.load(Part(file.read_bytes()))["a"].sum() == 6 and patched.loaded == 1, patched.reason


def test_none_is_saved(patched, tmp_path):
    torch.save(None, tmp_path / "n.pt")
    buffer = io.BytesIO()
    torch.save(None, buffer)
    buffer.seek(0)
    assert torch.load(tmp_path / "n.pt") is None and torch.load(buffer) is None and patched.served == 4


def test_the_legacy_format_is_torchs(patched, tmp_path):
    torch.save([torch.ones(2)], tmp_path / "l.pt", _use_new_zipfile_serialization=False)
    assert torch.load(tmp_path / "l.pt")[0].sum() == 2 and patched.left_to_torch == 2


def test_another_protocol_is_torchs(patched, tmp_path):
    torch.save([torch.ones(2)], tmp_path / "p.pt", pickle_protocol=4)
    with pytest.raises(pickle.UnpicklingError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.load(tmp_path / "p.pt")
    assert patched.reasons == {"pickle protocols other than 2": 2}
    assert torch.load(tmp_path / "p.pt", weights_only=False)[0].sum() == 2 and patched.loaded == 1


def test_skip_data_is_torchs(patched, tmp_path):
    with torch.serialization.skip_data():
        torch.save({"a": torch.ones(4)}, tmp_path / "s.pt")
    assert patched.left_to_torch == 1 and torch.load(tmp_path / "s.pt")["a"].shape == (4,)


# --- objects ----------------------------------------------------------------------------------------------------


class Point:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return self.x == other.x


def test_an_object_is_refused_as_torch_refuses_it(patched, tmp_path):
    torch.save({"p": Point(3)}, tmp_path / "o.pt")
    with pytest.raises(pickle.UnpicklingError, match="Point"):
        torch.load(tmp_path / "o.pt")
    assert patched.saved == 0


def test_an_object_with_weights_only_false(patched, tmp_path):
    torch.save({"p": Point(3)}, tmp_path / "o.pt")
    assert torch.load(tmp_path / "o.pt", weights_only=False)["p"] == Point(3)


def test_an_object_of_a_class_that_the_user_calls_safe(patched, tmp_path):
    torch.save({"p": Point(torch.ones(2))}, tmp_path / "o.pt")
    with torch.serialization.safe_globals([Point]):
        loaded = torch.load(tmp_path / "o.pt")
    assert isinstance(loaded["p"], Point) and loaded["p"].x.sum() == 2 and patched.loaded == 1


def test_a_tensor_subclass_is_torchs(patched, tmp_path):
    class Sub(torch.Tensor):
        pass

    globals()["Sub"] = Sub
    Sub.__qualname__ = "Sub"
    torch.save(torch.ones(2).as_subclass(Sub), tmp_path / "s.pt")
    loaded = torch.load(tmp_path / "s.pt", weights_only=False)
    assert type(loaded) is Sub and loaded.sum() == 2


def test_a_whole_module_is_torchs(patched, tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "m.pt")
    assert isinstance(torch.load(tmp_path / "m.pt", weights_only=False), torch.nn.Linear)


def test_what_would_run_code_does_not(patched, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save(Evil(), tmp_path / "e.pt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "e.pt")
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_pickled_is_torchs_error(patched, tmp_path):
    with pytest.raises(Exception, match="pickle|lambda|local"):
        torch.save({"f": lambda: 0}, tmp_path / "x.pt")


# --- state dicts ------------------------------------------------------------------------------------------------


def net():
    return torch.nn.Sequential(
        collections.OrderedDict(linear=torch.nn.Linear(4, 4), norm=torch.nn.BatchNorm1d(4), block=torch.nn.Sequential(torch.nn.Conv1d(4, 2, 1))))


def equal(a, b):
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)


def test_a_state_dict_round_trip(trip):
    module = net()
    other = net()
    state = trip(module.state_dict())
    assert other.load_state_dict(state).missing_keys == [] and equal(module.state_dict(), other.state_dict())


def test_state_dict_metadata_survives(trip):
    state = trip(net().state_dict())
    assert state._metadata["norm"]["version"] == 2


def test_a_batch_norm_of_version_1_needs_no_counter(trip):
    state = net().state_dict()
    del state["norm.num_batches_tracked"]
    state._metadata["norm"]["version"] = 1
    net().load_state_dict(trip(state))


def test_missing_keys_are_named(trip):
    state = net().state_dict()
    del state["linear.bias"]
    state = trip(state)
    with pytest.raises(RuntimeError, match="Missing key.*linear.bias"):
        net().load_state_dict(state)
    assert net().load_state_dict(state, strict=False).missing_keys == ["linear.bias"]


def test_unexpected_keys_are_named(trip):
    state = net().state_dict()
    state["extra"] = torch.ones(1)
    state = trip(state)
    with pytest.raises(RuntimeError, match="Unexpected key.*extra"):
        net().load_state_dict(state)


def test_sizes_that_differ_are_named(trip):
    state = trip({**net().state_dict(), "linear.bias": torch.ones(3)})
    with pytest.raises(RuntimeError, match="size mismatch for linear.bias"):
        net().load_state_dict(state, strict=False)


def test_assign_takes_the_loaded_tensors(trip):
    state = trip(net().state_dict())
    module = net()
    module.load_state_dict(state, assign=True)
    assert module.linear.weight.data_ptr() == state["linear.weight"].data_ptr()


def test_assign_into_a_module_on_meta(trip):
    source = net()
    with torch.device("meta"):
        module = net()
    module.load_state_dict(trip(source.state_dict()), assign=True)
    assert equal(source.state_dict(), module.state_dict())


def test_loading_into_another_dtype_casts(trip):
    module = net().double()
    source = net()
    module.load_state_dict(trip(source.state_dict()))
    assert module.linear.weight.dtype == torch.float64 and torch.equal(module.linear.weight, source.linear.weight.double())


def test_a_state_dict_with_a_prefix(trip):
    state = trip({"module." + k: v for k, v in net().state_dict().items()})
    torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    net().load_state_dict(state)


def test_tied_weights_stay_tied(trip):
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    module[1].weight = module[0].weight
    state = trip(module.state_dict())
    assert state["0.weight"].data_ptr() == state["1.weight"].data_ptr()


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad])
def test_optimizers(trip, make):
    module = net()
    optimizer = make(module.parameters(), lr=0.1)
    module.linear(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    other = make(net().parameters(), lr=0.5)
    other.load_state_dict(trip(optimizer.state_dict()))
    assert other.param_groups[0]["lr"] == 0.1 and len(other.state) == len(optimizer.state)


def test_a_scheduler_and_a_general_checkpoint(trip):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    state = {"epoch": 4, "loss": 0.25, "scheduler": scheduler.state_dict(), "rng": torch.get_rng_state()}
    loaded = trip(copy.deepcopy(state))
    assert loaded["epoch"] == 4 and torch.equal(loaded["rng"], state["rng"])
    scheduler.load_state_dict(loaded["scheduler"])


# --- the patch itself -------------------------------------------------------------------------------------------


def test_it_ends_with_its_block(tmp_path):
    before = torch.load, torch.save
    with transload.patch_torch() as patch:
        assert torch.load is not before[0]
        torch.save(1, tmp_path / "x.pt")
    assert (torch.load, torch.save) == before and patch.saved == 1


def test_it_can_be_undone():
    before = torch.load
    patch = transload.patch_torch()
    assert torch.load is not before and torch.load.__name__ == "load"
    patch.undo()
    assert torch.load is before


def test_a_default_device_is_torchs(patched, file):
    with torch.device("meta"):
        loaded = torch.load(file)
    assert (patched.loaded, patched.left_to_torch) == (0, 1) and "meta" in patched.reason
    assert torch.equal(loaded["a"], torch.arange(4.0))  # torch heeds it for what a file does not place


def test_an_archive_at_the_position_of_a_file_object(patched, file):
    behind = io.BytesIO(b"x" * 100 + file.read_bytes())
    behind.seek(100)
    assert torch.load(behind)["a"].sum() == 6 and (patched.loaded, patched.left_to_torch) == (1, 0)
    assert behind.tell() == len(behind.getbuffer())
    with pytest.raises(EOFError):  # not again from the beginning: a loop over a file ends
        torch.load(behind)
    assert (patched.loaded, patched.left_to_torch) == (1, 1) and behind.tell() == len(behind.getbuffer())


def test_what_is_left_to_torch_stands_where_it_stood(patched, tmp_path):
    stream = io.BytesIO(b"x" * 7)
    stream.seek(7)
    torch.save([torch.ones(2)], stream, _use_new_zipfile_serialization=False)
    torch.save([torch.ones(3)], stream, _use_new_zipfile_serialization=False)
    stream.seek(7)
    assert [torch.load(stream)[0].sum(), torch.load(stream)[0].sum()] == [2, 3]
    assert patched.loaded == 0 and patched.left_to_torch == 4  # two saves, two loads
