"""patch_torch(): the settings of torch, objects in places that are easily passed over, and patches that stand at the same
time."""
import collections
import inspect
import io
import itertools
import multiprocessing
import pickle

import numpy
import pytest
import torch

import transload


class Point:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return self.x == other.x


# --- settings of torch ------------------------------------------------------------------------------------------


def test_the_environment_forces_weights_only(patched, tmp_path, monkeypatch):
    torch.save({"p": Point(3)}, tmp_path / "o.pt")
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "o.pt", weights_only=False)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "yes")
    with pytest.raises(RuntimeError, match="Only one of"):
        torch.load(tmp_path / "o.pt")
    assert patched.served == 0


def test_a_registered_package_is_torchs(patched, file, tmp_path):
    registry = torch.serialization._package_registry
    before = list(registry)
    torch.serialization.register_package(5, lambda storage: "mine", lambda storage, tag: storage if tag == "mine" else None)
    try:
        torch.save({"a": torch.ones(2)}, tmp_path / "tagged.pt")
        assert torch.load(tmp_path / "tagged.pt")["a"].sum() == 2
    finally:
        registry[:] = before
    assert patched.reasons == {"a package that was registered": 2} and b"mine" in (tmp_path / "tagged.pt").read_bytes()


def test_crc32_turned_off_is_torchs(patched, tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.ones(2)}, tmp_path / "c.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert patched.reasons == {"crc32 turned off": 1}


def sparse(index):
    """A file with a sparse tensor whose index may be out of bounds."""
    buffer = io.BytesIO()
    torch.save(torch.sparse_coo_tensor([[0, index]], [1.0, 2.0], (4,), check_invariants=False), buffer)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("index", [3, 4])
def test_sparse_tensors_are_checked_as_torch_does(patched, index):
    stream = sparse(index)
    with torch.sparse.check_sparse_tensor_invariants(True):
        if index == 4:
            with pytest.raises(RuntimeError, match="size is inconsistent"):
                torch.load(stream)
        else:
            torch.load(stream)
    stream.seek(0)
    with torch.sparse.check_sparse_tensor_invariants(False):
        assert torch.load(stream).layout is torch.sparse_coo
    assert torch._utils._sparse_tensors_to_validate == []


# --- objects in places that are easily passed over ---------------------------------------------------------------


class Allowed:
    def __init__(self, **parts):
        self.parts = parts


def places(inner):
    tagged, weight, state = torch.ones(2), torch.nn.Parameter(torch.ones(2)), collections.OrderedDict(w=torch.ones(1))
    tagged.tag, weight.tag, state._metadata = [1, (inner,)], inner, {"": inner}
    return {"tensor": tagged, "parameter": weight, "ordered dict": state, "allowed": Allowed(x=torch.ones(2), store=inner),
            "deep": [{"a": (Allowed(y=[inner]),)}], "key": {(1, "a"): {2: inner}}}


@pytest.mark.parametrize("place", ["tensor", "parameter", "ordered dict", "allowed", "deep", "key"])
@pytest.mark.parametrize("what", ["object", "class", "numpy"])
def test_objects_are_torchs_wherever_they_are(tmp_path, place, what):
    inner = {"object": Point(3), "class": Point, "numpy": numpy.float64(2.5)}[what]
    torch.save(places(inner)[place], tmp_path / "o.pt")
    with transload.patch_torch() as patched, torch.serialization.safe_globals([Allowed]):
        with pytest.raises(pickle.UnpicklingError):
            torch.load(tmp_path / "o.pt")
        got = torch.load(tmp_path / "o.pt", weights_only=False)
    found = {"tensor": lambda: got.tag[1][0], "parameter": lambda: got.tag, "ordered dict": lambda: got._metadata[""],
             "allowed": lambda: got.parts["store"], "deep": lambda: got[0]["a"][0].parts["y"][0], "key": lambda: got[1, "a"][2]}[place]()
    assert found == inner and type(found) is type(inner)
    assert patched.loaded == (what == "numpy")  # which transload makes itself


def test_allowed_classes_stand_by_themselves(patched, tmp_path):
    torch.save([Allowed, Allowed(x=torch.ones(2), inner=Allowed(y=1))], tmp_path / "o.pt")
    with torch.serialization.safe_globals([Allowed]):
        kind, one = torch.load(tmp_path / "o.pt")
    assert kind is Allowed and type(one.parts["inner"]) is Allowed and patched.loaded == 1


def test_an_allowed_class_under_another_name_is_found_by_pickle_where_nothing_is_restricted(patched, tmp_path):
    torch.save(Point(3), tmp_path / "o.pt")
    with torch.serialization.safe_globals([(Allowed, f"{Point.__module__}.Point")]):
        assert type(torch.load(tmp_path / "o.pt")) is Allowed
        assert type(torch.load(tmp_path / "o.pt", weights_only=False)) is Point


def test_an_object_is_left_before_tensors_are_read(patched, tmp_path, monkeypatch):
    torch.save({"p": Point(3), "w": torch.ones(9)}, tmp_path / "o.pt")
    monkeypatch.setattr("transload._patch.load_opened", lambda *args, **options: pytest.fail("read"))
    assert torch.load(tmp_path / "o.pt", weights_only=False)["p"] == Point(3)
    assert patched.reason.endswith("Point") and patched.reasons["objects of classes that are not plain data"] == 2


# --- manners ----------------------------------------------------------------------------------------------------


def test_patches_end_in_any_order(file):
    load, save = torch.load, torch.save
    for order in itertools.permutations(range(3)):
        patches = [transload.patch_torch() for _ in order]
        assert torch.load is torch.serialization.load is not load
        for done, i in enumerate(order):
            patches[i].undo()
            patches[i].undo()
            before = [p.loaded for p in patches]
            torch.load(file)
            changed = [i for i, p in enumerate(patches) if p.loaded != before[i]]
            assert len(changed) == (1 if done < 2 else 0) and not set(changed) & set(order[: done + 1])
        assert torch.load is torch.serialization.load is load and torch.save is save


def test_a_function_that_was_held_on_to_is_torchs_after_the_end(file):
    with transload.patch_torch() as patch:
        held = torch.load
    assert held is not torch.load and held(file)["a"].sum() == 6 and patch.served == patch.left_to_torch == 0


def test_a_wrapper_that_came_later_is_left_in_place(file):
    own = torch.load
    patch = transload.patch_torch()
    inner = torch.load
    torch.load = lambda *args, **options: inner(*args, **options)
    wrapper = torch.load
    try:
        patch.undo()
        assert torch.load is wrapper and torch.load(file)["a"].sum() == 6 and torch.serialization.load is own
    finally:
        torch.load = own


def test_they_are_pickled_as_functions_are(patched):
    for function in (torch.load, torch.save):
        assert pickle.loads(pickle.dumps(function)) is function
    assert inspect.signature(torch.load).parameters.keys() >= {"f", "map_location", "weights_only", "mmap"}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_loads_through_them(patched, file, method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map_async(torch.load, [str(file)]).get(60)[0]["a"].sum() == 6


def test_a_folder_that_is_missing_is_torchs_error(patched, tmp_path):
    with pytest.raises(RuntimeError, match="[Pp]arent directory"):
        torch.save(1, tmp_path / "none" / "x.pt")
    assert patched.reasons == {"a file that cannot be replaced": 1}


def test_a_legacy_file_object_without_flush_is_torchs_error(patched):
    class NoFlush:
        def write(self, data):
            return len(data)

    with pytest.raises(AttributeError, match="flush"):
        torch.save(1, NoFlush())
