"""Who holds the memory: the question of two copies, answered in a running process."""
import torch

import transload


def test_the_copy_that_nobody_uses_is_named(tmp_path):
    model = torch.nn.Linear(500, 500)
    torch.save(model.state_dict(), tmp_path / "m.pt")
    state = transload.load(tmp_path / "m.pt")
    model.load_state_dict(state)  # copies: now there are two
    cpu = transload.memory_report()["cpu"]
    copies = [held for held in cpu.storages if held.nbytes == 500 * 500 * 4]
    assert len(copies) == 2
    unused, used = sorted(copies, key=lambda held: not held.only_in_state_dicts)
    assert unused.only_in_state_dicts and "state dict of 2 tensors: weight" in unused.names
    assert not used.only_in_state_dicts and "module Linear: weight" in used.names
    assert cpu.only_in_state_dicts_nbytes >= unused.nbytes and "nobody else" in str(cpu)
    kept = state["weight"]  # now somebody else refers to it
    cpu = transload.memory_report()["cpu"]
    assert not any(h.only_in_state_dicts for h in cpu.storages if h.nbytes == 500 * 500 * 4)
    del state, kept
    cpu = transload.memory_report()["cpu"]
    assert sum(h.nbytes == 500 * 500 * 4 for h in cpu.storages) == 1


def test_gradients_and_optimizers_are_named():
    model = torch.nn.Linear(300, 300)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 300)).sum().backward()
    optimizer.step()
    names = {name for held in transload.memory_report()["cpu"].storages for name in held.names}
    assert {"module Linear: gradient of weight", "optimizer Adam: exp_avg"} <= names


def test_allocated_and_others_add_up_to_what_is_in_use():
    held = torch.empty(40 << 20, dtype=torch.uint8)
    cpu = transload.memory_report()["cpu"]
    assert cpu.storages[0].nbytes == held.nbytes and cpu.allocated == cpu.held_nbytes >= held.nbytes
    assert cpu.others == cpu.total - cpu.free - cpu.reserved > 0 and cpu.reserved == cpu.allocated
    del held
    assert transload.memory_report()["cpu"].allocated <= cpu.allocated - (40 << 20)


def test_the_report_prints_the_largest_storages_first():
    held = {f"w{i}": torch.zeros((12 - i) << 20, dtype=torch.uint8) for i in range(12)}
    report = transload.memory_report()
    cpu = report["cpu"]
    sizes = [one.nbytes for one in cpu.storages]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) > 11
    lines = str(cpu).splitlines()
    assert lines[0].startswith("cpu (") and "free" in lines[0]
    assert "allocated" in lines[1] and "reserved" in lines[1] and "others" in lines[1]
    assert lines[2].startswith(f"  {len(sizes)} storages that Python reaches")
    assert lines[3].split() == ["12.6", "MB", *"state dict of 12 tensors: w0, nobody else".split()]
    assert len(lines) == 14 and lines[-1] == f"    and {len(sizes) - 10} more"
    assert str(report).startswith(str(cpu)) and "meta" not in [device.device for device in report.devices]
    assert len(held) == 12
