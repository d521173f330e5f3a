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
    assert index["list/0"] == 1 and torch.equal(index["list/1"], torch.ones(2))
    assert list(index["model"].tensors) == ["w", "t", "h"]
    assert torch.equal(index["model"].load()["w"], index["model/w"])
    with pytest.raises(KeyError, match='did you mean "model"'):
        index["modle"]


def test_tensors_are_described_without_being_read(index):
    t = index.tensors["model/t"]
    assert (t.shape, t.stride, t.storage_offset, t.dtype, t.location) == ((6, 4), (1, 6), 0, torch.float32, "cpu")
    assert (t.name, t.requires_grad, len(t)) == ("model/t", False, 6)
    assert repr(t) == "<transload.LazyTensor model/t: float32 [6, 4] on cpu>"
    half = index.tensors["model/h"]
    assert half.dtype == torch.float16 and half.storage != t.storage == index.tensors["model/w"].storage
    assert index["model"].tensors["t"].name == "model/t" and list(index["model"].tensors) == ["w", "t", "h"]
    assert len(index.tensors) == 5


def test_what_the_file_says_of_a_tensor(tmp_path):
    base = torch.arange(10.0)
    torch.save({"part": base[3:7], "grad": torch.ones(2, requires_grad=True)}, tmp_path / "t.pt")
    transload.save({"on": torch.ones(2)}, tmp_path / "c.pt", map_location="cuda:1")
    torch.save({"meta": torch.empty_strided((2, 3), (1, 2), device="meta")}, tmp_path / "m.pt")
    tensors = transload.open(tmp_path / "t.pt").tensors
    assert tensors["part"].storage_offset == 3 and tensors["part"][1:3].tolist() == [4, 5]
    assert tensors["grad"].requires_grad and not tensors["part"].requires_grad
    assert transload.open(tmp_path / "c.pt").tensors["on"].location == "cuda:1"
    meta = transload.open(tmp_path / "m.pt").tensors["meta"]
    assert meta.location == "meta" and meta.read().is_meta and meta.read().stride() == (1, 2) and meta[1].shape == (3,)


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
    with pytest.raises(IndexError, match="ellipsis"):
        index.tensors["model/w"][..., ...]


@pytest.mark.parametrize("where", [[0, 2], torch.tensor([True, False, True, False]), torch.tensor([0, 2]), True, None, "w", 1.0], ids=repr)
def test_what_is_not_a_slice_is_named_with_the_way_out(index, where):
    with pytest.raises(TypeError, match=r"ints, slices and \.\.\., not \w+; read\(\)"):
        index.tensors["model/w"][where]


def test_numbers_of_other_types_are_positions(index):
    import numpy

    w = index.tensors["model/w"]
    assert torch.equal(w[numpy.int64(2)], w[2]) and torch.equal(w[torch.tensor(2)], w[2])
    assert torch.equal(w[numpy.int64(1) :], w[1:])


def test_read_reports_progress_and_takes_a_device(index):
    seen = []
    index.tensors["model/w"].read(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (96, 96)
    assert index.tensors["model/w"].read("meta").is_meta
    index.load(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 96


def test_options_of_a_part_are_those_of_load(index):
    part = index["model"]
    assert list(part.load(keep="w")) == ["w"] and list(part.load(drop="w")) == ["t", "h"]
    assert part.load(dtype=torch.float64)["h"].dtype == torch.float64
    assert part.load("meta")["w"].is_meta
    assert list(part.load(rename={"w": "v"}, keep="w")) == ["v"]
    for call in (part.load, index.load, index.plan):
        with pytest.raises(TypeError, match="kep"):
            call(kep="w")


def test_keys_that_are_not_texts(tmp_path):
    torch.save({1: torch.ones(1), (2, "x"): "tuple", None: 5}, tmp_path / "k.pt")
    index = transload.open(tmp_path / "k.pt")
    assert list(index) == [1, "(2, 'x')", "None"] and index[1].item() == 1 and index["None"] == 5
    assert 1 in index and 2 not in index


def test_close_ends_reading_and_what_was_read_stays(index):
    part, lazy, read = index["model"], index.tensors["model/w"], index["model/w"]
    with pytest.raises(LookupError, match="mine"):
        with index as inside:
            assert inside is index and "5 tensors" in repr(index)
            raise LookupError("mine")
    for use in (lambda: index["epoch"], lambda: index["model/w"], lambda: part["w"], lazy.read, lambda: lazy[0], index.load, index.plan, lambda: index.format):
        with pytest.raises(transload.Error, match="closed"):
            use()
    assert repr(index).endswith("c.pt: closed>") and read.sum() == 276
    index.close()


def test_a_lazy_tensor_keeps_its_file_open(tmp_path):
    torch.save({"w": torch.arange(3.0)}, tmp_path / "w.pt")
    lazy = transload.open(tmp_path / "w.pt").tensors["w"]
    import gc

    gc.collect()
    assert lazy[1:].tolist() == [1, 2]


def test_the_index_says_where_it_is_from(index, tmp_path):
    assert (index.path, index.format, index.metadata) == (str(tmp_path / "c.pt"), "torch_zip", {})
    assert repr(index) == f"<transload.Index of {tmp_path / 'c.pt'}: torch_zip, 5 tensors>"
    data = (tmp_path / "c.pt").read_bytes()
    assert transload.open(data).path == "<bytes>" and transload.open(data)["epoch"] == 3


def test_the_plan_is_text_and_data(index):
    plan = index.plan({"model/*": "meta", "*": "cpu"})
    assert "by rule" in str(plan)
    on = {key: s["device"] for s in plan.storages for key in s["keys"]}
    cpu = next(d for d in plan.devices if d["device"] == "cpu")
    assert (cpu["storage_nbytes"], cpu["allocated"], cpu["mapped_nbytes"]) == (12, 128, 0) and cpu["free"] > 0
    cpu = index.plan("cpu", mmap=True).devices[0]
    assert (cpu["storage_nbytes"], cpu["mapped_nbytes"]) == (0, 24 * 4 + 24 * 2 + 12)
    assert "by rule" in str(plan) and (plan.transfers, plan.transfer_nbytes) == (2, 12)
    assert plan.staging_nbytes == 0 and index.plan(dtype=torch.float64).staging_nbytes > 0
    assert repr(plan) == "<transload.Plan: 12 bytes in 2 transfers>"
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
