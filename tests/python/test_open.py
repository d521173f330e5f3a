"""transload.open: a mapping that reads lazily."""
import pytest
import torch

import transload


@pytest.fixture
def index(tmp_path):
    w = torch.arange(24.0).view(4, 6)
    torch.save({"model": {"w": w, "t": w.t(), "h": w.half()}, "epoch": 3, "list": [1, torch.ones(2)], "a/b": torch.zeros(1)}, tmp_path / "c.pt")
    return transload.open(tmp_path / "c.pt")


def test_values_and_parts(index):
    assert list(index) == ["model", "epoch", "list", "a/b"] and len(index) == 4 and "epoch" in index
    assert index["epoch"] == 3 and torch.equal(index["list"][1], torch.ones(2))
    assert torch.equal(index["model"]["w"], torch.arange(24.0).view(4, 6))
    assert torch.equal(index["model/w"], index["model"]["w"]) and index["a/b"].shape == (1,)
    assert list(index["model"].tensors) == ["w", "t", "h"]
    assert torch.equal(index["model"].load()["w"], index["model/w"])
    with pytest.raises(KeyError, match='did you mean "model"'):
        index["modle"]


def test_tensors_are_described_without_being_read(index):
    t = index.tensors["model/t"]
    assert (t.shape, t.stride, t.dtype, t.location) == ((6, 4), [1, 6], torch.float32, "cpu") or t.stride == (1, 6)
    assert len(index.tensors) == 5 and "model/w" in repr(index.tensors["model/w"])


@pytest.mark.parametrize("where", [(slice(1, 3),), (slice(None), 2), (Ellipsis, slice(0, 6, 2)), (-1,), (slice(3, 1),), (1, 1),
                                   (slice(None, None, 3), slice(1, None))])
def test_slices(index, where):
    for name in ("w", "t", "h"):
        whole = index["model"][name]
        assert torch.equal(index.tensors["model/" + name][where], whole[where])


def test_slices_out_of_bounds(index):
    with pytest.raises(IndexError):
        index.tensors["model/w"][9]
    with pytest.raises(IndexError):
        index.tensors["model/w"][0, 0, 0]
    with pytest.raises(IndexError, match="positive"):
        index.tensors["model/w"][::-1]


def test_the_plan_is_text_and_data(index):
    plan = index.plan({"model/*": "meta", "*": "cpu"})
    assert "by rule" in str(plan)
    on = {key: s["device"] for s in plan.storages for key in s["keys"]}
    cpu = next(d for d in plan.devices if d["device"] == "cpu")
    assert (cpu["storage_nbytes"], cpu["allocated"], cpu["mapped_nbytes"]) == (12, 128, 0) and cpu["free"] > 0
    cpu = index.plan("cpu", mmap=True).devices[0]
    assert (cpu["storage_nbytes"], cpu["mapped_nbytes"]) == (0, 24 * 4 + 24 * 2 + 12)
    assert on["model/w"] == on["model/t"] == "meta" and on["list/1"] == "cpu"
    with pytest.raises(transload.PlacementError):
        index.plan("cuda:7")


def test_the_file_that_was_opened_is_read_even_if_it_is_replaced(index, tmp_path):
    transload.save({"other": torch.zeros(3)}, tmp_path / "c.pt")
    assert index["model/w"].sum() == 276


def test_a_file_without_a_dict(tmp_path):
    torch.save([1, 2], tmp_path / "l.pt")
    index = transload.open(tmp_path / "l.pt")
    with pytest.raises(transload.UnsupportedError, match="list"):
        index["x"]
    assert index.load() == [1, 2]
