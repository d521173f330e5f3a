"""The cases of docs/from_torch_load.md. Where there is no GPU, cuda tags come from golden files and go to the CPU."""

import pytest
import torch

import transload


def model():
    return torch.nn.Sequential(torch.nn.Linear(10, 10), torch.nn.ReLU(), torch.nn.Linear(10, 1))


@pytest.fixture
def saved_on_gpu(tmp_path):
    torch.manual_seed(0)
    net = model()
    transload.save(net.state_dict(), tmp_path / "model.pt", map_location="cuda:1")
    return net, tmp_path / "model.pt"


def test_saved_on_the_gpu_loaded_on_the_cpu(saved_on_gpu):
    net, path = saved_on_gpu
    if not torch.cuda.is_available():
        with pytest.raises(transload.PlacementError, match='map_location={"cuda:1": "cpu"}'):
            transload.load(path)
    state = transload.load(path, map_location="cpu")
    assert all(t.device.type == "cpu" and torch.equal(t, net.state_dict()[k]) for k, t in state.items())
    other = model()
    transload.load_into(other, path)  # wherever it was saved
    assert torch.equal(other[2].weight, net[2].weight)


def test_tags_are_mapped_one_by_one(saved_on_gpu):
    assert transload.load(saved_on_gpu[1], {"cuda:1": "cpu"})["0.weight"].device.type == "cpu"
    plan = transload.open(saved_on_gpu[1]).plan({"cuda:1": "cpu"})
    assert plan.devices[0]["storage_nbytes"] == sum(t.nbytes for t in saved_on_gpu[0].state_dict().values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_from_cpu_to_gpu_nothing_beyond_the_model(tmp_path):
    state = {str(i): torch.randn(1 << 20) for i in range(8)}
    transload.save(state, tmp_path / "m.pt")
    torch.empty(1, device="cuda:0")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loaded = transload.load(tmp_path / "m.pt", "cuda:0")
    assert torch.cuda.max_memory_allocated() - before == sum(t.nbytes for t in state.values())
    assert all(torch.equal(loaded[k].cpu(), state[k]) for k in state)


def test_saved_from_data_parallel(tmp_path):
    net, other = model(), model()
    torch.save(torch.nn.DataParallel(net).state_dict(), tmp_path / "parallel.pt")
    with pytest.raises(transload.MismatchError, match="module.0.weight"):
        transload.load_into(other, tmp_path / "parallel.pt")
    transload.load_into(other, tmp_path / "parallel.pt", rename={"module.*": "*"})
    assert torch.equal(other[0].weight, net[0].weight)


def test_a_general_checkpoint_to_resume_from(tmp_path):
    def train(net, optimizer, steps):
        generator = torch.Generator().manual_seed(1)
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = net(torch.randn(20, 10, generator=generator)).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    net = model()
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    train(net, optimizer, 3)
    transload.save({"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, tmp_path / "checkpoint.pt")
    other = model()
    resumed = torch.optim.Adam(other.parameters(), 0.5)
    transload.load_into(other, tmp_path / "checkpoint.pt", at="model")
    transload.load_into(resumed, tmp_path / "checkpoint.pt", at="optimizer")
    assert transload.open(tmp_path / "checkpoint.pt")["epoch"] == 3
    assert train(net, optimizer, 5) == train(other, resumed, 5)


def test_a_part_of_a_model(saved_on_gpu):
    net, path = saved_on_gpu
    assert list(transload.load(path, "cpu", keep="0.*", rename={"0.*": "*"})) == ["weight", "bias"]
    assert torch.equal(transload.open(path).tensors["0.weight"][3:5], net[0].weight[3:5])
    result = transload.load_into(torch.nn.Sequential(torch.nn.Linear(10, 10)), path, strict=False)
    assert result.unexpected_keys == ["2.weight", "2.bias"] and result.missing_keys == []


def test_tied_weights(tmp_path):
    net = model()
    state = dict(net.state_dict())
    state["head.weight"] = state["0.weight"]
    torch.save(state, tmp_path / "tied.pt")
    for place in ("cpu", "meta"):
        loaded = transload.load(tmp_path / "tied.pt", place)
        assert loaded["head.weight"].untyped_storage()._cdata == loaded["0.weight"].untyped_storage()._cdata
    with pytest.raises(transload.PlacementError, match='"0.weight" and "head.weight"'):
        transload.load(tmp_path / "tied.pt", {"head.*": "meta", "*": "cpu"})
