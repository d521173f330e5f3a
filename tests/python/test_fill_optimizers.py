"""Optimizers, schedulers and the like that load_into fills: as their load_state_dict does."""
import pytest
import torch
from equal import same

import transload

OPTIMIZERS = {
    "SGD": {"momentum": 0.9}, "Adam": {"amsgrad": True}, "AdamW": {}, "Adagrad": {}, "RMSprop": {"centered": True, "momentum": 0.5},
    "LBFGS": {"max_iter": 3}, "SparseAdam": {}, "Adafactor": {}, "NAdam": {}, "RAdam": {}, "ASGD": {}, "Rprop": {}, "Adadelta": {},
    "Adamax": {}, "Muon": {},
}


class Trained:
    def __init__(self, name, steps):
        torch.manual_seed(0)
        if name == "SparseAdam":
            self.module = torch.nn.Embedding(5, 3, sparse=True)
            self.inputs = torch.tensor([1, 2])
        else:
            self.module = torch.nn.Linear(3, 2, bias=name != "Muon")
            self.inputs = torch.randn(4, 3)
        self.optimizer = getattr(torch.optim, name)(list(self.module.parameters()), lr=0.05, **OPTIMIZERS[name])
        for _ in range(steps):
            self.step()

    def step(self):
        def closure():
            self.optimizer.zero_grad()
            loss = self.module(self.inputs).square().sum()
            loss.backward()
            return loss

        self.optimizer.step(closure)


@pytest.mark.parametrize("options", [{}, {"transactional": True}, {"verify": True}], ids=lambda o: "".join(o))
@pytest.mark.parametrize("steps", [0, 8])
@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if hasattr(torch.optim, name)])
def test_every_optimizer_is_as_after_load_state_dict(name, steps, options, tmp_path):
    torch.save(Trained(name, 3).optimizer.state_dict(), tmp_path / "o.pt")
    by_torch, live = Trained(name, steps), Trained(name, steps)
    by_torch.optimizer.load_state_dict(torch.load(tmp_path / "o.pt"))
    transload.load_into(live.optimizer, tmp_path / "o.pt", **options)
    same(by_torch.optimizer.state_dict(), live.optimizer.state_dict())
    for trained in (by_torch, live):
        trained.step()
    same(by_torch.module.state_dict(), live.module.state_dict())


def test_state_that_shares_memory_is_not_filled_in_place(tmp_path):
    torch.save(Trained("SGD", 3).optimizer.state_dict(), tmp_path / "o.pt")
    live = Trained("SGD", 1)
    both = torch.zeros(8)
    for parameter, start in zip(live.module.parameters(), (0, 6), strict=True):
        live.optimizer.state[parameter]["momentum_buffer"] = both[start:start + parameter.numel()].view(parameter.shape)
    live.optimizer.state[live.module.bias]["momentum_buffer"] = both[:2]
    transload.load_into(live.optimizer, tmp_path / "o.pt")
    same(torch.load(tmp_path / "o.pt"), live.optimizer.state_dict())


class Average:
    """Any object with a load_state_dict, here with tensors."""
    fails = False

    def __init__(self, value):
        self.shadow, self.updates = [torch.full((2,), float(value))], value

    def state_dict(self):
        return {"shadow": self.shadow, "updates": self.updates}

    def load_state_dict(self, state):
        self.shadow, self.updates = state["shadow"], state["updates"]
        if self.fails:
            self.fails = False
            raise LookupError("mine")


def others(steps):
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0 ** (10 + steps))
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
    return {"scheduler": scheduler, "scaler": scaler, "average": Average(steps)}


@pytest.fixture
def resume(tmp_path):
    torch.save({name: o.state_dict() for name, o in others(3).items()}, tmp_path / "resume.pt")
    return tmp_path / "resume.pt"


@pytest.mark.parametrize("name", ["scheduler", "scaler", "average"])
def test_what_has_a_load_state_dict_is_restored_by_it(resume, name):
    for options in ({}, {"transactional": True}, {"verify": True}, {"progress": lambda *_: None}):
        live = others(0)[name]
        assert transload.load_into(live, resume, at=name, **options) == ([], [])
        assert repr(live.state_dict()) == repr(others(3)[name].state_dict())
    with pytest.raises(TypeError, match="strict"):
        transload.load_into(live, resume, False, at=name)


@pytest.mark.parametrize("name", ["scheduler", "scaler", "average"])
def test_a_whole_checkpoint_is_not_the_state_of_one_part(resume, name):
    live = others(0)[name]
    before = repr(live.state_dict())
    with pytest.raises(transload.MismatchError, match=f'not the state of a .*; pass at="{name}"'):
        transload.load_into(live, resume)
    assert repr(live.state_dict()) == before


def test_a_load_state_dict_that_fails_is_undone_in_a_transaction(resume):
    for transactional in (True, False):
        live = Average(1)
        live.fails = True
        with pytest.raises(LookupError, match="mine"):
            transload.load_into(live, resume, at="average", transactional=transactional)
        assert (live.updates == 1 and live.shadow[0].tolist() == [1, 1]) == transactional


def test_a_selection_of_other_state_is_heeded(resume):
    live = Average(1)
    transload.load_into(live, resume, at="average", drop="shadow/0")
    assert live.shadow == [None] and live.updates == 3
