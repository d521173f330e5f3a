"""Objects that make what they hold while they are pickled: nothing but the save keeps their tensors, storages and arrays
alive. Memory that was freed too early holds other bytes by the time it is written, so each test saves many times."""
import copyreg
import gc
import io

import numpy
import pytest
import torch
from equal import same

import transload

SIZES = [1, 3, 17, 100, 1000, 5000]


class Cloning:
    """Clones its tensor, and more, each time it is taken apart."""

    def __init__(self, seed):
        self.seed = seed

    def parts(self):
        base = torch.arange(float(SIZES[self.seed % len(SIZES)])) + self.seed
        return {
            "clone": base.clone(),
            "cast": base.double(),
            "view": base.repeat(3)[2:],
            "list": [base + i for i in range(4)],
            "storage": base.clone().untyped_storage(),
            "sparse": torch.sparse_coo_tensor([[0, 2]], torch.tensor([1.0, 2.0]) + self.seed, (4,)),
            "numpy": numpy.arange(float(self.seed + 1)) * 2,
            "tuple": (base * 2, {"deep": torch.full((7,), self.seed)}),
            "parameter": torch.nn.Parameter(base.clone()),
        }


class ByState(Cloning):
    def __getstate__(self):
        return self.parts()

    def __setstate__(self, state):
        self.state = state


class ByReduce(Cloning):
    def __reduce__(self):
        return _made, (self.parts(), self.seed)


class ByReduceEx(Cloning):
    def __reduce_ex__(self, protocol):
        return _made, (self.parts(), self.seed), None, iter([self.parts()["clone"]]), iter([("k", self.parts())])


class ByTable(Cloning):
    pass


class Nested(Cloning):
    """Objects, made now, that make tensors."""

    def __getstate__(self):
        return {"inner": [ByState(self.seed), ByReduce(self.seed + 1), Nested(self.seed - 1) if self.seed else None]}

    def __setstate__(self, state):
        self.state = state


class _Made(list):
    def __init__(self, parts, seed):
        self.parts, self.seed, self.entries = parts, seed, {}

    def __setitem__(self, key, value):
        self.entries[key] = value


def _made(parts, seed):
    return _Made(parts, seed)


copyreg.pickle(ByTable, lambda o: (_made, (o.parts(), o.seed)))


def same_parts(found, seed):
    with_tensors = Cloning(seed).parts()
    for key in ("sparse", "numpy", "storage"):
        assert bytes(dense(found[key])) == bytes(dense(with_tensors[key])), key
    same({k: v for k, v in with_tensors.items() if k not in ("sparse", "numpy", "storage")},
         {k: v for k, v in found.items() if k not in ("sparse", "numpy", "storage")})


def dense(value):
    if isinstance(value, torch.Tensor):
        return value.to_dense().numpy().tobytes()
    if isinstance(value, numpy.ndarray):
        return value.tobytes()
    return (value.untyped() if isinstance(value, torch.storage.TypedStorage) else value).tolist()


def same_object(found, seed):
    if isinstance(found, _Made):
        assert found.seed == seed
        same_parts(found.parts, seed)
        for item in found:
            same(Cloning(seed).parts()["clone"], item)
        for parts in found.entries.values():
            same_parts(parts, seed)
    elif "inner" in found.state:
        same_object(found.state["inner"][0], seed)
        same_object(found.state["inner"][1], seed + 1)
        if seed:
            same_object(found.state["inner"][2], seed - 1)
    else:
        same_parts(found.state, seed)


def churn():
    """Takes the memory that was freed, and writes over it."""
    return [torch.full((n,), -1.0) for n in SIZES for _ in range(4)]


@pytest.fixture(params=["path", "file object"])
def saved(request, tmp_path):
    def go(obj):
        target = tmp_path / "o.pt" if request.param == "path" else io.BytesIO()
        transload.save(obj, target, allow_objects=True, progress=lambda done, total: churn())
        churn()
        if isinstance(target, io.BytesIO):
            target.seek(0)
        return torch.load(target, weights_only=False)

    return go


@pytest.mark.parametrize("kind", [ByState, ByReduce, ByReduceEx, ByTable, Nested])
def test_what_an_object_makes_while_it_is_pickled_is_saved_whole(saved, kind):
    for seed in range(3):
        found = saved({"a": kind(seed), "more": [kind(seed + i) for i in range(5)], "plain": torch.ones(3)})
        same_object(found["a"], seed)
        for i, one in enumerate(found["more"]):
            same_object(one, seed + i)


