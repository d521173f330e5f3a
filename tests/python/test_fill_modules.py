"""Modules that load_into fills, and what each option means for each kind of them."""

import os
import pytest
import torch
from equal import same
from torch import nn

import transload


class Extra(nn.Linear):
    """Extra state with a tensor in it."""
    got = None

    def get_extra_state(self):
        return {"amax": torch.arange(3.0), "n": 3}

    def set_extra_state(self, state):
        self.got = state


class PlainExtra(Extra):
    def get_extra_state(self):
        return 5


class OwnLoad(nn.Linear):
    def load_state_dict(self, state, strict=True, **more):
        return super().load_state_dict(state, strict, **more)


class OwnPart(nn.Linear):
    def _load_from_state_dict(self, *arguments):
        super()._load_from_state_dict(*arguments)


def hooked(module):
    module.register_load_state_dict_pre_hook(lambda *_: None)
    return module


def observed(module):
    observer = torch.ao.quantization.PerChannelMinMaxObserver()
    observer(torch.randn(4, 3))
    module.observer = observer
    return module


# Each makes a module whose keys have "weight" and "bias" of Linear(3, 4) somewhere.
KINDS = {
    "plain": lambda: nn.Linear(3, 4),
    "hook": lambda: hooked(nn.Linear(3, 4)),
    "own load_state_dict": lambda: OwnLoad(3, 4),
    "own _load_from_state_dict": lambda: OwnPart(3, 4),
    "extra state": lambda: Extra(3, 4),
    "plain extra state": lambda: PlainExtra(3, 4),
    "extra state and a hook": lambda: hooked(Extra(3, 4)),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4)),
    "orthogonal": lambda: nn.utils.parametrizations.orthogonal(nn.Linear(3, 4)),
    "observer": lambda: observed(nn.Linear(3, 4)),
    "fake quantize": lambda: nn.Sequential(nn.Linear(3, 4), torch.ao.quantization.FakeQuantize()),
    "batch norm": lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)),
    "instance norm": lambda: nn.Sequential(nn.Linear(3, 4), nn.InstanceNorm1d(4, track_running_stats=True)),
    "attention": lambda: nn.MultiheadAttention(4, 2),
    "embedding bag": lambda: nn.EmbeddingBag(5, 4),
}
LAZY = {"lazy": lambda: nn.LazyLinear(4), "lazy batch norm": lambda: nn.LazyBatchNorm1d()}


def filled_with(module, value):
    with torch.no_grad():
        for t in module.state_dict().values():
            if isinstance(t, torch.Tensor) and t.is_floating_point():
                t.fill_(value)
    return module


def tensors(module):
    return {k: v.clone() for k, v in module.state_dict().items() if isinstance(v, torch.Tensor)}


@pytest.fixture(params=KINDS, ids=lambda name: name.replace(" ", "-"))
def pair(request, tmp_path):
    """A module of each kind, in a file, and another."""
    torch.manual_seed(1)
    there = nn.ModuleDict({"a": KINDS[request.param](), "b": nn.Linear(2, 2)})
    torch.save({"model": there.state_dict(), "wrapped": nn.ModuleDict({"module": there}).state_dict()}, tmp_path / "m.pt")
    torch.manual_seed(2)
    live = nn.ModuleDict({"a": KINDS[request.param](), "b": nn.Linear(2, 2)})
    return there, live, tmp_path / "m.pt"


def assert_equal(there, live):
    same(tensors(there), tensors(live))
    if isinstance(there["a"], Extra):
        assert repr(live["a"].got) == repr(there["a"].get_extra_state())


@pytest.mark.parametrize("options", [{}, {"transactional": True}, {"verify": True}, {"strict": False}, {"progress": lambda *_: None}],
                         ids=lambda o: "".join(o))
def test_every_kind_gets_what_the_file_has(pair, options):
    there, live, path = pair
    assert transload.load_into(live, path, at="model", **options) == ([], [])
    assert_equal(there, live)


def test_every_kind_can_be_renamed(pair):
    there, live, path = pair
    assert transload.load_into(live, path, at="wrapped", rename={"module.*": "*"}) == ([], [])
    assert_equal(there, live)


@pytest.mark.parametrize("options", [{"keep": "b.*"}, {"drop": "a.*"}], ids=lambda o: "".join(o))
def test_every_kind_can_be_left_out(pair, options):
    there, live, path = pair
    before = tensors(live["a"])
    with pytest.raises(transload.MismatchError, match=r'"a\.'):
        transload.load_into(live, path, at="model", **options)
    result = transload.load_into(live, path, at="model", strict=False, **options)
    assert all(key.startswith("a.") for key in result.missing_keys) and result.unexpected_keys == []
    same(before, tensors(live["a"]))
    same(tensors(there["b"]), tensors(live["b"]))
    assert getattr(live["a"], "got", None) is None


