"""Live tensors filled in place."""
import pytest
import torch
from equal import same

import transload


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(16, 8)
        self.norm = torch.nn.BatchNorm1d(8)
        self.head = torch.nn.Linear(8, 16)
        self.head.weight = self.embed.weight  # tied
        self.register_buffer("scratch", torch.zeros(3), persistent=False)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(1)
    net = Net()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    return net, tmp_path / "net.pt"


def addresses(net):
    return {k: v.data_ptr() for k, v in net.state_dict().items()}


def test_a_module_is_filled_where_it_is(saved):
    other = Net()
    before, version = addresses(other), other.head.bias._version
    result = transload.load_into(other, saved[1])
    assert result == ([], []) and str(result) == "<All keys matched successfully>"
    same(dict(saved[0].state_dict()), dict(other.state_dict()))
    assert addresses(other) == before and other.head.weight is other.embed.weight
    assert other.head.bias._version > version  # autograd knows


def test_keys_that_do_not_fit_are_told_together_and_nothing_moves(saved):
    other = torch.nn.Sequential(torch.nn.Linear(8, 16))
    before = other[0].weight.clone()
    with pytest.raises(transload.MismatchError) as raised:
        transload.load_into(other, saved[1])
    assert "0.weight" in str(raised.value) and "head.bias" in str(raised.value)
    assert isinstance(raised.value, RuntimeError) and torch.equal(other[0].weight, before)
    result = transload.load_into(other, saved[1], strict=False)
    assert result.missing_keys == ["0.weight", "0.bias"] and "head.bias" in result.unexpected_keys
    wrong = {"head.bias": torch.zeros(3)}
    with pytest.raises(transload.MismatchError, match="head.bias"):
        transload.load_into(wrong, saved[1], strict=False)


def test_casts_strides_and_slices(saved):
    live = {"head.weight": torch.zeros(8, 16, dtype=torch.float64).t(), "head.bias": torch.zeros(32, dtype=torch.bfloat16)[::2]}
    transload.load_into(live, saved[1], strict=False)
    assert torch.equal(live["head.weight"], saved[0].head.weight.double())
    assert torch.equal(live["head.bias"], saved[0].head.bias.bfloat16())


def test_a_part_of_a_checkpoint_and_renaming(saved, tmp_path):
    net = saved[0]
    torch.save({"epoch": 1, "model": {"module." + k: v for k, v in net.state_dict().items()}}, tmp_path / "c.pt")
    other = Net()
    transload.load_into(other, tmp_path / "c.pt", at="model", rename={"module.*": "*"})
    same(dict(net.state_dict()), dict(other.state_dict()))


def test_safetensors_fill_modules_too(saved, tmp_path):
    transload.save({k: v.clone() for k, v in saved[0].state_dict().items()}, tmp_path / "n.safetensors")
    other = Net()
    transload.load_into(other, tmp_path / "n.safetensors")
    same(dict(saved[0].state_dict()), dict(other.state_dict()))


@pytest.fixture
def damaged(saved, tmp_path):
    """The file of `saved` with one byte of its last tensor changed, which only a checksum tells."""
    data = bytearray(saved[1].read_bytes())
    data[data.index(bytes(saved[0].head.bias.untyped_storage()))] ^= 1
    (tmp_path / "damaged.pt").write_bytes(data)
    return tmp_path / "damaged.pt"


def values(net):
    return {k: v.clone() for k, v in net.state_dict().items()}


def unchanged(before, net):
    return all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def failing(after):
    """A progress function that raises once some bytes have moved."""
    def progress(done, total):
        if done >= after:
            raise ValueError("mine")
    return progress


