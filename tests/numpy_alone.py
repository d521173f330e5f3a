"""The package where NumPy is and PyTorch is not. Run by `make test-python` in an environment of its own."""
import importlib.metadata
import pathlib
import sys

import numpy
import pytest

import transload

DATA = pathlib.Path(__file__).resolve().parent / "data"


def test_there_is_no_torch_here():
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("torch")


def test_a_file_of_torchs_is_numpy_arrays():
    state = transload.load(DATA / "torch-2.13/toy_state_dict.zip.pt", "cpu")
    assert {k: (v.shape, v.dtype) for k, v in state.items()} == {
        "net1.weight": ((10, 10), numpy.float32), "net1.bias": ((10,), numpy.float32),
        "net2.weight": ((1, 10), numpy.float32), "net2.bias": ((1,), numpy.float32)}
    assert "torch" not in sys.modules


def test_views_share_and_strides_stay():
    state = transload.load(DATA / "torch-2.13/views_shared_storage.zip.pt", "cpu")
    arrays = [a for a in state.values() if isinstance(a, numpy.ndarray)]
    assert any(numpy.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


def test_there_and_back(tmp_path):
    import ml_dtypes

    state = {"a": numpy.arange(12.0).reshape(3, 4), "t": numpy.arange(6, dtype=numpy.int16).reshape(2, 3).T,
             "b": numpy.ones(5, ml_dtypes.bfloat16), "n": {"x": 1, "y": [None, 2.5]}}
    transload.save(state, tmp_path / "s.pt")
    loaded = transload.load(tmp_path / "s.pt")
    assert numpy.array_equal(loaded["a"], state["a"]) and loaded["t"].strides == state["t"].strides
    assert loaded["b"].dtype == ml_dtypes.bfloat16 and loaded["n"] == state["n"]
    transload.save({k: numpy.ascontiguousarray(v) for k, v in state.items() if k != "n"}, tmp_path / "s.safetensors")
    assert numpy.array_equal(transload.load(tmp_path / "s.safetensors")["t"], state["t"])


def test_mapped_casts_and_slices(tmp_path):
    transload.save({"a": numpy.arange(100.0)}, tmp_path / "m.pt")
    assert transload.load(tmp_path / "m.pt", mmap=True)["a"][99] == 99
    assert transload.load(tmp_path / "m.pt", dtype="float32")["a"].dtype == numpy.float32
    assert list(transload.open(tmp_path / "m.pt").tensors["a"][10:13]) == [10, 11, 12]


def test_live_arrays_are_filled(tmp_path):
    transload.save({"a": numpy.arange(6.0).reshape(2, 3)}, tmp_path / "m.pt")
    live = {"a": numpy.zeros((3, 2), numpy.float32).T}
    transload.load_into(live, tmp_path / "m.pt")
    assert live["a"][1, 2] == 5


def test_arrays_in_columns_stay_so(tmp_path):
    columns = numpy.asfortranarray(numpy.arange(6.0).reshape(2, 3))
    transload.save({"f": columns, "part": columns[:, 1:]}, tmp_path / "f.pt")
    loaded = transload.load(tmp_path / "f.pt")
    assert loaded["f"].strides == (8, 16) and numpy.array_equal(loaded["f"], columns)
    assert numpy.array_equal(loaded["part"], columns[:, 1:]) and numpy.shares_memory(loaded["f"], loaded["part"])


def test_arrays_that_cannot_be_described_are_refused(tmp_path):
    base = numpy.arange(10, dtype=numpy.int32)
    for wrong in (base[::-1], base.astype(">i4"), numpy.frombuffer(b"0" * 9, numpy.uint8)[1:].view("<i4"),
                  numpy.ndarray((2,), numpy.int32, base, 0, (6,))):
        with pytest.raises(transload.UnsupportedError, match="strides|big-endian"):
            transload.save({"a": wrong}, tmp_path / "w.pt")
    transload.save({"a": base[2:8:3], "none": numpy.zeros((0, 3)), "one": numpy.float32(2)}, tmp_path / "w.pt", allow_objects=True)
    loaded = transload.load(tmp_path / "w.pt")
    assert list(loaded["a"]) == [2, 5] and loaded["a"].strides == (12,) and loaded["none"].shape == (0, 3)
    assert loaded["one"] == 2 and type(loaded["one"]) is numpy.float32


def test_conjugate_and_negative_views_have_their_values():
    from transload import _numpy

    storage = numpy.array([1 + 2j, 3 - 4j]).view(numpy.uint8)
    for conj, neg, first in ((False, False, 1 + 2j), (True, False, 1 - 2j), (False, True, -1 - 2j), (True, True, -1 + 2j)):
        made = _numpy.tensor(storage, numpy.dtype("complex128"), (2,), (1,), 0, False, False, conj, neg)
        assert made[0] == first
    described = _numpy.describe_tensor(numpy.arange(6.0).reshape(2, 3)[:, 1:])
    assert described[2:] == (48, "cpu", "float64", (2, 2), (3, 1), 1, False, False, False, False)


def test_a_storage_that_stands_alone_is_an_array():
    from transload import _numpy

    assert list(_numpy.typed_storage(numpy.array([1, 0, 2, 0], numpy.uint8), numpy.dtype("<i2"))) == [1, 2]


def test_a_map_location_is_a_text(tmp_path):
    transload.save({"a": numpy.ones(2)}, tmp_path / "m.pt")
    assert transload.load(tmp_path / "m.pt", lambda storage, location: location)["a"].sum() == 2
    for wrong in ({"cpu": 3}, lambda storage, location: 3):
        with pytest.raises(TypeError, match="no device"):
            transload.load(tmp_path / "m.pt", wrong)


def test_dtypes_without_a_form_in_numpy_are_named():
    from transload import _numpy

    for name in ("qint8", "float4_e2m1fn_x2", "bits8", "complex32"):
        with pytest.raises(transload.UnsupportedError, match=f"dtype {name} has no NumPy form"):
            _numpy.dtype(name)
    assert _numpy.dtype("bool") == numpy.bool_ and _numpy.dtype("float8_e5m2").itemsize == 1
    with pytest.raises(transload.UnsupportedError, match="meta tensor"):
        _numpy.tensor(None, numpy.dtype("int8"), (2,), (1,), 0, False, False, False, False)


def test_file_objects_are_read(tmp_path):
    import gzip
    import io

    transload.save({"a": numpy.arange(6, dtype=numpy.float32)}, tmp_path / "m.pt")
    data = (tmp_path / "m.pt").read_bytes()
    (tmp_path / "m.gz").write_bytes(gzip.compress(data))
    with gzip.open(tmp_path / "m.gz") as packed:
        for file in (packed, io.BytesIO(data), data):
            assert transload.load(file)["a"][5] == 5
    with transload.open(data) as index:
        assert list(index.tensors["a"][-2:]) == [4, 5] and index.tensors["a"].dtype == index["a"].dtype == numpy.float32
        with pytest.raises(transload.PlacementError, match="cuda:0"):
            index.tensors["a"].read("cuda:0")


def test_what_needs_torch_is_told(tmp_path):
    with pytest.raises(transload.PlacementError):
        transload.load(DATA / "torch-2.13/toy_state_dict.zip.pt", "cuda:0")
    transload.save({"a": numpy.ones(2)}, tmp_path / "m.pt")
    assert "cpu" in str(transload.memory_report())


def test_what_arrays_cannot_be_is_said(tmp_path):
    """A whole optimizer's state is a dict keyed by its Parameters."""
    path = DATA / "optimizer_that_stepped.pt"  # torch.save({"optimizer": SGD}) of PyTorch 2.13, momentum 0.9, one step
    with pytest.raises(transload.UnsupportedError, match="keys are tensors"):
        transload.load(path)
