"""Seeds for the fuzzers from the golden files: python3 seeds.py tests/data OUT makes OUT/pickle, OUT/zip, ..."""
import json
import pathlib
import sys
import zipfile

data, out = map(pathlib.Path, sys.argv[1:])
MOST = 16 << 10
count = 0


def seed(fuzzer, content):
    global count
    if len(content) <= MOST:
        folder = out / fuzzer
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"seed{count:04}").write_bytes(content)
        count += 1


for path in sorted(data.rglob("*")):
    if not path.is_file() or path.suffix == ".json" and "index" not in path.name:
        continue
    content = path.read_bytes()
    seed("open", content)
    if content[:2] == b"PK":
        seed("zip", content)
        try:
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith(".pkl"):
                        for fuzzer in ("pickle", "pickle_scan", "unpickler"):
                            seed(fuzzer, archive.read(name))
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError):
            pass
    elif path.suffix == ".pkl":
        for fuzzer in ("pickle", "pickle_scan", "unpickler"):
            seed(fuzzer, content)
    elif content[:1] == b"\x80":
        seed("pickle_scan", content)
    elif content[8:9] == b"{":
        nbytes = int.from_bytes(content[:8], "little")
        seed("safetensors_header", content[8:8 + nbytes])
    elif path.name.endswith(".index.json"):
        seed("shards", content)
seed("shards", json.dumps({"metadata": {"total_size": 16}, "weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}).encode())
for text in ("cpu", "cuda:1", "cuda:3=cuda:0", "encoder.*:cuda:0", "auto", "meta", "module.*", "torch.float32"):
    seed("texts", text.encode())