def test_a_transactional_fill_that_fails_changes_nothing(tmp_path):
    there = {"a": torch.ones(4 << 20), "b": torch.ones(4 << 20)}
    transload.save(there, tmp_path / "t.pt")
    for transactional in (True, False):
        live = {key: torch.zeros(4 << 20) for key in there}
        with pytest.raises(ValueError, match="mine"):
            transload.load_into(live, tmp_path / "t.pt", transactional=transactional, progress=failing(1 << 20))
        assert (sum(t.sum() for t in live.values()) == 0) == transactional  # without, the first bytes have moved
    transload.load_into(live, tmp_path / "t.pt", transactional=True)
    same(there, live)


def test_transactional_and_the_other_options_go_together(saved):
    other = Net()
    before = values(other)
    result = transload.load_into(other, saved[1], strict=False, transactional=True, drop="norm.*", rename={"head.bias": "x"})
    assert result.unexpected_keys == ["x"] and set(result.missing_keys) >= {"norm.weight", "head.bias"}
    assert torch.equal(other.embed.weight, saved[0].embed.weight) and torch.equal(other.head.bias, before["head.bias"])


@pytest.mark.parametrize("kind", [Net, lambda: hooked(Net())], ids=["plain", "with a hook"])
def test_every_option_means_the_same_with_and_without_hooks(saved, damaged, kind):
    net, path = saved
    for options, filled in [
        ({"keep": "embed.*"}, {"embed.weight"}),
        ({"drop": ["head.*", "norm.*"]}, {"embed.weight"}),
        ({"keep": "head.bias", "transactional": True}, {"head.bias"}),
        ({"keep": "*bias", "rename": {"norm.bias": "other"}}, {"head.bias"}),
    ]:
        other = kind()
        before = values(other)
        with pytest.raises(transload.MismatchError, match="norm.weight"):
            transload.load_into(other, path, **options)
        assert unchanged(before, other)
        result = transload.load_into(other, path, strict=False, **options)
        now = other.state_dict()
        tied = {"head.weight"} if "embed.weight" in filled else set()
        assert {k for k in now if not torch.equal(now[k], before[k])} == filled | tied
        assert set(result.missing_keys) == set(now) - filled - tied
    other = kind()
    before = values(other)
    with pytest.raises(transload.FormatError, match="head.bias"):
        transload.load_into(other, damaged, verify=True)
    assert unchanged(before, other)
    with pytest.raises(ValueError, match="mine"):
        transload.load_into(other, path, transactional=True, progress=failing(0))
    assert unchanged(before, other)
    seen = []
    transload.load_into(other, path, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 0
    same(dict(net.state_dict()), dict(other.state_dict()))


def hooked(net, hook=lambda module, state, *_: None):
    net.register_load_state_dict_pre_hook(hook)
    return net


@pytest.mark.parametrize("transactional", [False, True])
def test_a_hook_that_fails_leaves_the_values_as_they_were(saved, transactional):
    def fail(module, keys):
        assert torch.equal(module.head.bias, saved[0].head.bias)  # it was filled before this failed
        raise LookupError("mine")

    other = Net()
    other.register_load_state_dict_post_hook(fail)
    before = values(other)
    with pytest.raises(LookupError, match="mine"):
        transload.load_into(other, saved[1], transactional=transactional)
    assert unchanged(before, other)


def test_keys_that_a_hook_does_not_know_are_a_mismatch(saved):
    other = hooked(torch.nn.Linear(8, 16))
    before = values(other)
    with pytest.raises(transload.MismatchError, match="norm.weight"):
        transload.load_into(other, saved[1], rename={"head.*": "*"})
    assert unchanged(before, other)
    result = transload.load_into(other, saved[1], rename={"head.*": "*"}, strict=False)
    assert "norm.weight" in result.unexpected_keys and torch.equal(other.bias, saved[0].head.bias)


def test_code_of_the_modules_own_runs(saved, tmp_path):
    class Own(torch.nn.Linear):
        def load_state_dict(self, state, strict=True, **more):
            super().load_state_dict({k.replace("old_", ""): v for k, v in state.items()}, strict, **more)

    class OwnPart(torch.nn.Linear):
        def _load_from_state_dict(self, state, prefix, *more):
            state[prefix + "bias"] = state[prefix + "bias"] + 1
            super()._load_from_state_dict(state, prefix, *more)

    there = {"old_weight": torch.ones(2, 2), "old_bias": torch.zeros(2)}
    torch.save({"net": there}, tmp_path / "own.pt")
    own = Own(2, 2)
    assert transload.load_into(own, tmp_path / "own.pt", at="net") == ([], [])
    assert own.weight.sum() == 4 and own.bias.sum() == 0
    net = torch.nn.Sequential(OwnPart(2, 2))
    transload.load_into(net, tmp_path / "own.pt", at="net", rename={"old_*": "0.*"})
    assert net[0].bias.tolist() == [1, 1]
    single = torch.nn.Linear(2, 2)
    single._load_from_state_dict = lambda *args: called.append(args[1])
    called = []
    transload.load_into(single, tmp_path / "own.pt", at="net", strict=False)
    assert called == [""]


def test_a_module_that_has_no_shapes_yet_gets_those_of_the_file(tmp_path):
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "l.pt")
    lazy = torch.nn.LazyLinear(2)
    transload.load_into(lazy, tmp_path / "l.pt")
    same(torch.load(tmp_path / "l.pt"), lazy.state_dict())


