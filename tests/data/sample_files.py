"""What the generators of sample files share.

The zip writer lays out bytes as PyTorch does. The stand-ins pickle as any storage, call or global, so that a file can say
what no program would save. main() compares what was written with the files here and with their manifest.
"""

import argparse
import collections
import hashlib
import io
import json
import math
import os
import pathlib
import pickle
import re
import struct
import sys
import tempfile
import types
import zipfile
import zlib

import torch

HERE = pathlib.Path(__file__).parent
OUT = ""  # the folder that is written to; main() sets it
ENTRIES = []  # one for each file, in the order they were written
SAMPLES = []


def sample(f):
    """Marks a function that writes one file, or a few."""
    SAMPLES.append(f)
    return f


def path(name):
    p = os.path.join(OUT, name)
    os.makedirs(os.path.dirname(p), exist_ok=True)
    return p


def read(name):
    return pathlib.Path(path(name)).read_bytes()


def write(name, content):
    pathlib.Path(path(name)).write_bytes(content)


# --- what is in a file, for the comparison with the manifest


def record(name, what, expect="load", origin="torch", value=None, may_load=False, exact=True):
    """Notes a file that was written. With `value`, the live object, its tensors are compared with the manifest's. Not exact:
    its numbers are results of training, whose last bits depend on the CPU."""
    tensors = {n: describe(t, exact) for n, t in live_tensors(value)} if value is not None else None
    ENTRIES.append(
        {
            "file": name,
            "what": what,
            "expect": expect,
            "origin": origin,
            "may_load": may_load,
            "tensors": tensors,
            "exact": exact,
        }
    )


def save(name, what, value, expect="load", check=True, exact=True, **kwargs):
    """torch.save of a value, and its record. Without `check` its tensors are not compared."""
    torch.save(value, path(name), **kwargs)
    record(name, what, expect, value=value if check and expect == "load" else None, exact=exact)


def describe(t, exact):
    described = {"dtype": str(t.dtype).replace("torch.", ""), "shape": list(t.shape)}
    if exact:
        raw = stored(t)
        described["sha256"] = hashlib.sha256(raw).hexdigest() if raw is not None else None
    return described


def stored(t):
    """The stored elements of a torch tensor, in row-major order, little-endian; conj and neg bits not applied."""
    if t.device.type == "meta":
        return None
    t = t.detach()
    if t.is_quantized:
        t = t.int_repr()
    if t.is_conj():
        t = t.conj()
    if t.is_neg():
        t = torch._neg_view(t)
    return t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def live_tensors(value, name="", above=()):
    """The tensors of a value by the names of the manifest; `above` are the values around it, for those that contain themselves."""
    if id(value) in above:
        return
    above += (id(value),)

    def join(key):
        return str(key) if name == "" else name + "/" + str(key)

    if isinstance(value, torch.Tensor):
        parts = {
            torch.sparse_coo: ("_indices", "_values"),
            torch.sparse_csr: ("crow_indices", "col_indices", "values"),
            torch.sparse_bsr: ("crow_indices", "col_indices", "values"),
            torch.sparse_csc: ("ccol_indices", "row_indices", "values"),
            torch.sparse_bsc: ("ccol_indices", "row_indices", "values"),
        }.get(value.layout)
        if parts:
            for p in parts:
                yield name + "#" + p.lstrip("_"), getattr(value, p)()
        elif value.is_nested and value.layout != torch.strided:
            return
        elif value.is_nested:
            yield name + "#values", value.values()
            yield name + "#sizes", value._nested_tensor_size()
            yield name + "#strides", value._nested_tensor_strides()
            yield name + "#storage_offsets", value._nested_tensor_storage_offsets()
        else:
            yield name, value
            if value.is_quantized and value.qscheme() != torch.per_tensor_affine:
                yield name + "#scales", value.q_per_channel_scales()
                yield name + "#zero_points", value.q_per_channel_zero_points()
    elif isinstance(value, dict):
        for k, v in value.items():
            yield from live_tensors(v, join(k), above)
    elif isinstance(value, (list, tuple)):
        for i, v in enumerate(value):
            yield from live_tensors(v, join(i), above)


