"""verify names what is damaged; recover saves what is whole, and only that."""
import io
import json
import random
import re
import subprocess
import zipfile

import pytest
import torch
from conftest import PROGRAM
from equal import same


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
    assert 'member "m/data.pkl" at offset 64' in run("verify", tmp_path / "d.pt").stderr


def whole_tensors(state, bytes_):
    """Of the flat ones, those all of whose bytes are there, in their place."""
    return {key for key, tensor in state.items() if key != "nested" and tensor.numpy().tobytes() in bytes_}


def test_any_truncation_leaves_the_tensors_that_are_whole(saved, tmp_path):
    state, path, tensors = saved
    whole = path.read_bytes()
    pickle_end = whole.index(b"PK\x03\x04", 4)
    for cut in sorted({*range(pickle_end, len(whole), 211), len(whole) - 1, len(whole) - 30}):
        (tmp_path / "cut.pt").write_bytes(whole[:cut])
        (tmp_path / "good.pt").unlink(missing_ok=True)
        done = run("recover", tmp_path / "cut.pt", tmp_path / "good.pt")
        if not whole_tensors(state, whole[:cut]) and state["nested"]["list"][0].numpy().tobytes() not in whole[:cut]:
            assert done.returncode == 1 and "none of its 8 tensors is intact" in done.stderr
            assert not (tmp_path / "good.pt").exists()
            continue
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


@pytest.mark.parametrize("cut", [0, 40, 700])
def test_an_archive_in_a_tensor_is_not_the_archive(tmp_path, cut):
    """Both have the same folder, and members of the same names, with checksums that are right."""
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(8.0), "b": torch.full((100,), 7.0)}, buffer)
    state = {"blob": torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8), "w": torch.full((100,), 1.0)}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    (tmp_path / "m.pt").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) - cut])
    done = run("recover", tmp_path / "m.pt", tmp_path / "good.pt")
    assert done.returncode == 0, done.stderr
    same(state, torch.load(tmp_path / "good.pt", weights_only=True))


def test_values_that_are_damaged_are_not_believed(saved, tmp_path):
    """Another key, shape or stride is as good a pickle, and would name the wrong bytes."""
    state, path, tensors = saved
    whole = path.read_bytes()
    begin = whole.index(b"\x80\x02")
    end = whole.index(b"PK\x07\x08")
    for at in range(begin, end, 37):
        for content in whole, whole[: len(whole) - 400]:
            damaged = bytearray(content)
            damaged[at] ^= 1
            (tmp_path / "d.pt").write_bytes(damaged)
            done = run("recover", tmp_path / "d.pt", tmp_path / "good.pt")
            assert done.returncode == 1 and done.stderr, at
            assert not (tmp_path / "good.pt").exists()


def test_a_damaged_header_loses_nothing_where_the_directory_is_whole(saved, tmp_path):
    state, path, tensors = saved
    whole = path.read_bytes()
    headers = [at for at in range(len(whole)) if whole.startswith(b"PK\x03\x04", at)]
    for at in [h for header in headers for h in (header + 1, header + 32)] + [headers[0] + 31]:
        damaged = bytearray(whole)
        damaged[at] ^= 4
        (tmp_path / "d.pt").write_bytes(damaged)
        done = run("recover", tmp_path / "d.pt", tmp_path / "good.pt")
        assert done.returncode == 0, (at, done.stdout, done.stderr)
        same(state, torch.load(tmp_path / "good.pt", weights_only=True))


def test_objects_are_recovered_if_asked(tmp_path):
    torch.save({"w": torch.ones(3), "layer": torch.nn.Linear(2, 2)}, tmp_path / "m.pt")
    done = run("recover", tmp_path / "m.pt", tmp_path / "good.pt")
    assert done.returncode == 1 and not (tmp_path / "good.pt").exists()
    assert run("recover", "--allow-objects", tmp_path / "m.pt", tmp_path / "good.pt").returncode == 0
    recovered = torch.load(tmp_path / "good.pt", weights_only=False)
    assert recovered["layer"].weight.shape == (2, 2) and recovered["w"].sum() == 3


def test_a_manifest_tells_two_files_apart(saved, tmp_path):
    state, path, tensors = saved
    manifest = tmp_path / "m.json"
    assert run("verify", path, "--write-manifest", manifest).returncode == 0
    run("convert", path, tmp_path / "again.pt")
    assert "8 tensors match" in run("verify", tmp_path / "again.pt", "--manifest", manifest).stdout
    state["layer.1"][0, 0] += 1
    del state["layer.4"]
    state["new"] = torch.zeros(1)
    torch.save(state, tmp_path / "other.pt")
    done = run("verify", tmp_path / "other.pt", "--manifest", manifest)
    assert done.returncode == 1
    for text in '"layer.1" is float32 [51, 7] ', '"layer.4" is not in the file', '"new" is not in the manifest':
        assert text in done.stderr


