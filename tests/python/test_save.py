"""transload.save, read by torch and safetensors."""
import argparse
import collections
import io
import os
import pathlib
import resource
import subprocess
import sys

import pytest
import torch
from equal import same
from safetensors.torch import load_file

import transload


def round_trip(obj, path, **options):
    transload.save(obj, path, **options)
    return torch.load(path, weights_only=True)


def test_torch_reads_every_kind_of_value(tmp_path):
    shared = torch.arange(12.0)
    state = collections.OrderedDict(weight=shared.view(3, 4), row=shared[4:8], strided=shared.view(3, 4).t())
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    everything = {
        "state": state,
        "values": [None, True, 3, 2**80, -(2**63), 1.5, float("inf"), "text \udcff é", b"\x00\xff", bytearray(b"x")],
        "tuple": (1, (2, ()), [3]),
        "set": {1, 2},
        "size": torch.Size([2, 3]),
        "dtype": torch.bfloat16,
        "device": torch.device("cuda:1"),
        3: "int key",
        (1, "a"): "tuple key",
        "complex": 1 + 2j,
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "grad": torch.ones(2, requires_grad=True),
        "conj": torch.tensor([1 + 2j]).conj(),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(7),
    }
    same(everything, round_trip(everything, tmp_path / "e.pt"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.uint16, torch.uint64,
                                   torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2])
def test_dtypes(tmp_path, dtype):
    t = torch.arange(8).to(dtype)
    same({"t": t}, round_trip({"t": t}, tmp_path / "t.pt"))
    same({"t": t}, transload.load(tmp_path / "t.pt"))


@pytest.mark.parametrize("name", ["s.pt", "s.safetensors"])
def test_sizes_about_those_where_another_way_of_writing_begins(tmp_path, name):
    # 256 KiB go past the page cache, 4 KiB are a page, 3 MiB a staging slot.
    sizes = [n + d for n in (4096, 256 << 10, 3 << 20, 6 << 20) for d in (-4097, -4096, -1, 0, 1, 63, 4095)]
    state = {str(n): torch.randint(0, 256, (max(n, 0),), dtype=torch.uint8) for n in sizes}
    for folder in tmp_path, pathlib.Path("/dev/shm"):  # a disk, and memory, which may know no other way
        path = folder / f"{os.getpid()}.{name}"
        transload.save(state, path)
        try:
            read = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
            same(state, {key: read[key] for key in state})
            assert transload.load(path, verify=True).keys() == read.keys()
        finally:
            path.unlink()


def test_what_is_shared_is_saved_once(tmp_path):
    big = torch.zeros(1 << 18)
    nbytes = transload.save({str(i): big[i:] for i in range(20)}, tmp_path / "s.pt")
    assert nbytes < 2 * big.nbytes
    loaded = torch.load(tmp_path / "s.pt", weights_only=True)
    assert len({t.untyped_storage()._cdata for t in loaded.values()}) == 1


def test_compact_saves_the_part_that_is_used(tmp_path):
    big = torch.arange(1 << 18)
    assert transload.save({"few": big[10:20]}, tmp_path / "c.pt", compact=True) < 5000
    assert torch.equal(torch.load(tmp_path / "c.pt", weights_only=True)["few"], big[10:20])


def test_sparse_and_quantized(tmp_path):
    sparse = torch.eye(4).to_sparse()
    quantized = torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.quint8)
    transload.save({"s": sparse, "c": torch.eye(3).to_sparse_csr(), "q": quantized}, tmp_path / "s.pt")
    for loaded in (torch.load(tmp_path / "s.pt", weights_only=True), transload.load(tmp_path / "s.pt")):
        assert torch.equal(loaded["s"].to_dense(), torch.eye(4)) and loaded["s"].layout == torch.sparse_coo
        assert loaded["c"].layout == torch.sparse_csr
        assert torch.equal(loaded["q"].dequantize(), quantized.dequantize())


def test_safetensors_by_suffix(tmp_path):
    from safetensors.torch import load_file

    state = {"a": torch.randn(3, 4), "b": torch.arange(5)}
    transload.save(state, tmp_path / "m.safetensors", metadata={"format": "pt"})
    read = load_file(tmp_path / "m.safetensors")
    assert all(torch.equal(state[k], read[k]) for k in state)
    index = transload.open(tmp_path / "m.safetensors")
    assert index.format == "safetensors" and index.metadata["format"] == "pt"