def test_generators_come_back_with_their_state(saved):
    for _ in range(3):
        found = saved([torch.Generator().manual_seed(i) for i in range(20)])
        for i, generator in enumerate(found):
            assert torch.equal(generator.get_state(), torch.Generator().manual_seed(i).get_state())


class Emptying:
    """Takes a tensor's storage away from it while another object is pickled."""

    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        self.victim.set_(torch.zeros(1).untyped_storage(), 0, (1,), (1,))
        gc.collect()
        churn()
        return list, ()


def test_a_storage_that_is_taken_away_meanwhile_is_saved_as_it_was(saved):
    for _ in range(6):
        victim = torch.arange(5000.0)
        found = saved([victim, Emptying(victim)])
        assert torch.equal(found[0], torch.arange(5000.0))


def test_objects_that_live_only_while_a_container_is_walked(saved):
    class Walked(dict):
        pass

    state = Walked()
    state.__class__.__reduce__ = lambda self: (dict, (), None, None, iter({"k": torch.full((900,), 3.0)}.items()))
    for _ in range(6):
        assert torch.equal(saved(state)["k"], torch.full((900,), 3.0))


def test_one_object_is_one_object_again(saved):
    shared = ByReduce(2)
    found = saved([shared, shared])
    assert found[0] is found[1]


# --- file objects -----------------------------------------------------------------------------------------------


class Writer:
    """Bytes in order and nothing else: no position, no descriptor. Keeps what it is given."""

    def __init__(self, most=None):
        self.parts, self.most, self.flushed = [], most, 0

    def write(self, data):
        part = data[: self.most]
        self.parts.append(part)
        return len(part)

    def flush(self):
        self.flushed += 1

    def content(self):
        return b"".join(self.parts)


STATE = {"a": torch.arange(3_000_000.0), "t": torch.arange(12.0).view(3, 4).t(), "b": torch.ones(0), "n": 3}


@pytest.mark.parametrize("format", ["torch_zip", "safetensors"])
def test_a_file_object_gets_what_a_path_gets(tmp_path, format):
    state = {k: v for k, v in STATE.items() if k != "n" or format == "torch_zip"}
    transload.save(state, tmp_path / "archive", format=format)
    expected = (tmp_path / "archive").read_bytes()
    for file in (io.BytesIO(), Writer(), Writer(most=70_001)):
        assert transload.save(state, file, format=format) == len(expected)
        assert (file.getvalue() if isinstance(file, io.BytesIO) else file.content()) == expected
    assert file.flushed == 1 and all(type(part) is bytes for part in file.parts)


def test_a_file_object_is_written_from_its_position(tmp_path):
    file = io.BytesIO(b"before" + b"x" * 9)
    file.seek(6)
    nbytes = transload.save(STATE, file)
    assert file.tell() == 6 + nbytes == len(file.getvalue()) and file.getvalue()[:6] == b"before"
    file.seek(6)
    same(STATE, transload.load(file))


def test_a_failure_of_a_file_object_comes_out(tmp_path):
    class Full(Writer):
        def write(self, data):
            if len(self.parts) == 2:
                raise OSError(28, "full")
            return super().write(data)

    with pytest.raises(OSError, match="full"):
        transload.save(STATE, Full())
    with pytest.raises(transload.IoError, match="took none"):
        transload.save(STATE, Writer(most=0))
    for wrong in (open(tmp_path / "t", "w"), object()):
        with pytest.raises(TypeError, match="binary file object"):
            transload.save(STATE, wrong)


def test_options_count_for_a_file_object_too():
    file = io.BytesIO()
    transload.save(STATE, file, format="safetensors", values="drop", metadata={"by": "me"})
    index = transload.open(io.BytesIO(file.getvalue()))
    assert set(index) == {"a", "t", "b"} and index.metadata["by"] == "me"
    part = io.BytesIO()
    transload.save({"few": STATE["a"][10:20]}, part, compact=True, map_location="cuda:1")
    assert len(part.getvalue()) < 5000 and transload.open(part).tensors["few"].location == "cuda:1"


def test_nothing_is_written_to_a_file_object_if_the_object_is_refused():
    file = Writer()
    with pytest.raises(transload.UnsupportedError):
        transload.save({"a": torch.ones(2), "f": lambda: 0}, file)
    with pytest.raises(transload.UnsupportedError, match="folder"):
        transload.save({"a": torch.ones(2)}, file, format="shards")
    assert file.parts == []


def test_progress_of_a_file_object_ends_at_all():
    seen = []
    nbytes = transload.save(STATE, io.BytesIO(), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (nbytes, nbytes) and all(done <= nbytes for done, _ in seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