def test_a_checksum_that_differs_changes_no_kind(pair):
    there, live, path = pair
    data = bytearray(path.read_bytes())
    data[data.index(bytes(there["b"].weight.untyped_storage()))] ^= 1
    path.write_bytes(data)
    before = tensors(live)
    with pytest.raises(transload.FormatError):
        transload.load_into(live, path, at="model", verify=True)
    same(before, tensors(live))


def test_a_progress_function_that_raises_changes_no_kind(pair):
    def fail(done, total):
        raise ValueError("mine")

    there, live, path = pair
    before = tensors(live)
    with pytest.raises(ValueError, match="mine"):
        transload.load_into(live, path, at="model", transactional=True, progress=fail)
    same(before, tensors(live))


@pytest.mark.parametrize("make", LAZY.values(), ids=[name.replace(" ", "-") for name in LAZY])
def test_lazy_modules_get_their_shapes_from_the_file_and_lose_them_if_it_fails(make, tmp_path):
    there = nn.ModuleDict({"a": make(), "b": nn.Linear(2, 2)})
    there["a"](torch.randn(5, 3))
    torch.save(there.state_dict(), tmp_path / "m.pt")
    for options in ({}, {"transactional": True}, {"verify": True}, {"keep": "*"}):
        live = nn.ModuleDict({"a": make(), "b": nn.Linear(2, 2)})
        assert transload.load_into(live, tmp_path / "m.pt", **options) == ([], [])
        same(tensors(there), tensors(live))
    live = nn.ModuleDict({"a": make(), "b": nn.Linear(2, 3)})
    with pytest.raises(transload.MismatchError, match="size mismatch"):
        transload.load_into(live, tmp_path / "m.pt")
    assert live["a"].has_uninitialized_params()


def test_an_observer_has_its_size_again_if_the_load_fails(tmp_path):
    there = nn.ModuleDict({"a": observed(nn.Linear(3, 4)), "b": nn.Linear(2, 2)})
    torch.save(there.state_dict(), tmp_path / "m.pt")
    live = nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Linear(2, 3)})
    live["a"].observer = torch.ao.quantization.PerChannelMinMaxObserver()
    with pytest.raises(transload.MismatchError):
        transload.load_into(live, tmp_path / "m.pt")
    assert live["a"].observer.min_val.shape == (0,)


def test_extra_state_that_is_refused_changes_nothing_in_a_transaction(tmp_path):
    class Refuses(Extra):
        def set_extra_state(self, state):
            raise LookupError("mine")

    torch.save(Extra(3, 4).state_dict(), tmp_path / "m.pt")
    live = Refuses(3, 4)
    before = tensors(live)
    with pytest.raises(LookupError, match="mine"):
        transload.load_into(live, tmp_path / "m.pt", transactional=True)
    same(before, tensors(live))


def test_renamed_metadata_tells_which_batch_norm_is_old(tmp_path):
    state = nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))).state_dict()
    del state["0.1.num_batches_tracked"]
    torch.save(state, tmp_path / "v2.pt")
    live = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with pytest.raises(transload.MismatchError, match="1.num_batches_tracked"):
        transload.load_into(live, tmp_path / "v2.pt", rename={"0.*": "*"})
    state._metadata["0.1"]["version"] = 1
    torch.save(state, tmp_path / "v1.pt")
    assert transload.load_into(live, tmp_path / "v1.pt", rename={"0.*": "*"}) == ([], [])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight
        self.body = nn.Linear(4, 4)


@pytest.mark.parametrize("make", [Tied, lambda: hooked(Tied())], ids=["plain", "hook"])
@pytest.mark.parametrize("name", ["m.pt", "m.safetensors"])
def test_one_name_of_tied_weights_is_enough(tmp_path, make, name):
    there = {k: v.clone() for k, v in Tied().state_dict().items() if k != "head.weight"}
    transload.save(there, tmp_path / name)
    for strict in (True, False):
        live = make()
        assert transload.load_into(live, tmp_path / name, strict) == ([], [])
        assert torch.equal(live.head.weight, there["embed.weight"]) and live.head.weight is live.embed.weight
    live = make()
    with pytest.raises(transload.MismatchError, match="body.weight") as raised:
        transload.load_into(live, tmp_path / name, drop="body.*")
    assert "head.weight" not in str(raised.value)
    result = transload.load_into(live, tmp_path / name, False, drop="body.*")
    assert result.missing_keys == ["body.weight", "body.bias"]
    result = transload.load_into(live, tmp_path / name, False, drop="embed.*")
    assert result.missing_keys == ["embed.weight", "head.weight"]