# --- writing files by hand


def torch_zip(name, records, root=None, alignment=64, crc=True, force_zip64=False):
    """Lays out a zip file as PyTorch's writer does (docs/formats/torch_zip.md). The sample write_again.zip.pt checks that, given
    the records of a file that torch wrote, it writes the same bytes."""
    out, central = bytearray(), bytearray()
    root = root or os.path.basename(name).rsplit(".", 1)[0]
    for record_name, data in records:
        full = (root + "/" + record_name).encode()
        header = len(out)
        start = header + 30 + len(full) + 4
        padding = -start % alignment
        extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
        flags = 0x0800 | (0x0008 if data else 0)
        checksum = zlib.crc32(data) if crc else 0
        out += (
            struct.pack(
                "<IHHHHHIIIHH", 0x04034B50, 0, flags, 0, 0, 0, 0, 0, 0, len(full), len(extra)
            )
            + full
            + extra
        )
        out += data
        if data:
            out += struct.pack("<IIII", 0x08074B50, checksum, len(data), len(data))
        central_extra, n, at = b"", len(data), header
        if force_zip64:
            central_extra = struct.pack("<HHQQQ", 1, 24, n, n, header)
            n = at = 0xFFFFFFFF
        central += (
            struct.pack(
                "<IHHHHHHIIIHHHHHII",
                0x02014B50,
                0,
                0,
                flags,
                0,
                0,
                0,
                checksum,
                n,
                n,
                len(full),
                len(central_extra),
                0,
                0,
                0,
                0,
                at,
            )
            + full
            + central_extra
        )
    at = len(out)
    out += central
    end64 = len(out)
    out += struct.pack(
        "<IQHHIIQQQQ",
        0x06064B50,
        44,
        0x031E,
        0x2D,
        0,
        0,
        len(records),
        len(records),
        len(central),
        at,
    )
    out += struct.pack("<IIQI", 0x07064B50, 0, end64, 1)
    out += struct.pack(
        "<IHHHHIIH",
        0x06054B50,
        0,
        0,
        min(len(records), 0xFFFF),
        min(len(records), 0xFFFF),
        len(central),
        at,
        0,
    )
    write(name, out)


def records_of(name):
    z = zipfile.ZipFile(path(name))
    return [(i.filename.split("/", 1)[1], z.read(i)) for i in z.infolist()]


class Name:
    """Pickles as GLOBAL module name, whatever is there or not in this torch. Only for synthetic files."""

    def __init__(self, module, name):
        self.__module__, self.__qualname__, self.__name__ = module, name, name
        here = sys.modules.get(module)
        if here is None:
            here = sys.modules[module] = types.ModuleType(module)
        self.undo = (here, name, getattr(here, name, None))
        setattr(here, name, self)

    def __reduce__(self):
        return self.__name__

    def __call__(self, *args):
        raise AssertionError("not in torch 1.13: a stand-in for a newer function")

    def close(self):
        here, name, before = self.undo
        if before is None:
            delattr(here, name)
        else:
            setattr(here, name, before)


class FakeStorage:
    """Pickles as a persistent id."""

    def __init__(self, cls, key, location, numel):
        self.pid = ("storage", cls, key, location, numel)


class Call:
    """Pickles as REDUCE of a function on arguments."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return (self.function, self.args)


class Pickler(pickle._Pickler):
    """The pickler in Python, which lets a FakeStorage have an id and lets Names be called that are not callable."""

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, FakeStorage) else None


def dumps(value, protocol=2):
    f = io.BytesIO()
    Pickler(f, protocol).dump(value)
    return f.getvalue()


def archive_2x(
    name, value, storages, big=False, byteorder=True, alignment=64, order=None, crc=True
):
    """An archive with the records of PyTorch 2.8 and later. `storages`: key to bytes, already in file byte order."""
    records = [
        ("data.pkl", dumps(value)),
        (".format_version", b"1"),
        (".storage_alignment", str(alignment).encode()),
    ]
    if byteorder:
        records.append(("byteorder", b"big" if big else b"little"))
    records += [("data/" + k, storages[k]) for k in (order or storages)]
    records += [("version", b"3\n"), (".data/serialization_id", b"0123456789" * 4)]
    torch_zip(name, records, alignment=alignment, crc=crc)


def strided(function, storage, shape, *more, offset=0, stride=None):
    """A call of one of torch's functions that make a tensor over a storage; row-major unless a stride is given."""
    if stride is None:
        stride = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    return Call(
        function,
        storage,
        offset,
        tuple(shape),
        tuple(stride),
        False,
        collections.OrderedDict(),
        *more,
    )


