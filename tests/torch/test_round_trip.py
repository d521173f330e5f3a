"""PyTorch on both ends: what it wrote and we write again, it opens with weights_only=True, and finds the same."""
import hashlib
import json
import random
import subprocess
import warnings
from collections import Counter, OrderedDict

import pytest
import safetensors.torch
import torch
from conftest import PROGRAM
from equal import elements, same

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int16, torch.int32, torch.int64,
          torch.uint8, torch.bool, torch.complex64, torch.complex128, torch.uint16, torch.uint32, torch.uint64,
          torch.float8_e4m3fn, torch.float8_e5m2, torch.complex32]


def random_tensor(rng):
    dtype = rng.choice(DTYPES)
    shape = [rng.randint(0, 5) for _ in range(rng.randint(0, 4))]
    nbytes = torch.empty(shape, dtype=dtype).numel() * dtype.itemsize
    if dtype == torch.bool:
        return torch.tensor([rng.random() < 0.5 for _ in range(nbytes)], dtype=dtype).reshape(shape)
    t = torch.frombuffer(bytearray(rng.randbytes(nbytes)), dtype=dtype).reshape(shape) if nbytes else torch.empty(shape, dtype=dtype)
    how = rng.randint(0, 5)
    if how == 0 and t.dim() >= 2:
        t = t.transpose(0, 1)
    if how == 1 and t.dim() >= 1 and t.shape[0] > 1:
        t = t[1:]
    if how == 2 and t.dim() >= 1:
        t = t[::2]
    if how == 3 and t.dim() >= 1 and t.shape[0] == 1:
        t = t.expand(3, *t.shape[1:])
    if how == 4 and t.is_floating_point() and t.dtype.itemsize > 1:
        t.requires_grad_()
    if how == 5 and t.is_floating_point() and t.dtype.itemsize > 1:
        t = torch.nn.Parameter(t, requires_grad=rng.random() < 0.7)
    return t


def random_value(rng, depth, made):
    kind = rng.randint(0, 15 if depth else 11)
    if kind <= 3:
        if made and rng.random() < 0.3:
            return rng.choice(made)  # the same object again, or a view of its storage
        t = random_tensor(rng)
        made.append(t)
        return t
    if kind == 4:
        return rng.choice([None, True, False])
    if kind == 5:
        return rng.choice([0, 1, -1, 255, 256, 65535, 65536, 2**31, -2**31, 2**63 - 1, 2**63, -2**63, 3**200, -3**200])
    if kind == 6:
        return rng.choice([0.0, -0.0, 1.5, 1e300, float("inf"), -float("inf"), rng.random()])
    if kind == 7:
        return rng.choice(["", "text", "ünï☃", "x" * 300])
    if kind == 8:
        return rng.choice([b"\x00\xffraw", bytearray(b"ab"), torch.Size([1, 2, 3]), torch.bfloat16])
    if kind == 9:
        return rng.choice([torch.device("cpu"), torch.device("cuda", 1), {1, 2, "x"}, complex(1, -2)])
    if kind in (10, 11) and made:
        base = rng.choice(made)
        return base.detach().reshape(-1)[:1] if base.is_contiguous() and base.numel() else base
    if kind == 12:
        return [random_value(rng, depth - 1, made) for _ in range(rng.randint(0, 4))]
    if kind == 13:
        return tuple(random_value(rng, depth - 1, made) for _ in range(rng.randint(0, 5)))
    return random_dict(rng, depth - 1, made)


def random_dict(rng, depth, made):
    d = rng.choice([dict, torch.nn.Module().state_dict().__class__])()
    for i in range(rng.randint(0, 6)):
        key = rng.choice([f"layer.{i}.weight", f"k{i}", i, i + 0.5, (i, "a"), b"k%d" % i])
        d[key] = random_value(rng, depth, made)
    if type(d) is not dict and rng.random() < 0.5:
        d._metadata = type(d)({"": {"version": 1}})
    return d


