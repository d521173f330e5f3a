"""transload.load beside torch.load(weights_only=True)."""
import io
import pathlib
import warnings

import pytest
import torch
from equal import same

import transload

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
FILES = sorted(DATA.glob("torch-*/*.pt"))
# torch 2.13 leaves the elements of a big-endian file of the v3 dtypes as they are: these are right, torch's are not.
TORCH_IS_WRONG = {"byteorder_big_v3.zip.pt"}
# A part of a storage is a storage of its own in torch, which shares its bytes; here it is the whole and an offset.
OTHER_STORAGES = {"synthetic_old_views.legacy.pt"}


def by_torch(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, weights_only=True, **options)


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
@pytest.mark.parametrize("map_location", [None, "cpu"])
def test_gives_what_torch_gives(path, map_location):
    if path.name in OTHER_STORAGES:
        pytest.skip("the same values over other storages")
    if path.name in TORCH_IS_WRONG:
        pytest.skip("torch 2.13 reads this one wrongly")
    try:
        expected = by_torch(path, map_location=map_location)
    except Exception as error:  # torch refuses it: nothing to compare with
        pytest.skip(f"torch refuses it: {str(error)[:60]}")
    same(expected, transload.load(path, map_location))


def test_there_is_something_to_compare():
    opened = 0
    for path in FILES:
        try:
            by_torch(path, map_location="cpu")
            opened += 1
        except Exception:
            pass
    assert opened >= 40


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2))
    path = tmp_path / "model.pt"
    torch.save(net.state_dict(), path)
    return net, path


def test_mapped_is_equal_and_private(model):
    net, path = model
    before = path.read_bytes()
    loaded = transload.load(path, mmap=True)
    same(net.state_dict(), loaded)
    loaded["0.weight"].zero_()
    assert path.read_bytes() == before


def test_map_location_meta_reads_nothing(model):
    loaded = transload.load(model[1], "meta")
    assert all(t.device.type == "meta" for t in loaded.values())
    assert loaded["0.weight"].shape == (8, 8)


@pytest.mark.parametrize(
    "map_location",
    ["cpu", torch.device("cpu"), {"cpu": "cpu"}, {"cuda:3": "cpu"}, lambda storage, location: storage, lambda s, l: None,
     {"0.*": "cpu", "*": torch.device("cpu")}, ["0.*:cpu", "cpu"]],
)
def test_takes_every_map_location(model, map_location):
    same(model[0].state_dict(), transload.load(model[1], map_location))


def test_rules_over_keys_split_a_model(model):
    loaded = transload.load(model[1], {"0.*": "meta", "*": "cpu"})
    assert {k: t.device.type for k, t in loaded.items() if k.endswith("weight")} == {
        "0.weight": "meta", "1.weight": "cpu", "2.weight": "cpu"}


def test_a_device_that_is_not_here_is_named_with_the_way_out(data):
    path = next(data.glob("torch-2.13/*cuda0*.pt"))
    with pytest.raises(transload.PlacementError, match='(?s)"cuda:0".*map_location="cpu"'):
        transload.load(path)
    assert all(t.device.type == "cpu" for t in transload.load(path, "cpu").values())


def test_keys_keep_drop_rename(model):
    net, path = model
    assert list(transload.load(path, keys=["2.bias", "0.weight"])) == ["0.weight", "2.bias"]
    assert list(transload.load(path, keys=[])) == []
    with pytest.raises(KeyError, match="3.bias"):
        transload.load(path, keys=["3.bias"])
    assert list(transload.load(path, keep="2.*")) == ["2.weight", "2.bias"]
    assert not any(k.startswith("1.") for k in transload.load(path, drop=["1.*"]))
    renamed = transload.load(path, keep=["2.*"], rename={"2.*": "head.*"})
    assert torch.equal(renamed["head.weight"], net[2].weight)


def test_floating_point_tensors_are_cast_on_their_way(model):
    net, path = model
    loaded = transload.load(path, dtype=torch.bfloat16)
    assert torch.equal(loaded["0.weight"], net[0].weight.to(torch.bfloat16))
    assert loaded["1.num_batches_tracked"].dtype == torch.int64
    assert transload.load(path, dtype="float64")["0.weight"].dtype == torch.float64