class Stream:
    """Cannot seek: zipfile leaves the sizes to the descriptors behind the data."""

    def __init__(self, path):
        self.file = open(path, "wb")

    def write(self, data):
        return self.file.write(data)

    def flush(self):
        self.file.flush()


@pytest.mark.parametrize("stream", [False, True])
def test_deflated_members_are_recovered_too(saved, tmp_path, stream):
    state, path, tensors = saved
    out = Stream(tmp_path / "d.pt") if stream else open(tmp_path / "d.pt", "wb")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    (out.file if stream else out).close()
    same(state, torch.load(tmp_path / "d.pt", weights_only=True))
    whole = (tmp_path / "d.pt").read_bytes()
    directory = whole.index(b"PK\x01\x02")
    headers = [at for at in range(directory) if whole.startswith(b"PK\x03\x04", at)]
    (tmp_path / "cut.pt").write_bytes(whole[:directory])
    done = run("recover", tmp_path / "cut.pt", tmp_path / "good.pt")
    assert done.returncode == 0, done.stderr
    same(state, torch.load(tmp_path / "good.pt", weights_only=True))
    (tmp_path / "cut.pt").write_bytes(whole[: headers[-4] + 100])  # inside of a storage
    done = run("recover", tmp_path / "cut.pt", tmp_path / "good.pt")
    assert done.returncode == 1, done.stderr
    recovered = torch.load(tmp_path / "good.pt", weights_only=True)
    assert 0 < sum(f"layer.{i}" in recovered for i in range(6)) < 6
    same({k: v for k, v in state.items() if k in recovered and k != "nested"}, {k: v for k, v in recovered.items() if k != "nested"})
    damaged = bytearray(whole)
    damaged[headers[5] + 300] ^= 0xFF
    (tmp_path / "cut.pt").write_bytes(damaged[:directory])
    done = run("recover", tmp_path / "cut.pt", tmp_path / "good.pt")
    assert done.returncode == 1 and ("inflate" in done.stdout or "not those that were saved" in done.stdout), done
    assert 0 < len(torch.load(tmp_path / "good.pt", weights_only=True))


def test_a_tensor_of_several_parts_is_recovered_whole_or_not(tmp_path, data):
    whole = (data / "torch-2.13/sparse.zip.pt").read_bytes()
    header = [at for at in range(len(whole)) if whole.startswith(b"PK\x03\x04", at)]
    (tmp_path / "cut.pt").write_bytes(whole[: header[len(header) // 2]])
    done = run("recover", tmp_path / "cut.pt", tmp_path / "good.pt")
    assert done.returncode == 1 and "#values" in done.stdout, done
    everything, recovered = (torch.load(p, weights_only=True) for p in (data / "torch-2.13/sparse.zip.pt", tmp_path / "good.pt"))
    assert 0 < len(recovered) < len(everything)
    same({key: everything[key] for key in recovered}, recovered)


def test_a_file_cut_short_says_how_much_is_missing(saved, tmp_path):
    state, path, tensors = saved
    import safetensors.torch
    flat = {k: v for k, v in state.items() if k != "nested"}
    safetensors.torch.save_file(flat, tmp_path / "m.safetensors")
    for source in path, tmp_path / "m.safetensors":
        whole = source.read_bytes()
        (tmp_path / "cut").write_bytes(whole[: len(whole) * 63 // 100])
        words = run("inspect", tmp_path / "cut").stderr
        percent = int(re.search(r"(\d+) % are missing", words)[1])
        assert 25 <= percent <= 37, words
        assert str(len(whole) * 63 // 100) in words


def test_formats_under_each_others_names(saved, tmp_path):
    state, path, tensors = saved
    (tmp_path / "x.safetensors").write_bytes(path.read_bytes())
    assert "this is a file of torch.save despite its suffix" in run("inspect", tmp_path / "x.safetensors").stdout
    done = run("convert", tmp_path / "x.safetensors", tmp_path / "y.pt")
    same(state, torch.load(tmp_path / "y.pt", weights_only=True))
    (tmp_path / "bare.safetensors").write_bytes(b"\x80\x02}.")
    assert "pickle, dict of 0" in run("inspect", tmp_path / "bare.safetensors").stdout