def test_the_counts_of_old_batch_norms_stay(tmp_path):
    old = torch.nn.BatchNorm1d(2).state_dict()
    del old["num_batches_tracked"]
    for version, metadata in [(1, {"": {"version": 1}}), (2, {"": {"version": 2}}), (None, {})]:
        old._metadata.clear()
        old._metadata.update(metadata)
        torch.save(old, tmp_path / "old.pt")
        live = torch.nn.BatchNorm1d(2)
        live.num_batches_tracked.fill_(7)
        live.running_mean.fill_(9)
        if version == 2:  # it is missing
            with pytest.raises(transload.MismatchError, match="num_batches_tracked"):
                transload.load_into(live, tmp_path / "old.pt")
            assert live.running_mean[0] == 9
        else:
            assert transload.load_into(live, tmp_path / "old.pt") == ([], [])
            assert live.num_batches_tracked == 7 and live.running_mean[0] == 0
    torch.save(torch.nn.BatchNorm1d(2).state_dict(), tmp_path / "new.pt")
    transload.load_into(live, tmp_path / "new.pt")
    assert live.num_batches_tracked == 0


@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "with state"])
@pytest.mark.parametrize("make", [lambda p: torch.optim.Adam(p, 0.1), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)],
                         ids=["Adam", "SGD"])
def test_an_optimizer_goes_on_as_it_was(tmp_path, make, warm):
    torch.manual_seed(0)
    x = torch.randn(5, 4)

    def step(net, optimizer):
        optimizer.zero_grad()
        net(x).square().sum().backward()
        optimizer.step()

    net = torch.nn.Linear(4, 2)
    optimizer = make(net.parameters())
    step(net, optimizer)
    optimizer.param_groups[0]["lr"] = 0.01
    torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "c.pt")
    other = torch.nn.Linear(4, 2)
    resumed = make(other.parameters())
    if warm:
        step(other, resumed)
        held = [v for s in resumed.state.values() for v in s.values() if torch.is_tensor(v)]
    transload.load_into(other, tmp_path / "c.pt", at="model")
    transload.load_into(resumed, tmp_path / "c.pt", at="optimizer")
    if warm:  # in place
        now = [v for s in resumed.state.values() for v in s.values() if torch.is_tensor(v)]
        assert [v.data_ptr() for v in held] == [v.data_ptr() for v in now]
    for _ in range(3):
        step(net, optimizer)
        step(other, resumed)
    same(dict(net.state_dict()), dict(other.state_dict()))


