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


def test_transactional(saved):
    other = Net()
    transload.load_into(other, saved[1], transactional=True)
    same(dict(saved[0].state_dict()), dict(other.state_dict()))


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

    hooked = torch.nn.Linear(2, 2)
    hooked.register_load_state_dict_pre_hook(
        lambda module, state, prefix, *_: [state.__setitem__(k[2:], state.pop(k)) for k in list(state) if k.startswith("0.")])
    torch.save({"0.weight": net[0].weight.data, "0.bias": net[0].bias.data}, tmp_path / "h.pt")
    transload.load_into(hooked, tmp_path / "h.pt")
    assert torch.equal(hooked.weight, net[0].weight)


def test_what_cannot_be_filled(saved):
    with pytest.raises(TypeError, match="int"):
        transload.load_into(3, saved[1])
    with torch.device("meta"):
        meta = Net()
    transload.load_into(meta, saved[1])  # as torch: a copy to meta does nothing
    assert meta.head.bias.device.type == "meta"