def test_parameters_and_requires_grad(tmp_path):
    p = torch.nn.Parameter(torch.randn(3))
    torch.save({"p": p, "frozen": torch.nn.Parameter(torch.ones(2), False), "t": torch.ones(2, requires_grad=True)}, tmp_path / "p.pt")
    loaded = transload.load(tmp_path / "p.pt")
    assert type(loaded["p"]) is torch.nn.Parameter and loaded["p"].requires_grad and loaded["p"].is_leaf
    assert type(loaded["frozen"]) is torch.nn.Parameter and not loaded["frozen"].requires_grad
    assert loaded["t"].requires_grad


def test_what_torch_loads_can_be_resized_and_shared(model):
    loaded = transload.load(model[1])
    loaded["0.bias"].resize_(100)
    loaded["0.weight"].share_memory_()


def test_file_objects(model):
    net, path = model
    with open(path, "rb") as file:
        same(net.state_dict(), transload.load(file))
    same(net.state_dict(), transload.load(io.BytesIO(path.read_bytes())))
    same(net.state_dict(), transload.load(str(path)))
    with pytest.raises(TypeError, match="file object"):
        transload.load(3)


def test_verify_names_what_was_damaged(model):
    path = model[1]
    assert transload.load(path, verify=True)
    index = transload.open(path)
    whole = bytearray(path.read_bytes())
    at = whole.index(bytes(model[0][2].weight.untyped_storage()))
    whole[at] ^= 1
    path.write_bytes(whole)
    transload.load(path)  # as torch: nobody asked
    with pytest.raises(transload.FormatError, match='"2.weight"'):
        transload.load(path, verify=True)
    with pytest.raises(transload.FormatError, match='"2.weight"'):
        transload.load(path, verify=True, mmap=True)
    before = {k: v.clone() for k, v in model[0].state_dict().items()}
    with pytest.raises(transload.FormatError, match='"2.weight"'):
        transload.load_into(model[0], path, verify=True)
    same(before, dict(model[0].state_dict()))
    del index


def test_memory_limit_is_enforced_before_anything_is_allocated(tmp_path):
    transload.save({"x": torch.zeros(1 << 20)}, tmp_path / "x.pt")
    with pytest.raises(transload.DeviceError, match="allowed"):
        transload.load(tmp_path / "x.pt", memory_limit=1 << 20)
    with pytest.raises(transload.DeviceError):
        transload.load(tmp_path / "x.pt", memory_limit={"cpu": 1000})
    assert transload.load(tmp_path / "x.pt", memory_limit=8 << 20)["x"].shape == (1 << 20,)
    assert transload.load(tmp_path / "x.pt", memory_limit=1000, mmap=True)["x"].sum() == 0