@pytest.mark.parametrize("make", [lambda: nn.Linear(3, 4), lambda: hooked(nn.Linear(3, 4))], ids=["plain", "hook"])
def test_a_module_on_meta_is_refused_and_then_filled_by_to_empty(tmp_path, make):
    torch.save(nn.Linear(3, 4).state_dict(), tmp_path / "m.pt")
    with torch.device("meta"):
        live = make()
    for strict in (True, False):
        with pytest.raises(transload.MismatchError, match="weight.*lives on meta.*to_empty"):
            transload.load_into(live, tmp_path / "m.pt", strict)
    live.to_empty(device="cpu")
    transload.load_into(live, tmp_path / "m.pt")
    same(torch.load(tmp_path / "m.pt"), live.state_dict())


def test_an_expanded_tensor_is_refused(tmp_path):
    transload.save({"w": torch.ones(3, 2)}, tmp_path / "m.pt")
    row = torch.zeros(2)
    with pytest.raises(transload.MismatchError, match=r'"w".*expand'):
        transload.load_into({"w": row.expand(3, 2)}, tmp_path / "m.pt")
    assert row.tolist() == [0, 0]


def test_objects_beside_what_is_selected_do_not_matter(tmp_path):
    import functools

    there = nn.Linear(3, 4)
    torch.save({"model": there.state_dict(), "hyper": {"optimizer": functools.partial(os.system, "true")}}, tmp_path / "c.pt")
    for options in ({"at": "model"}, {"keep": "model/*", "rename": {"model/*": "*"}},
                    {"drop": "hyper/*", "rename": {"model/*": "*"}}, {"keep_calls": True, "rename": {"model/*": "*"}},
                    {"at": "model", "refuse_objects": True}):
        live = nn.Linear(3, 4)
        transload.load_into(dict(live.state_dict()), tmp_path / "c.pt", **options)
        same(tensors(there), tensors(live))
    with pytest.raises(transload.UnsafePickleError, match="system.*keep_calls"):
        transload.load_into(dict(live.state_dict()), tmp_path / "c.pt", strict=False)
    with pytest.raises(transload.UnsafePickleError, match='"optimizer": .*system.*keep_calls'):
        transload.load_into(dict(live.state_dict()), tmp_path / "c.pt", at="hyper", strict=False)
    # load() keeps all values at `at`, whatever `keep` says.
    same(torch.load(tmp_path / "c.pt", weights_only=False)["model"], transload.load(tmp_path / "c.pt", at="model"))
    with pytest.raises(transload.UnsafePickleError, match="system"):
        transload.load(tmp_path / "c.pt", keep="model/*")


def test_code_in_the_file_is_never_run(tmp_path):
    class Runs:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    torch.save({"model": nn.Linear(3, 4).state_dict(), "other": Runs()}, tmp_path / "c.pt")
    for options in ({"at": "model"}, {"at": "model", "keep_calls": True}):
        transload.load_into(nn.Linear(3, 4), tmp_path / "c.pt", **options)
    with pytest.raises(transload.UnsafePickleError, match="exec"):
        transload.load_into(nn.Linear(3, 4), tmp_path / "c.pt", strict=False)
    assert not (tmp_path / "ran").exists()


@pytest.fixture(scope="module")
def mesh():
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    from torch.distributed.device_mesh import init_device_mesh

    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_dtensors_are_filled_by_their_local_shards(mesh, tmp_path):
    from torch.distributed.tensor import DTensor, Replicate, Shard

    there = {"w": torch.randn(4, 3)}
    transload.save(there, tmp_path / "m.pt")
    for placement in (Shard(0), Replicate()):
        for make in (lambda m: m, hooked):
            live = nn.ParameterDict({"w": nn.Parameter(DTensor.from_local(torch.zeros(4, 3), mesh, [placement]))})
            assert transload.load_into(make(live), tmp_path / "m.pt") == ([], [])
            assert torch.equal(live["w"].to_local(), there["w"])
            with pytest.raises(transload.UnsafePickleError, match='"w" is a DTensor.*full_tensor'):
                transload.save(live.state_dict(), tmp_path / "no.pt")
            assert not (tmp_path / "no.pt").exists()
    as_dict = {"w": DTensor.from_local(torch.zeros(4, 3), mesh, [Shard(0)])}
    transload.load_into(as_dict, tmp_path / "m.pt")
    assert torch.equal(as_dict["w"].to_local(), there["w"])


def test_dtensors_of_other_shapes_are_refused_with_their_keys(mesh, tmp_path):
    from torch.distributed.tensor import DTensor, Partial, Shard

    transload.save({"w": torch.ones(4, 3)}, tmp_path / "m.pt")
    for local, placement in ((torch.zeros(2, 3), Shard(0)), (torch.zeros(4, 3), Partial())):
        live = nn.ParameterDict({"w": nn.Parameter(DTensor.from_local(local, mesh, [placement]))})
        for module in (live, {"w": live["w"]}):
            with pytest.raises(transload.MismatchError, match='(?s)"w" is a DTensor.*set_model_state_dict'):
                transload.load_into(module, tmp_path / "m.pt")
        assert local.sum() == 0