def test_extra_state_and_hooks(tmp_path):
    class WithExtra(torch.nn.Linear):
        extra = 0

        def get_extra_state(self):
            return {"extra": self.extra}

        def set_extra_state(self, state):
            self.extra = state["extra"]

    net = torch.nn.Sequential(WithExtra(2, 2))
    net[0].extra = 5
    torch.save(net.state_dict(), tmp_path / "x.pt")
    other = torch.nn.Sequential(WithExtra(2, 2))
    transload.load_into(other, tmp_path / "x.pt")
    assert other[0].extra == 5 and torch.equal(net[0].weight, other[0].weight)

    renames = torch.nn.Linear(2, 2)
    renames.register_load_state_dict_pre_hook(
        lambda module, state, prefix, *_: [state.__setitem__(k[2:], state.pop(k)) for k in list(state) if k.startswith("0.")])
    torch.save({"0.weight": net[0].weight.data, "0.bias": net[0].bias.data}, tmp_path / "h.pt")
    with pytest.raises(transload.MismatchError, match='"0._extra_state"'):
        transload.load_into(other, tmp_path / "h.pt")
    assert transload.load_into(other, tmp_path / "h.pt", strict=False).missing_keys == ["0._extra_state"]
    transload.load_into(renames, tmp_path / "h.pt")
    assert torch.equal(renames.weight, net[0].weight)


class Scales(torch.nn.Linear):
    """Extra state with a tensor in it."""
    got = None

    def get_extra_state(self):
        return {"amax": torch.arange(3.0), "n": 3}

    def set_extra_state(self, state):
        self.got = state


def test_extra_state_may_hold_tensors_and_is_selected_like_them(tmp_path):
    torch.save({"model": torch.nn.Sequential(Scales(2, 2)).state_dict()}, tmp_path / "x.pt")
    for options in ({}, {"keep": "0.*"}, {"verify": True}, {"transactional": True}):
        live = torch.nn.Sequential(Scales(2, 2))
        assert transload.load_into(live, tmp_path / "x.pt", at="model", **options) == ([], [])
        assert live[0].got["amax"].tolist() == [0, 1, 2] and live[0].got["n"] == 3
    for options in ({"drop": "*_extra_state*"}, {"keep": ["0.weight", "0.bia?"]}):
        live = torch.nn.Sequential(Scales(2, 2))
        result = transload.load_into(live, tmp_path / "x.pt", at="model", strict=False, **options)
        assert result == (["0._extra_state"], []) and live[0].got is None


def resumed(kind=torch.optim.SGD, scale=1.0, **options):
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2)
    optimizer = kind(net.parameters(), lr=0.1, **{"momentum": 0.9, **options})
    net(torch.full((1, 3), scale)).sum().backward()
    optimizer.step()
    return optimizer


@pytest.fixture
def optimized(tmp_path):
    torch.save({"optimizer": resumed().state_dict(), "epoch": 1}, tmp_path / "o.pt")
    return tmp_path / "o.pt"


class OwnSGD(torch.optim.SGD):
    fails = False

    def load_state_dict(self, state):
        super().load_state_dict({**state, "param_groups": [{**group, "lr": 0.5} for group in state["param_groups"]]})
        if self.fails:
            raise LookupError("mine")


def test_an_optimizers_own_code_and_hooks_run_once(optimized):
    own = resumed(OwnSGD, 5.0)
    transload.load_into(own, optimized, at="optimizer")
    assert own.param_groups[0]["lr"] == 0.5
    calls = []
    plain = resumed(scale=5.0)
    plain.register_load_state_dict_pre_hook(lambda o, state: calls.append("pre"))
    transload.load_into(plain, optimized, at="optimizer")
    plain.register_load_state_dict_post_hook(lambda o: calls.append("post"))
    transload.load_into(plain, optimized, at="optimizer")
    assert calls == ["pre", "pre", "post"]
    same(torch.load(optimized)["optimizer"], plain.state_dict())
    only_post = resumed(scale=5.0)
    only_post.register_load_state_dict_post_hook(lambda o: calls.append("post"))
    transload.load_into(only_post, optimized, at="optimizer")
    assert calls == ["pre", "pre", "post", "post"]


