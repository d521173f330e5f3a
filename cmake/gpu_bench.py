"""How fast a file gets to cuda:0, beside the limit and beside PyTorch where it is installed. Run by run.sh.

Every contender in turn, six rounds, the first thrown away; medians. The file is in the page cache.
"""
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

OUT = pathlib.Path(sys.argv[1])
TENSORS, TENSOR_NBYTES = 64, int(os.environ.get("TENSOR_NBYTES", 64 << 20))
NBYTES = TENSORS * TENSOR_NBYTES


def make_file(path):
    """Random values, of bfloat16; a block of 1 MiB over and over, each time turned by some bytes."""
    header = {f"layer.{i}.weight": {"dtype": "BF16", "shape": [TENSOR_NBYTES // 2],
                                    "data_offsets": [i * TENSOR_NBYTES, (i + 1) * TENSOR_NBYTES]} for i in range(TENSORS)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = os.urandom(1 << 20)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for i in range(NBYTES >> 20):
            turn = i % 4096 * 2
            file.write(block[turn:] + block[:turn])


def ours(path):
    """Seconds, of a process of its own; its CUDA context is made before the clock starts."""
    shown = subprocess.run(["./load_bench", path, "cuda:0", "1"], capture_output=True, text=True, check=True).stdout
    return float(shown)


def check_memory(path):
    """Whether cuda:0 grows by what was planned, to the byte."""
    shown = subprocess.run(["./transload", "load", path, "--map-location", "cuda:0"], capture_output=True, text=True, check=True).stdout
    grown, planned = map(int, re.search(r"grew by (\d+) bytes, (\d+) were planned", shown).groups())
    assert grown == planned, shown


def limit():
    rate = float(subprocess.run(["./cuda_probe", "--bandwidth"], capture_output=True, text=True, check=True).stdout)
    return NBYTES / rate / 1e9


def with_torch(script, path):
    """Seconds, as a process of its own prints them; its CUDA context is made before the clock starts."""
    code = "import sys, time, torch; torch.zeros(1, device='cuda'); torch.cuda.synchronize(); p = sys.argv[1]; t = time.perf_counter()\n"
    code += script + "\ntorch.cuda.synchronize(); print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True).stdout)


safetensors, pt = OUT / "bench.safetensors", OUT / "bench.pt"
make_file(safetensors)
subprocess.run(["./transload", "convert", safetensors, pt], check=True, capture_output=True)
contenders = {"limit: pinned copy": limit, "transload .pt": lambda: ours(pt), "transload .safetensors": lambda: ours(safetensors)}
check_memory(pt)
has_torch = subprocess.run([sys.executable, "-c", "import torch; assert torch.cuda.is_available()"], capture_output=True).returncode == 0
if has_torch:
    contenders["torch.load(map_location='cuda')"] = lambda: with_torch("s = torch.load(p, map_location='cuda', weights_only=True)", pt)
    contenders["torch.load(mmap) + .to('cuda')"] = lambda: with_torch(
        "s = {k: v.to('cuda') for k, v in torch.load(p, mmap=True, weights_only=True).items()}", pt)
else:
    print("no PyTorch with CUDA here: no peer to measure against")

times = {name: [] for name in contenders}
for round in range(6):
    for name, measure in contenders.items():
        seconds = measure()
        if round:
            times[name].append(seconds)
best = statistics.median(times["limit: pinned copy"])
print(f"{NBYTES / 1e9:.2f} GB to cuda:0, page cache warm")
for name, all in times.items():
    median = statistics.median(all)
    print(f"{name:34}{median:8.3f} s {NBYTES / median / 1e9:8.2f} GB/s {best / median:7.2f} of the limit   [{min(all):.3f} to {max(all):.3f}]")
(OUT / "bench.json").write_text(json.dumps({"nbytes": NBYTES, "seconds": times}, indent=1))
safetensors.unlink()
pt.unlink()
