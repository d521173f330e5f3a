"""Whatever ends a load or save: a Python exception, nothing half-made, no leak."""
import gc
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

import transload


@pytest.fixture
def path(tmp_path):
    torch.save({"a": torch.zeros(1000), "b": torch.ones(10)}, tmp_path / "m.pt")
    return tmp_path / "m.pt"


def test_ctrl_c_ends_a_load(path):
    with pytest.raises(KeyboardInterrupt):
        transload.load(path, progress=lambda done, total: signal.raise_signal(signal.SIGINT))
    assert transload.load(path)["b"].sum() == 10


def test_ctrl_c_from_outside_ends_a_load_while_bytes_move(tmp_path):
    script = f"""
import os, signal, threading, time, torch, transload
path = {str(tmp_path / 'big.pt')!r}
with open(path, "wb") as f:
    torch.save({{"x": torch.zeros(1 << 10)}}, f)
transload.save({{str(i): torch.zeros(1 << 26, dtype=torch.uint8) for i in range(24)}}, path)
live = torch.zeros(24, 1 << 26, dtype=torch.uint8)
started = threading.Event()
def kill():
    started.wait()
    os.kill(os.getpid(), signal.SIGINT)
thread = threading.Thread(target=kill)
thread.start()
def progress(done, total):
    started.set()
    time.sleep(0.01)
try:
    while True:
        transload.load_into({{str(i): live[i] for i in range(24)}}, path, progress=progress)
except KeyboardInterrupt:
    thread.join()
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout == "interrupted\n", done.stderr


def test_exceptions_of_the_users_functions_come_out(path, tmp_path):
    def fail(*_):
        raise ValueError("mine")

    for options in ({"progress": fail}, {"map_location": fail}):
        with pytest.raises(ValueError, match="mine"):
            transload.load(path, **options)
    with pytest.raises(TypeError, match="no device"):
        transload.load(path, map_location=lambda s, l: [])
    live = {"a": torch.zeros(1000), "b": torch.zeros(10)}
    with pytest.raises(ValueError, match="mine"):
        transload.load_into(live, path, progress=fail)
    with pytest.raises(ValueError, match="mine"):
        transload.save(live, tmp_path / "s.pt", progress=fail)
    assert not (tmp_path / "s.pt").exists()


def test_a_device_without_memory(tmp_path):
    transload.save({"x": torch.zeros(300 << 20, dtype=torch.uint8)}, tmp_path / "x.pt")
    script = f"""
import resource, torch, transload
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20),) * 2)
try:
    transload.load({str(tmp_path / 'x.pt')!r})
except transload.DeviceError as error:
    assert "315 MB" in str(error) and "RLIMIT_AS" in str(error) and "mmap" in str(error), error
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "refused\n", done.stderr


def test_errors_have_the_words_of_the_library(tmp_path):
    with pytest.raises(transload.IoError) as raised:
        transload.load(tmp_path / "none.pt")
    assert isinstance(raised.value, OSError) and raised.value.errno == 2 and "none.pt" in str(raised.value)
    (tmp_path / "bad.pt").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(transload.FormatError, match="bad.pt"):
        transload.load(tmp_path / "bad.pt")
    assert issubclass(transload.FormatError, transload.Error) and issubclass(transload.MismatchError, RuntimeError)


def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096


def test_nothing_leaks_over_ten_thousand_failures(path, tmp_path):
    live = {"a": torch.zeros(1000), "b": torch.zeros(10)}
    calls = 0

    def fail(*_):
        nonlocal calls
        calls += 1
        raise ValueError

    def round():
        for work in (
            lambda: transload.load(path, progress=fail),
            lambda: transload.load(path, fail),
            lambda: transload.load_into(live, path, progress=fail),
            lambda: transload.load_into({"c": live["a"]}, path),
            lambda: transload.load(path, memory_limit=100),
        ):
            with pytest.raises((ValueError, transload.Error)):
                work()
        transload.load(path)

    for _ in range(100):
        round()
    gc.collect()
    before, files = resident(), len(os.listdir("/proc/self/fd"))
    for _ in range(2000):  # of five failures each
        round()
    gc.collect()
    assert calls >= 6000 and len(os.listdir("/proc/self/fd")) == files
    assert resident() - before < 8 << 20


def test_loads_from_many_threads(path):
    failures = []

    def work():
        try:
            for _ in range(50):
                assert transload.load(path)["b"].sum() == 10
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_loaded_tensors_outlive_everything(path):
    tensor = transload.load(path, mmap=True)["b"]
    gc.collect()
    os.unlink(path)
    assert tensor.sum() == 10