def tensors_in(value):
    """All of them, in the order in which they stand."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(part)


def described(t):
    return (str(t.dtype).removeprefix("torch."), list(t.shape), list(t.stride()), t.storage_offset(), t.requires_grad,
            hashlib.sha256(elements(t)).hexdigest())


@pytest.mark.parametrize("seed", range(200))
def test_a_random_state_dict_comes_back_the_same(seed, tmp_path, transload):
    rng = random.Random(seed)
    saved = random_dict(rng, 3, [])
    protocol = rng.choice([2, 2, 2, 3])
    torch.save(saved, tmp_path / "in.pt", pickle_protocol=protocol)
    transload("convert", tmp_path / "in.pt", tmp_path / "out.pt")
    want = torch.load(tmp_path / "in.pt", weights_only=False)
    shown = json.loads(transload("inspect", "--json", "--digests", tmp_path / "in.pt"))["tensors"]
    assert [(t["dtype"], t["shape"], t["stride"], t["storage_offset"], t["requires_grad"], t["sha256"]) for t in shown] == \
           [described(t) for t in tensors_in(want)]
    same(want, torch.load(tmp_path / "out.pt", weights_only=True))
    same(want, torch.load(tmp_path / "out.pt", weights_only=True, mmap=True))


# A part of a storage is a storage of its own in torch, which shares its bytes; here it is the whole and an offset.
OTHER_STORAGES = {"synthetic_old_views.legacy.pt"}


def fixtures(data):
    for folder in ("torch-1.13", "torch-2.13"):
        manifest = data / folder / "manifest.json"
        if manifest.exists():
            for entry in json.loads(manifest.read_text())["files"]:
                if entry["file"].endswith((".zip.pt", ".legacy.pt")) and entry["file"] not in OTHER_STORAGES and entry["expect"] == "load" and (data / folder / entry["file"]).exists():
                    yield data / folder / entry["file"]


def test_golden_files_come_back_the_same(data, tmp_path, transload):
    count, different = 0, []
    for path in fixtures(data):
        if path.name == "byteorder_big_v3.zip.pt":
            continue  # read right, where PyTorch swaps no bytes of its newer dtypes
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                want = torch.load(path, weights_only=True, map_location="cpu")
        except Exception:
            continue  # PyTorch itself does not open it
        try:
            transload("convert", path, tmp_path / "out.pt")
            same(want, torch.load(tmp_path / "out.pt", weights_only=True, map_location="cpu"), path.name)
            count += 1
        except Exception as error:
            different.append(f"{path.name}: {error}"[:200])
    assert not different, different
    assert count > 20


def test_golden_files_through_safetensors(data, tmp_path, transload):
    """There and back with the same values, or a refusal that names what safetensors cannot hold, and no file."""
    converted, refused = 0, 0
    for path in fixtures(data):
        there, back = tmp_path / "there.safetensors", tmp_path / "back.pt"
        there.unlink(missing_ok=True)
        try:
            transload("convert", path, there)
        except AssertionError as error:
            words = str(error)
            assert "safetensors" in words and ('"' in words or "the root" in words), words
            assert not there.exists(), path
            refused += 1
            continue
        transload("convert", there, back)
        try:
            want = torch.load(path, weights_only=True, map_location="cpu")
        except Exception:
            continue  # PyTorch itself does not open it
        if path.name == "byteorder_big_v3.zip.pt":
            continue  # read right, where PyTorch swaps no bytes of its newer dtypes
        got, other = torch.load(back, weights_only=True), safetensors.torch.load_file(there)
        assert set(want) == set(got) and set(other) <= set(got), path
        for key, tensor in want.items():
            assert tensor.dtype == got[key].dtype and tensor.shape == got[key].shape, (path, key)
            assert elements(tensor) == elements(got[key]), (path, key)
            if key in other:
                assert elements(tensor) == elements(other[key]), (path, key)
        converted += 1
    assert converted > 60 and refused > 20, (converted, refused)


def test_safetensors_there_and_back(tmp_path, transload):
    torch.manual_seed(0)
    tensors = {f"layer.{i}.{n}": torch.randn(3, i + 1).to(dtype) for i, dtype in enumerate([torch.float32, torch.bfloat16, torch.float16])
               for n in ("weight", "bias")}
    tensors["ids"] = torch.arange(7)
    torch.save(tensors, tmp_path / "a.pt")
    transload("convert", tmp_path / "a.pt", tmp_path / "b.safetensors")
    same(dict(sorted(tensors.items())), dict(sorted(safetensors.torch.load_file(tmp_path / "b.safetensors").items())))
    transload("convert", tmp_path / "b.safetensors", tmp_path / "c.pt")
    same(dict(sorted(tensors.items())), dict(sorted(torch.load(tmp_path / "c.pt", weights_only=True).items())))


def test_tags_are_rewritten(tmp_path, transload):
    torch.save({"w": torch.ones(3)}, tmp_path / "a.pt")
    transload("convert", tmp_path / "a.pt", tmp_path / "b.pt", "--map-location", "cuda:1")
    with pytest.raises(RuntimeError, match="cuda"):
        torch.load(tmp_path / "b.pt", weights_only=True)
    same({"w": torch.ones(3)}, torch.load(tmp_path / "b.pt", weights_only=True, map_location="cpu"))


def has_older_end():
    """Debian's PyTorch 1.13, where it is installed."""
    probe = ["/usr/bin/python3", "-c", "import torch; assert torch.__version__.startswith('1.13')"]
    return subprocess.run(probe, capture_output=True).returncode == 0