def test_what_is_no_data_is_refused_with_its_key(tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(b"old")
    with pytest.raises(transload.UnsupportedError, match='"a/1/f"'):
        transload.save({"a": [0, {"f": lambda: 0}]}, path)
    with pytest.raises(transload.Error, match="Template"):
        import string
        transload.save({"f": string.Template("x")}, path)
    assert path.read_bytes() == b"old" and [*tmp_path.iterdir()] == [path]


def test_objects_can_be_asked_for(tmp_path):
    args = argparse.Namespace(lr=0.5, layers=[1, 2])
    transload.save({"args": args}, tmp_path / "a.pt", allow_objects=True)
    assert torch.load(tmp_path / "a.pt", weights_only=False)["args"] == args
    inert = transload.load(tmp_path / "a.pt")
    transload.save(inert, tmp_path / "b.pt", allow_objects=True)
    assert torch.load(tmp_path / "b.pt", weights_only=False)["args"] == args


def test_tags_can_be_mapped(tmp_path):
    transload.save({"a": torch.ones(2)}, tmp_path / "t.pt", map_location="cuda:1")
    assert transload.open(tmp_path / "t.pt").tensors["a"].location == "cuda:1"


def test_a_module_and_an_optimizer_resume_in_torch(tmp_path):
    net = torch.nn.Linear(4, 2)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    transload.save({"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, tmp_path / "c.pt")
    loaded = torch.load(tmp_path / "c.pt", weights_only=True)
    other = torch.nn.Linear(4, 2)
    other.load_state_dict(loaded["model"])
    torch.optim.Adam(other.parameters()).load_state_dict(loaded["optimizer"])
    same(dict(net.state_dict()), dict(other.state_dict()))


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.pt"
    transload.save({"old": torch.ones(2)}, path)
    script = f"""
import resource, torch, transload, errno
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    transload.save({{"new": torch.zeros(1_000_000)}}, {str(path)!r})
except transload.IoError as error:
    assert isinstance(error, OSError) and error.errno == errno.EFBIG, error
    assert "m.pt" in str(error)
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert list(transload.load(path)) == ["old"] and [*tmp_path.iterdir()] == [path]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)


def test_roots_that_are_not_dicts(tmp_path):
    for root in (None, 5, "text", [torch.ones(2)], torch.ones(3), (1, {"a": None})):
        same(root, round_trip(root, tmp_path / "r.pt"))
        same(root, transload.load(tmp_path / "r.pt"))


def test_killed_saves_leave_nothing_after_the_next(tmp_path):
    path = tmp_path / "m.pt"
    script = f"""
import os, signal, torch, transload
transload.save({{"w": torch.zeros(8 << 20)}}, {str(path)!r}, progress=lambda done, total: done and os.kill(os.getpid(), signal.SIGKILL))
"""
    subprocess.run([sys.executable, "-c", script])
    assert not path.exists()
    assert transload.save({"w": torch.ones(2)}, path) == path.stat().st_size
    assert [*tmp_path.iterdir()] == [path]


def test_keys_that_pickle_could_not_find_again_are_refused(tmp_path):
    for key in (frozenset({1, 2}), torch.float32):
        try:
            transload.save({"a": {key: 1}}, tmp_path / "k.pt")
        except transload.UnsupportedError as error:
            assert '"a/' in str(error) and "keys can be" in str(error)
        else:
            assert torch.load(tmp_path / "k.pt", weights_only=False)["a"][key] == 1
    with pytest.raises(transload.UnsupportedError, match="400 levels"):
        deep = []
        for _ in range(500):
            deep = [deep]
        transload.save(deep, tmp_path / "d.pt")


def test_the_suffix_of_another_format_is_refused(tmp_path):
    for name, words in {"m.onnx": ".onnx is the suffix of ONNX", "m.safetensor": "did you mean .safetensors"}.items():
        with pytest.raises(transload.UnsupportedError, match=words):
            transload.save({"w": torch.ones(2)}, tmp_path / name)
        assert not (tmp_path / name).exists()
        transload.save({"w": torch.ones(2)}, tmp_path / name, format="torch_zip")
        assert torch.load(tmp_path / name)["w"].tolist() == [1, 1]


def test_values_can_be_left_out(tmp_path):
    state = {"w": torch.ones(2), "epoch": 3}
    with pytest.raises(transload.UnsupportedError, match="`values` drop leaves out what is not a tensor"):
        transload.save(state, tmp_path / "m.safetensors")
    transload.save(state, tmp_path / "m.safetensors", values="drop")
    assert list(transload.load(tmp_path / "m.safetensors")) == ["w"]
    with pytest.raises(transload.UnsupportedError, match="values"):
        transload.save(state, tmp_path / "m.safetensors", values="some")


def test_in_place_of_a_file_object_is_refused_before_anything_is_written():
    file = io.BytesIO()
    with pytest.raises(TypeError, match="in_place"):
        transload.save({"w": torch.ones(2)}, file, in_place=True)
    assert file.getvalue() == b""