def test_progress_is_told_how_far_it_is(model):
    seen = []
    transload.load(model[1], progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 0
    transload.load(model[1], progress=True)


def test_objects_are_inert_and_printable(tmp_path):
    import argparse
    import collections

    torch.save({"args": argparse.Namespace(lr=0.5), "words": collections.Counter("aab"), "w": torch.ones(2)}, tmp_path / "o.pt")
    loaded = transload.load(tmp_path / "o.pt")
    assert isinstance(loaded["args"], transload.Object)
    assert repr(loaded["args"]) == "<argparse.Namespace() with {'lr': 0.5}>"
    assert loaded["words"] == collections.Counter("aab")  # torch's weights_only allows it
    class Evil:
        def __reduce__(self):
            return print, ("ran",)
    torch.save({"e": Evil()}, tmp_path / "e.pt")
    with pytest.raises(transload.UnsafePickleError, match="(calls|holds) (__builtin__|builtins).print"):
        transload.load(tmp_path / "e.pt")
    assert repr(transload.load(tmp_path / "e.pt", keep_calls=True)["e"]) in ("<builtins.print('ran')>", "<__builtin__.print('ran')>")
    with pytest.raises(transload.UnsafePickleError, match="print"):
        transload.load(tmp_path / "e.pt", refuse_objects=True, keep_calls=True)


def test_numpy_values(tmp_path):
    import numpy

    torch.save({"s": numpy.float64(2.5), "a": numpy.arange(6, dtype=numpy.int16).reshape(2, 3)}, tmp_path / "n.pt")
    loaded = transload.load(tmp_path / "n.pt")
    assert loaded["s"] == 2.5 and type(loaded["s"]) is numpy.float64
    assert numpy.array_equal(loaded["a"], numpy.arange(6).reshape(2, 3)) and loaded["a"].dtype == numpy.int16


def test_numpy_arrays_of_every_order_and_type(tmp_path):
    import numpy

    c = numpy.arange(6, dtype=">f4").reshape(2, 3)
    there = {"c": c, "fortran": numpy.asfortranarray(c.astype("<i8")), "empty": numpy.zeros((0, 2)), "scalar": numpy.array(5),
             "text": numpy.array(["ab", "c"]), "times": numpy.array(["2020-01-01"], "M8[D]"), "bool": numpy.bool_(True)}
    torch.save(there, tmp_path / "n.pt")
    loaded = transload.load(tmp_path / "n.pt")
    for key in ("c", "fortran", "empty", "scalar", "text", "times", "bool"):
        assert numpy.array_equal(loaded[key], there[key]), key
        assert loaded[key].dtype == there[key].dtype.newbyteorder("="), key  # as NumPy's own unpickling
    assert loaded["fortran"].flags.f_contiguous and loaded["fortran"].flags.writeable


def test_options_that_are_not_there_are_errors(model):
    for call in (transload.load, transload.open, lambda path, **more: transload.load_into({}, path, **more)):
        with pytest.raises(TypeError, match="verfy"):
            call(model[1], verfy=True)
    from transload import _core

    for kind in (_core.Selection, _core.OpenOptions, _core.IoOptions, _core.LoadOptions, _core.FillOptions, _core.SaveOptions):
        with pytest.raises(TypeError):
            kind(io=_core.IoOptions(), verfy=True)
    for wrong in ({"dtype": "float31"}, {"map_location": {"cuda:9": "nowhere"}}):
        with pytest.raises((transload.Error, RuntimeError), match="float31|nowhere"):
            transload.load(model[1], **wrong)


def test_patterns_are_texts_lists_or_pairs(model):
    path = model[1]
    assert list(transload.load(path, keep=("2.bias", "0.bias"))) == ["0.bias", "2.bias"]
    assert list(transload.load(path, keep="2.*", rename=[("2.*", "*")])) == ["weight", "bias"]
    assert list(transload.load(path, keep="0.*", keys=["2.bias"])) == ["0.weight", "0.bias", "2.bias"]
    assert list(transload.load(path, keys=["2.bias"], drop="0.*")) == ["2.bias"]
    with pytest.raises(KeyError, match="'x' in the file; it has 9: 0.bias, 0.weight, 1.bias, 1.num_batches_tracked, 1.running_mean, …"):
        transload.load(path, keys=["x"])


def test_what_contains_itself(tmp_path):
    x = [torch.ones(1)]
    x.append(x)
    torch.save(x, tmp_path / "x.pt")
    loaded = transload.load(tmp_path / "x.pt")
    assert loaded[1] is loaded
    transload.save(x, tmp_path / "y.pt")
    again = torch.load(tmp_path / "y.pt", weights_only=True)
    assert again[1] is again


def test_a_part_of_a_checkpoint(tmp_path):
    torch.save({"model": {"a": torch.ones(2), "b": {"c": torch.zeros(3)}}, "epoch": 3, "other": torch.ones(1000)}, tmp_path / "c.pt")
    part = transload.load(tmp_path / "c.pt", at="model", map_location="cpu")
    assert list(part) == ["a", "b"] and part["a"].tolist() == [1, 1]
    assert transload.load(tmp_path / "c.pt", at="model/b")["c"].tolist() == [0, 0, 0]
    assert list(transload.load(tmp_path / "c.pt", at="model", keys=["a"])) == ["a", "b"]
    assert transload.open(tmp_path / "c.pt").plan(at="model").transfer_nbytes == 20
    with pytest.raises(transload.MismatchError, match='nothing at "modle": the parts are "model", "epoch", "other"'):
        transload.load(tmp_path / "c.pt", at="modle")