def test_the_older_end_opens_what_is_written(tmp_path, transload):
    if not has_older_end():
        pytest.skip("no PyTorch 1.13 here")
    base = torch.arange(24, dtype=torch.float32)
    saved = {"base": base, "view": base[6:12], "transposed": base.reshape(4, 6).t(), "half": torch.ones(3).bfloat16(),
             "parameter": torch.nn.Parameter(torch.ones(2, 2)), "epoch": 3, "steps": [7, (1, None)]}  # its weights_only reads no floats
    torch.save(saved, tmp_path / "a.pt")
    transload("convert", tmp_path / "a.pt", tmp_path / "b.pt")
    script = """
import sys, torch
t = torch.load(sys.argv[1], weights_only=True)
assert list(t) == ["base", "view", "transposed", "half", "parameter", "epoch", "steps"]
assert t["base"].tolist() == list(range(24)) and t["view"].tolist() == list(range(6, 12))
assert t["view"].data_ptr() == t["base"].data_ptr() + 24 and t["transposed"].stride() == (1, 6)
assert t["half"].dtype == torch.bfloat16 and t["epoch"] == 3 and t["steps"] == [7, (1, None)]
assert type(t["parameter"]) is torch.nn.Parameter and t["parameter"].requires_grad
"""
    subprocess.run(["/usr/bin/python3", "-c", script, tmp_path / "b.pt"], check=True)


