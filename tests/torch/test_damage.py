"""verify names what is damaged; recover saves what is whole, and only that."""
import json
import os
import pathlib
import random
import subprocess

import pytest
import torch
from equal import same

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("TRANSLOAD", ROOT / "build/dev/transload"))


def run(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=60)


@pytest.fixture
def saved(tmp_path):
    generator = torch.Generator().manual_seed(0)
    state = {f"layer.{i}": torch.randn(50 + i, 7, generator=generator) for i in range(6)}
    state["nested"] = {"list": [torch.arange(9), 5], "view": state["layer.0"][3:], "text": "kept"}
    torch.save(state, tmp_path / "m.pt")
    return state, tmp_path / "m.pt", json.loads(run("inspect", "--json", tmp_path / "m.pt").stdout)["tensors"]


def test_any_byte_of_a_tensor_that_flips_is_named(saved, tmp_path):
    state, path, tensors = saved
    assert run("verify", path).returncode == 0
    whole = path.read_bytes()
    rng = random.Random(1)
    for name, tensor in state.items():
        if name == "nested":
            continue
        raw = tensor.numpy().tobytes()
        at = whole.index(raw)
        for position in (0, len(raw) - 1, *(rng.randrange(len(raw)) for _ in range(5))):
            damaged = bytearray(whole)
            damaged[at + position] ^= 1 << rng.randrange(8)
            (tmp_path / "d.pt").write_bytes(damaged)
            done = run("verify", tmp_path / "d.pt")
            assert done.returncode == 1 and f'for "{name}"' in done.stderr, done.stderr
    at = whole.index(b"layer.3")  # in the pickle
    (tmp_path / "d.pt").write_bytes(whole[:at] + b"layer.9" + whole[at + 7:])
    assert 'data.pkl" is not what was saved' in run("verify", tmp_path / "d.pt").stderr


def whole_tensors(state, bytes_):
    """Of the flat ones, those all of whose bytes are there, in their place."""
    return {key for key, tensor in state.items() if key != "nested" and tensor.numpy().tobytes() in bytes_}


def test_any_truncation_leaves_the_tensors_that_are_whole(saved, tmp_path):
    state, path, tensors = saved
    whole = path.read_bytes()
    pickle_end = whole.index(b"PK\x03\x04", 4)
    for cut in sorted({*range(pickle_end, len(whole), 211), len(whole) - 1, len(whole) - 30}):
        (tmp_path / "cut.pt").write_bytes(whole[:cut])
        done = run("recover", tmp_path / "cut.pt", tmp_path / "good.pt")
        assert done.stderr == "", (cut, done.stderr)
        recovered = torch.load(tmp_path / "good.pt", weights_only=True)
        expected = whole_tensors(state, whole[:cut])
        assert {k for k in recovered if k != "nested"} == expected, cut
        same({k: state[k] for k in expected}, {k: recovered[k] for k in expected})
        assert recovered["nested"]["text"] == "kept"
        assert ("view" in recovered["nested"]) == ("layer.0" in expected)
        assert done.returncode == (0 if len(expected) == 6 and recovered["nested"]["list"][0] is not None else 1)
    (tmp_path / "cut.pt").write_bytes(whole[:pickle_end // 2])
    done = run("recover", tmp_path / "cut.pt", tmp_path / "none.pt")
    assert done.returncode == 1 and done.stderr and not (tmp_path / "none.pt").exists()


def test_damage_in_the_middle_loses_what_it_hit(saved, tmp_path):
    state, path, tensors = saved
    whole = bytearray(path.read_bytes())
    at = whole.index(state["layer.2"].numpy().tobytes())
    whole[at + 8 : at + 40] = bytes(32)
    (tmp_path / "d.pt").write_bytes(whole)
    done = run("recover", tmp_path / "d.pt", tmp_path / "good.pt")
    assert '"layer.2": its bytes are not those that were saved' in done.stdout
    recovered = torch.load(tmp_path / "good.pt", weights_only=True)
    assert "layer.2" not in recovered and len(recovered) == 6
    same({k: v for k, v in state.items() if k != "layer.2"}, recovered)


def test_a_manifest_tells_two_files_apart(saved, tmp_path):
    state, path, tensors = saved
    manifest = tmp_path / "m.json"
    assert run("verify", path, "--write-manifest", manifest).returncode == 0
    run("convert", path, tmp_path / "again.pt")
    assert "8 tensors are those of" in run("verify", tmp_path / "again.pt", "--manifest", manifest).stdout
    state["layer.1"][0, 0] += 1
    del state["layer.4"]
    state["new"] = torch.zeros(1)
    torch.save(state, tmp_path / "other.pt")
    done = run("verify", tmp_path / "other.pt", "--manifest", manifest)
    assert done.returncode == 1
    for text in '"layer.1" is float32 [51, 7] ', '"layer.4" is not in the file', '"new" is not in the manifest':
        assert text in done.stderr
