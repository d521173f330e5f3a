"""What PyTorch writes besides dicts of tensors: whole modules, TorchScript, bare pickles. Their tensors are those of state_dict()."""
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from equal import elements


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 1)
        self.norm = torch.nn.BatchNorm2d(3)
        self.scale = torch.nn.Parameter(torch.ones([]))
        self.register_buffer("grid", torch.ones(2), persistent=False)
        self.register_buffer("nothing", None)

    def forward(self, x):
        return self.norm(self.conv(x)) * self.scale


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.ModuleList([Block(), Block()])
        self.head = torch.nn.Linear(3, 3, bias=False)
        self.tied = torch.nn.Linear(3, 3, bias=False)
        self.tied.weight = self.head.weight
        self.unused = None

    def forward(self, x):
        for block in self.blocks:
            x = torch.nn.functional.pad(block(x)[:, :2], [0, 0])
        return x


def same_tensors(path, want):
    got = safetensors.torch.load_file(path)
    assert set(got) == set(want)
    for key, tensor in want.items():
        assert got[key].dtype == tensor.dtype and got[key].shape == tensor.shape and elements(got[key]) == elements(tensor), key


@pytest.mark.parametrize("legacy", [False, True])
def test_a_whole_module_is_its_state_dict(legacy, tmp_path, transload):
    net = Net()
    torch.save({"epoch": 3, "model": net}, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
    transload("convert", tmp_path / "m.pt", tmp_path / "m.safetensors", "--at", "model")
    want = dict(net.state_dict())
    del want["tied.weight"]  # safetensors has a tied tensor once
    same_tensors(tmp_path / "m.safetensors", want)
    transload("convert", tmp_path / "m.pt", tmp_path / "out.pt", "--at", "model")
    out = torch.load(tmp_path / "out.pt", weights_only=True)
    assert list(out) == list(net.state_dict())
    assert out["tied.weight"].data_ptr() == out["head.weight"].data_ptr()
    assert not any(t.requires_grad or isinstance(t, torch.nn.Parameter) for t in out.values())
    Net().load_state_dict(out)


@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.trace(net, torch.ones(1, 2, 4, 4))])
@pytest.mark.filterwarnings("ignore")
def test_torchscript_has_the_names_of_its_state_dict(make, tmp_path, transload):
    program = make(Net().eval())
    torch.jit.save(program, tmp_path / "m.pt")
    transload("convert", tmp_path / "m.pt", tmp_path / "out.pt")
    out = torch.load(tmp_path / "out.pt", weights_only=True)
    want = torch.jit.load(tmp_path / "m.pt").state_dict()
    assert set(out) == set(want)
    assert all(torch.equal(out[key], want[key]) for key in want)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("lite", [False, True])
def test_the_weights_of_a_frozen_program_are_its_constants(lite, tmp_path, transload):
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU()).eval()
    frozen = torch.jit.freeze(torch.jit.script(net))
    if lite:
        frozen._save_for_lite_interpreter(str(tmp_path / "m.pt"))
    else:
        torch.jit.save(frozen, tmp_path / "m.pt")
    transload("convert", tmp_path / "m.pt", tmp_path / "out.pt")
    constants = torch.load(tmp_path / "out.pt", weights_only=True)
    assert all(key.startswith("CONSTANTS.c") for key in constants)
    assert any(torch.equal(tensor, net[0].weight) for tensor in constants.values() if tensor.shape == (4, 3))


@pytest.mark.parametrize("protocol", range(6))
def test_a_bare_pickle_of_tensors_and_arrays(protocol, tmp_path, transload):
    rng = np.random.default_rng(0)
    arrays = {f"a{i}": rng.integers(0, 100, (2, i)).astype(t) for i, t in enumerate(["f4", ">f8", "i1", ">i2", "u1", "?", "c16", "f2"])}
    arrays["fortran"] = np.asfortranarray(rng.random((3, 4)))
    tensors = {"t": torch.randn(3, 2), "bf16": torch.ones(2).bfloat16(), "int": torch.arange(3), "p": torch.nn.Parameter(torch.ones(2))}
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(tensors | arrays, protocol))
    transload("convert", tmp_path / "m.pkl", tmp_path / "out.pt")
    out = torch.load(tmp_path / "out.pt", weights_only=True)
    assert list(out) == list(tensors | arrays)
    for key, tensor in tensors.items():
        assert torch.equal(out[key], tensor) and type(out[key]) is type(tensor), key
    for key, array in arrays.items():
        native = array.astype(array.dtype.newbyteorder("="))
        assert np.array_equal(out[key].numpy(), native) and out[key].numpy().dtype == native.dtype, key