def test_the_older_end_opens_random_state_dicts(tmp_path, transload):
    """The same tensors as we see: digests, shapes, strides, requires_grad."""
    if not has_older_end():
        pytest.skip("no PyTorch 1.13 here")
    known = set(DTYPES[:12])  # it has no others
    for seed in range(40):
        rng = random.Random(seed)
        tensors = [t for t in (random_tensor(rng) for _ in range(8)) if t.dtype in known]
        tensors += [t.detach().reshape(-1)[1:] for t in tensors if t.is_contiguous() and t.dim()]  # of shared storages
        torch.save({f"t{i}": t for i, t in enumerate(tensors)}, tmp_path / "in.pt")
        transload("convert", tmp_path / "in.pt", tmp_path / f"{seed}.pt")
        shown = json.loads(transload("inspect", "--json", "--digests", tmp_path / f"{seed}.pt"))["tensors"]
        (tmp_path / f"{seed}.json").write_text(json.dumps(shown))
    script = """
import hashlib, json, sys, torch
for seed in range(40):
    loaded = torch.load(f"{sys.argv[1]}/{seed}.pt", weights_only=True)
    shown = json.load(open(f"{sys.argv[1]}/{seed}.json"))
    assert list(loaded) == [t["name"] for t in shown]
    storages = {}
    for name, want in zip(loaded, shown):
        t = loaded[name]
        assert str(t.dtype) == "torch." + want["dtype"] and list(t.shape) == want["shape"], name
        assert list(t.stride()) == want["stride"] and t.storage_offset() == want["storage_offset"], name
        assert t.requires_grad == want["requires_grad"], name
        assert storages.setdefault(want["storage"], t.storage().data_ptr()) == t.storage().data_ptr(), name
        flat = t.detach().contiguous().reshape(-1)
        units = {"bfloat16": torch.int16, "complex32": torch.int32}.get(want["dtype"])
        data = bytes((flat.view(units) if units else flat).numpy()) if flat.numel() else b""
        assert hashlib.sha256(data).hexdigest() == want["sha256"], name
"""
    subprocess.run(["/usr/bin/python3", "-c", script, tmp_path], check=True)


def test_pytorch_resumes_from_the_demos_checkpoint(tmp_path, transload):
    transload("demo", "--folder", tmp_path)
    model = torch.nn.Sequential()
    model.net1, model.relu, model.net2 = torch.nn.Linear(10, 10), torch.nn.ReLU(), torch.nn.Linear(10, 1)
    toy = torch.load(tmp_path / "toy.pt", weights_only=True, map_location="cpu")
    assert model.load_state_dict(toy) and toy._metadata[""]["version"] == 1
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True, map_location="cpu")
    optimizer = torch.optim.Adam(model.parameters())
    model.load_state_dict(checkpoint["model_state_dict"])
    optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
    assert checkpoint["epoch"] == 3 and optimizer.param_groups[0]["lr"] == 0.01
    state = optimizer.state[model.net1.weight]
    assert state["step"] == 30 and state["exp_avg"].shape == (10, 10)
    torch.nn.functional.mse_loss(model(torch.randn(20, 10)), torch.randn(20, 1)).backward()
    optimizer.step()
    assert state["step"] == 31


def run(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=60)


class Called:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_what_would_be_another_tensor_in_pytorch_is_refused(tmp_path):
    """Attributes that replace a tensor's bytes, and keys that are one key in Python."""
    tensors, own = (torch.zeros(4), torch.ones(4)), ("data", "grad", "requires_grad", "__class__")
    rebuild = torch._tensor._rebuild_from_type_v2, torch._utils._rebuild_parameter_with_state
    arguments = torch.zeros(4).__reduce_ex__(2)[1]
    for key in own:
        for state in {key: tensors[1]}, ({key: tensors[1]}, None), (None, {key: tensors[1]}):
            for value in (Called(rebuild[0], torch._utils._rebuild_tensor_v2, torch.Tensor, arguments, state),
                          Called(rebuild[1], tensors[0], False, OrderedDict(), state)):
                torch.save({"a": value}, tmp_path / "m.pt")
                done = run("load", tmp_path / "m.pt")
                assert done.returncode == 1 and ("attribute" in done.stderr or "state" in done.stderr), done.stderr
    plain = {"a": Called(rebuild[1], tensors[0], False, OrderedDict(), {"note": tensors[1]})}
    torch.save(plain, tmp_path / "m.pt")
    assert run("load", tmp_path / "m.pt").returncode == 0
    state = {2**53 + 1: tensors[0], float(2**53): tensors[1], (1, 2): 5, 1.5: 6, True: 7, -0.5: 8, 2**64: 9, 1j: 10}
    torch.save(state, tmp_path / "m.pt")
    assert run("convert", tmp_path / "m.pt", tmp_path / "again.pt").returncode == 0
    again = torch.load(tmp_path / "again.pt", weights_only=False)
    assert [(key, type(key)) for key in again] == [(key, type(key)) for key in state]
    for key in complex(1, 0), frozenset([1, 2]):
        torch.save({key: 1}, tmp_path / "m.pt")
        assert "as a key" in run("load", tmp_path / "m.pt").stderr
    torch.save({2.0**64: 1, float("inf"): 2}, tmp_path / "m.pt")
    assert run("load", tmp_path / "m.pt").returncode == 0
    torch.save({2.0**64: 1, 2**65: 2}, tmp_path / "m.pt")
    assert "as one key" in run("load", tmp_path / "m.pt").stderr