def test_plain_values_of_an_optimizers_state_are_set(tmp_path):
    def trained(steps):
        torch.manual_seed(0)
        table = torch.nn.Embedding(5, 3, sparse=True)
        optimizer = torch.optim.SparseAdam(list(table.parameters()))
        for _ in range(steps):
            optimizer.zero_grad()
            table(torch.tensor([1, 2])).sum().backward()
            optimizer.step()
        return optimizer

    torch.save(trained(3).state_dict(), tmp_path / "s.pt")
    optimizer = trained(8)
    held = optimizer.state_dict()["state"][0]["exp_avg"]
    transload.load_into(optimizer, tmp_path / "s.pt")
    assert optimizer.state_dict()["state"][0]["step"] == 3
    assert optimizer.state_dict()["state"][0]["exp_avg"].data_ptr() == held.data_ptr()
    same(torch.load(tmp_path / "s.pt"), optimizer.state_dict())


def test_an_optimizer_is_looked_for_where_it_is(optimized, tmp_path):
    optimizer = resumed(scale=5.0)
    before = optimizer.state_dict()["state"][0]["momentum_buffer"].clone()
    with pytest.raises(transload.MismatchError, match='at the root of the file: not an optimizer.*pass at="optimizer"'):
        transload.load_into(optimizer, optimized)
    torch.save({"a": {"b": resumed().state_dict(), "c": 1}}, tmp_path / "deep.pt")
    with pytest.raises(transload.MismatchError, match='at "a": .*pass at="a/b"'):
        transload.load_into(optimizer, tmp_path / "deep.pt", at="a")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(transload.MismatchError, match='"param_groups"$'):
        transload.load_into(optimizer, tmp_path / "list.pt")
    assert torch.equal(optimizer.state_dict()["state"][0]["momentum_buffer"], before)


def test_groups_that_differ_are_torchs_error_before_a_byte_moves(optimized):
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD([{"params": [net.weight]}, {"params": [net.bias]}], lr=0.1, momentum=0.9)
    net(torch.full((1, 3), 5.0)).sum().backward()
    optimizer.step()
    before = optimizer.state_dict()["state"][0]["momentum_buffer"].clone()
    with pytest.raises(ValueError, match="parameter group"):
        transload.load_into(optimizer, optimized, at="optimizer")
    assert torch.equal(optimizer.state_dict()["state"][0]["momentum_buffer"], before)


def test_a_transactional_fill_of_an_optimizer_that_fails_changes_nothing(optimized):
    import copy

    optimizer = resumed(OwnSGD, 5.0)
    optimizer.fails = True
    for transactional in (True, False):
        before = copy.deepcopy(optimizer.state_dict())
        with pytest.raises(LookupError, match="mine"):
            transload.load_into(optimizer, optimized, at="optimizer", transactional=transactional)
        assert (optimizer.param_groups[0]["lr"] == 0.1) == transactional
        if transactional:
            same(before, optimizer.state_dict())
    plain = resumed(scale=5.0)
    before = copy.deepcopy(plain.state_dict())
    with pytest.raises(ValueError, match="mine"):
        transload.load_into(plain, optimized, at="optimizer", transactional=True, progress=failing(1))
    same(before, plain.state_dict())


def test_a_selection_of_an_optimizers_state_is_heeded(optimized):
    optimizer = resumed(scale=5.0)
    transload.load_into(optimizer, optimized, at="optimizer", drop="state/1/*")
    state = optimizer.state_dict()["state"]
    assert torch.equal(state[0]["momentum_buffer"], torch.load(optimized)["optimizer"]["state"][0]["momentum_buffer"])
    assert "momentum_buffer" not in state[1]


def test_what_cannot_be_filled(saved):
    with pytest.raises(TypeError, match="int"):
        transload.load_into(3, saved[1])
