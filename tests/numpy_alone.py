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