class Late:
    """A tensor whose state is a dict that gets more items after the tensor was made."""

    def __init__(self, tensor, state):
        self.call = torch._tensor._rebuild_from_type_v2, (torch._utils._rebuild_tensor_v2, torch.Tensor, tensor.__reduce_ex__(2)[1], state)

    def __reduce__(self):
        return self.call


def test_what_a_state_gets_later_changes_no_tensor(tmp_path):
    state = {"note": 1}
    first, second = torch.tensor([1.0, 2.0]), torch.tensor([9.0, 8.0])
    # pickle notes the dict where it is met first; its items are written after what holds it
    state["self"] = [Late(first, state)]
    torch.save({"state": state, "w": Late(second, {"note": 2})}, tmp_path / "m.pt")
    assert run("convert", tmp_path / "m.pt", tmp_path / "again.pt").returncode == 0
    again = torch.load(tmp_path / "again.pt", weights_only=False)
    assert again["w"].tolist() == [9, 8] and again["w"].note == 2
    assert again["state"]["self"][0].tolist() == [1, 2] and not hasattr(again["state"]["self"][0], "self")


def test_conj_and_neg_bits_in_any_dict(tmp_path):
    base = torch.tensor([1 + 2j])
    arguments = base.__reduce_ex__(2)[1]
    for metadata in {"conj": True}, OrderedDict(conj=True):
        torch.save({"a": Called(torch._utils._rebuild_tensor_v2, *arguments[:6], metadata)}, tmp_path / "m.pt")
        assert run("convert", tmp_path / "m.pt", tmp_path / "again.pt").returncode == 0
        assert torch.load(tmp_path / "again.pt")["a"].resolve_conj().tolist() == [1 - 2j]
    torch.save({"a": Called(torch._utils._rebuild_tensor_v2, *arguments[:6], Counter(conj=1))}, tmp_path / "m.pt")
    assert "metadata" in run("load", tmp_path / "m.pt").stderr


def test_whole_optimizers_that_have_stepped(tmp_path):
    """Their state is a dict whose keys are Parameters."""
    layer = torch.nn.Linear(3, 2)
    for kind in torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad, torch.optim.RMSprop:
        optimizer = kind(layer.parameters(), lr=0.1)
        layer(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        torch.save({"optimizer": optimizer, "layer": layer}, tmp_path / "m.pt")
        assert run("scan", tmp_path / "m.pt").returncode == 0
        assert run("convert", "--allow-objects", tmp_path / "m.pt", tmp_path / "again.pt").returncode == 0
        again = torch.load(tmp_path / "again.pt", weights_only=False)
        parameters = list(again["layer"].parameters())
        assert list(again["optimizer"].state) == parameters[: len(again["optimizer"].state)]
        same(optimizer.state_dict(), again["optimizer"].state_dict())


@pytest.mark.parametrize("seed", range(60))
def test_a_random_state_dict_comes_back_from_the_legacy_stream(seed, tmp_path, transload):
    rng = random.Random(seed)
    saved = random_dict(rng, 3, [])
    protocol = rng.choice([2, 3, 4, 5])
    torch.save(saved, tmp_path / "in.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    transload("convert", tmp_path / "in.pt", tmp_path / "out.pt")
    torch.save(saved, tmp_path / "zip.pt")  # PyTorch cannot read all that it writes as a stream
    same(torch.load(tmp_path / "zip.pt", weights_only=False), torch.load(tmp_path / "out.pt", weights_only=True))