def swap(data, size):
    """Reverses each unit of `size` bytes."""
    return b"".join(data[i : i + size][::-1] for i in range(0, len(data), size))


# --- the comparison


def compare(entry, folder):
    """How a file is like the committed one."""
    committed, written = HERE / folder / entry["file"], pathlib.Path(path(entry["file"]))
    if not committed.exists():
        return "not committed"
    old, new = committed.read_bytes(), written.read_bytes()
    if old == new:
        return "same bytes"
    if without_times(old) == without_times(new):
        return "same but for times"
    if entry["file"].endswith(".safetensors"):
        same = header_and_data(old) == header_and_data(new)
    else:
        same = zipfile.is_zipfile(committed) and members(committed) == members(written)
    if same:
        return "same contents"
    return "same size" if not entry["exact"] and len(old) == len(new) else "different"


def without_times(data):
    """An archive without the times in its local headers and its directory: Python's zipfile writes the current time."""
    return re.sub(rb"(PK.{6}|PK.{8}).{4}", rb"", data, flags=re.DOTALL)


def header_and_data(data):
    """Of a safetensors file; the order of its metadata is not fixed."""
    nbytes = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + nbytes]), data[8 + nbytes :]


def members(name):
    """Without the serialization id, which depends on the C++ library."""
    with zipfile.ZipFile(name) as z:
        return [
            (i.filename, z.read(i))
            for i in z.infolist()
            if not i.filename.endswith(".data/serialization_id")
        ]


def disagreements(entry, manifest):
    """In what an entry differs from the manifest's."""
    if entry["file"] not in manifest:
        return ["not in the manifest"]
    known = manifest[entry["file"]]
    found = [k for k in ("what", "expect", "origin") if entry[k] != known[k]]
    if entry["may_load"] != known.get("may_load", False):
        found.append("may_load")
    if entry["tensors"] is not None and "tensors" in known:
        fields = ("dtype", "shape", "sha256") if entry["exact"] else ("dtype", "shape")
        rows = {t["name"]: {k: t[k] for k in fields} for t in known["tensors"]}
        found += [
            f"tensor {n}"
            for n in sorted(rows.keys() | entry["tensors"].keys())
            if rows.get(n) != entry["tensors"].get(n)
        ]
    return found


def main(folder):
    global OUT
    parser = argparse.ArgumentParser(
        description="Writes sample files and compares them with those in " + folder
    )
    parser.add_argument("--out", help="where to write; without: a temporary folder")
    parser.add_argument("samples", nargs="*", help="names of functions; without: all")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        OUT = arguments.out or temporary
        for f in SAMPLES:
            if not arguments.samples or f.__name__ in arguments.samples:
                f()
        manifest = {
            e["file"]: e for e in json.loads((HERE / folder / "manifest.json").read_text())["files"]
        }
        counts, failed = collections.Counter(), False
        for entry in ENTRIES:
            wrong, result = disagreements(entry, manifest), compare(entry, folder)
            if result == "different" and entry["exact"] and entry["tensors"] and not wrong:
                result = "same tensors"  # torch 1.13 does not always number the storages alike
            counts[result] += 1
            if result in ("different", "not committed"):
                wrong.append(result)
            if wrong:
                failed = True
                print(entry["file"] + ": " + ", ".join(wrong))
        print(
            f"{len(ENTRIES)} files: "
            + ", ".join(f"{n} {result}" for result, n in sorted(counts.items()))
        )
    sys.exit(failed)
