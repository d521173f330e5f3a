"""Writes the sample files of PyTorch 1.13 in torch-1.13/, and compares them with those that are here:

    /usr/bin/python3 tests/data/generate_torch113.py [--out FOLDER] [NAME...]

Needs Debian's python3-torch (1.13.1) and python3-numpy. Values are seeded, so tensors come out the same each time. The
synthetic files are laid out by hand after newer versions of PyTorch. README.md explains the words `origin` and `expect`.
"""

import argparse
import collections
import io
import sys
import types
import warnings
import zipfile

import numpy
import torch
from sample_files import (
    Call,
    FakeStorage,
    Name,
    archive_2x,
    dumps,
    main,
    path,
    read,
    record,
    records_of,
    sample,
    save,
    stored,
    strided,
    swap,
    torch_zip,
    write,
)
from torch import nn

warnings.simplefilter("ignore")


class ToyNet(nn.Module):
    """For the whole-module pickle: a class no reader has."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.second = nn.Linear(3, 2)
        self.register_buffer("steps", torch.tensor(7))

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def toy():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def trained(optimizer_of, steps=3):
    net = toy()
    optimizer = optimizer_of(net.parameters())
    for i in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(torch.full((5, 4), float(i))), torch.ones(5, 2)).backward()
        optimizer.step()
    return net, optimizer


@sample
def toy_state_dict():
    save(
        "toy_state_dict.zip.pt",
        "state_dict() of Linear(4,3), ReLU, Linear(3,2): an OrderedDict with _metadata",
        toy().state_dict(),
    )


@sample
def optimizer_checkpoints():
    net, sgd = trained(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True))
    schedule = torch.optim.lr_scheduler.StepLR(sgd, 10)
    state = schedule.state_dict()
    save(
        "checkpoint_sgd_momentum.zip.pt",
        "a full training checkpoint: model, SGD with momentum, scheduler, epoch, loss, rng state",
        {
            "epoch": 3,
            "model_state_dict": net.state_dict(),
            "optimizer_state_dict": sgd.state_dict(),
            "scheduler": state,
            "loss": 0.25,
            "rng_state": torch.get_rng_state(),
            "amp": None,
        },
    )
    net, adam = trained(lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True))
    save(
        "checkpoint_adam.zip.pt",
        "model and Adam (amsgrad): 'step' is a 0-dim float32 tensor on the CPU",
        {"model": net.state_dict(), "optimizer": adam.state_dict()},
    )


@sample
def storages_and_strides():
    base = torch.arange(24, dtype=torch.float32)
    save(
        "views_shared_storage.zip.pt",
        "seven views of one storage of 24 elements, and one tensor twice",
        {
            "base": base,
            "row": base.view(4, 6)[2],
            "column": base.view(4, 6)[:, 1],
            "transposed": base.view(4, 6).t(),
            "every_third": base[1::3],
            "scalar": base[5],
            "again": base,
            "other_storage": base.clone(),
        },
    )
    image = torch.arange(2 * 3 * 2 * 2, dtype=torch.float32).view(2, 3, 2, 2)
    save(
        "strides.zip.pt",
        "transposed, permuted, channels_last, expanded (stride 0), overlapping and offset tensors",
        {
            "transposed": torch.arange(6.0).view(2, 3).t(),
            "permuted": torch.arange(24.0).view(2, 3, 4).permute(2, 0, 1),
            "channels_last": image.contiguous(memory_format=torch.channels_last),
            "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 4),
            "overlapping": torch.as_strided(torch.arange(5.0), (3, 3), (1, 1)),
            "offset": torch.arange(10, dtype=torch.int16)[7:],
            "one_element_odd_stride": torch.as_strided(torch.arange(4.0), (1, 2), (100, 2), 1),
        },
    )
    torch.manual_seed(1)
    embed = nn.Embedding(5, 3)
    head = nn.Linear(3, 5, bias=False)
    head.weight = embed.weight
    save(
        "tied_embedding.zip.pt",
        "two keys over one storage, as tied weights are saved",
        collections.OrderedDict(
            [("embed.weight", embed.weight.detach()), ("head.weight", head.weight.detach())]
        ),
    )
    small = torch.arange(5000, dtype=torch.uint8)[100:104]
    save(
        "small_view_of_large_storage.zip.pt",
        "4 elements of a storage of 5000: all 5000 are in the file",
        {"x": small},
    )


@sample
def zero_size_and_scalars():
    save(
        "zero_size_and_scalars.zip.pt",
        "tensors without elements, without dimensions, and both kinds of scalar",
        {
            "empty": torch.empty(0),
            "empty_2d": torch.empty(0, 3),
            "empty_3d": torch.empty(2, 0, 4, dtype=torch.int64),
            "scalar": torch.tensor(3.5),
            "scalar_int": torch.tensor(-7),
            "scalar_bool": torch.tensor(True),
            "one": torch.tensor([1.0]),
            "empty_view": torch.arange(6.0)[6:],
            "empty_offset": torch.arange(6.0).view(2, 3)[:, 3:],
        },
    )


@sample
def dtypes():
    wide = [0.0, 1.0, -2.0, 0.5]
    values = {
        str(d)[6:]: torch.tensor(wide, dtype=d)
        for d in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    }
    values.update(
        {
            str(d)[6:]: torch.tensor([0, 1, -2, 127], dtype=d)
            for d in (torch.int8, torch.int16, torch.int32, torch.int64)
        }
    )
    values["uint8"] = torch.tensor([0, 1, 128, 255], dtype=torch.uint8)
    values["bool"] = torch.tensor([True, False, True, True])
    values["complex64"] = torch.tensor([1 + 2j, -3.5 - 0.25j], dtype=torch.complex64)
    values["complex128"] = torch.tensor([1 + 2j, -3.5 - 0.25j], dtype=torch.complex128)
    values["special_float32"] = torch.tensor(
        [float("nan"), float("inf"), -float("inf"), -0.0, 1e-45, 3.4028235e38]
    )
    values["special_bfloat16"] = values["special_float32"].to(torch.bfloat16)
    values["extreme_int64"] = torch.tensor([-(2**63), 2**63 - 1])
    save("dtypes.zip.pt", "every dtype that 1.13 saves as a plain tensor", values)


@sample
def quantized():
    x = torch.linspace(-1, 1, 12).view(3, 4)
    scales, zeros = torch.tensor([0.1, 0.2, 0.05], dtype=torch.float64), torch.tensor([0, 1, 2])
    values = {
        "qint8": torch.quantize_per_tensor(x, 0.1, 3, torch.qint8),
        "quint8": torch.quantize_per_tensor(x, 0.05, 128, torch.quint8),
        "qint32": torch.quantize_per_tensor(x, 0.001, 0, torch.qint32),
        "per_channel_qint8": torch.quantize_per_channel(x, scales, zeros, 0, torch.qint8),
        "per_channel_quint8_axis1": torch.quantize_per_channel(
            x, torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([1, 2, 3, 4]), 1, torch.quint8
        ),
    }
    save(
        "quantized.zip.pt",
        "per tensor and per channel; scales and zero points of the latter are tensors inside the arguments",
        values,
    )
    four = torch.quantize_per_channel(x, scales.float(), zeros.float(), 0, torch.quint4x2)
    name = "quantized_quint4x2.zip.pt"
    torch.save({"packed": four}, path(name))
    record(
        name,
        "quint4x2: two elements a byte; float scales and zero points; written as per_channel_affine; sha256 is of the packed storage",
    )


@sample
def sparse():
    coo = torch.sparse_coo_tensor([[0, 1, 1, 2], [2, 0, 0, 1]], [1.0, 2.0, 3.0, 4.0], (3, 4))
    save(
        "sparse.zip.pt",
        "COO uncoalesced, COO coalesced, COO with dense dimension, CSR",
        {
            "coo": coo,
            "coo_coalesced": coo.coalesce(),
            "hybrid": torch.sparse_coo_tensor([[0, 2]], torch.ones(2, 3), (4, 3)),
            "csr": torch.tensor([[0.0, 1, 0], [2, 0, 3]]).to_sparse_csr(),
            "coo_empty": torch.sparse_coo_tensor(
                torch.empty(2, 0, dtype=torch.int64), torch.empty(0), (3, 3)
            ),
        },
    )


@sample
def parameters():
    net = toy()
    net[0].bias.requires_grad_(False)
    value = dict(net.state_dict(keep_vars=True))
    value["plain_requires_grad"] = torch.ones(2, requires_grad=True)
    value["detached"] = net[2].weight.detach()
    save(
        "parameters.zip.pt",
        "nn.Parameter objects (_rebuild_parameter), with and without requires_grad, one sharing storage with a tensor",
        value,
    )


@sample
def containers():
    tensor = torch.arange(3.0)
    save(
        "nested_containers.zip.pt",
        "plain values and containers that a state-dict reader meets; all in the weights_only list of PyTorch 2.6",
        {
            "list": [tensor, [tensor + 1, ("deep", {"deeper": tensor + 2})]],
            "tuple1": (tensor,),
            "tuple2": (1, 2),
            "tuple3": (1, 2, 3),
            "tuple4": (1, 2, 3, tensor),
            "empty": [{}, [], (), ""],
            "none": None,
            "true": True,
            "false": False,
            "ints": [
                0,
                255,
                256,
                65535,
                65536,
                -1,
                2**31 - 1,
                -(2**31),
                2**31,
                -(2**40),
                2**63 - 1,
                2**63,
                2**100,
                -(2**100),
                2**2100,
            ],
            "floats": [0.0, -0.0, 1.5, float("inf"), -float("inf"), float("nan"), 5e-324],
            "unicode": "naïve ☃ \U0001f525",
            "lone_surrogate": "\ud800",
            "long_text": "x" * 300,
            5: "integer key",
            1.5: "float key",
            True: "bool key",
            (1, "a"): "tuple key",
            "Size": tensor.view(1, 3).shape,
            "device": torch.device("cuda:1"),
            "device_no_index": torch.device("cpu"),
            "dtype": torch.bfloat16,
            "layout": torch.strided,
            "ordered": collections.OrderedDict(b=tensor + 3, a=1),
            "counter": collections.Counter("abca"),
            "set": {1, 2},
            "bytes": b"\x00\xff raw",
            "empty_bytes": b"",
            "bytearray": bytearray(b"ab"),
            "complex": 1 + 2j,
        },
    )
    loop = [tensor]
    loop.append(loop)
    name = "recursive_list.zip.pt"
    torch.save(loop, path(name))
    record(name, "a list that contains itself: legal pickle, a trap for recursive printers")
    python_objects()


def python_objects():
    tensor = torch.arange(3.0)
    value = {
        "weight": tensor,
        "numpy_array": numpy.arange(6, dtype=numpy.float32).reshape(2, 3),
        "numpy_fortran": numpy.asfortranarray(numpy.arange(6).reshape(2, 3)),
        "numpy_scalar": numpy.float64(0.5),
        "numpy_int": numpy.int64(3),
        "numpy_bool": numpy.bool_(True),
        "numpy_string": numpy.array(["a", "bc"]),
        "args": argparse.Namespace(lr=0.1, layers=[1, 2], tensor=tensor + 1),
        "defaultdict": collections.defaultdict(list, a=[tensor + 2]),
        "frozenset": frozenset([1]),
        "slice": slice(0, 3),
        "range": range(3),
        "last": tensor + 3,
    }
    name = "python_objects.zip.pt"
    torch.save(value, path(name))
    record(
        name,
        "numpy arrays and scalars, Namespace, defaultdict, frozenset, slice, range: common in training checkpoints, outside the weights_only list",
        "skip",
    )


@sample
def many_tensors():
    save(
        "many_tensors.zip.pt",
        "300 tensors: the memo passes 255, so LONG_BINPUT and LONG_BINGET; in 1.13 data/10 comes before data/2",
        {"t%d" % i: torch.full((i % 5 + 1,), float(i)) for i in range(300)},
    )


@sample
def pickle_protocols():
    value = {
        "weight": torch.arange(4.0),
        "half": torch.ones(2, dtype=torch.float16),
        "step": 12345,
        "name": "net",
        "bytes": b"ab",
        "set": {1},
        "big": 2**70,
        "list": [1, 2.5, None],
        "ordered": collections.OrderedDict(a=torch.zeros(1)),
        "bytearray": bytearray(b"xy"),
    }
    for protocol in (2, 3, 4, 5):
        save(
            "protocol_%d.zip.pt" % protocol,
            "pickle_protocol=%d" % protocol,
            value,
            pickle_protocol=protocol,
        )


@sample
def meta_tensors():
    name = "meta_tensors.zip.pt"
    torch.save(
        {
            "meta": torch.empty(2, 3, device="meta"),
            "meta_grad": torch.empty(4, device="meta", dtype=torch.bfloat16, requires_grad=True),
            "real": torch.ones(2),
        },
        path(name),
    )
    record(name, "tensors on meta have no storage and no record (_rebuild_meta_tensor_no_storage)")


@sample
def top_level_values():
    for stem, value in (
        ("top_level_tensor", torch.arange(6.0).view(2, 3)),
        ("top_level_list", [torch.ones(1), torch.zeros(2)]),
        ("top_level_int", 5),
    ):
        name = stem + ".zip.pt"
        torch.save(value, path(name))
        record(name, "the root of the pickle is not a dict", value=value)
    name = "bare_storages.zip.pt"
    t = torch.arange(4, dtype=torch.int32)
    torch.save(
        {
            "typed": t.storage(),
            "untyped": torch.ones(2, dtype=torch.uint8).storage().untyped(),
            "tensor": t,
        },
        path(name),
    )
    record(name, "storages saved as values of their own; 'typed' and 'tensor' share one")
    name = "non_ascii_name_ünï.zip.pt"
    torch.save({"x": torch.ones(2)}, path(name))
    record(name, "the archive's root folder is the file's name, in UTF-8")
    buffer = io.BytesIO()
    torch.save({"x": torch.ones(2)}, buffer)
    write("saved_to_buffer.zip.pt", buffer.getvalue())
    record("saved_to_buffer.zip.pt", "saved to a Python file object: the root folder is 'archive'")


@sample
def whole_module():
    torch.manual_seed(2)
    net = ToyNet()
    module = types.ModuleType("toy_project.models")
    ToyNet.__module__, module.ToyNet = "toy_project.models", ToyNet
    sys.modules["toy_project"], sys.modules["toy_project.models"] = (
        types.ModuleType("toy_project"),
        module,
    )
    save(
        "whole_module.zip.pt",
        "torch.save(model): classes toy_project.models.ToyNet and torch.nn.modules.linear.Linear; the legacy file also holds "
        "'module' persistent ids with source code",
        net,
        "skip",
    )
    del sys.modules["toy_project"], sys.modules["toy_project.models"]


@sample
def locations():
    """The location tag is whatever the first tagger in the registry answers, so a tagger of priority 0 writes any device
    into the file; nothing else in the file differs from a file saved on that device."""
    tags = {}
    entry = (0, lambda storage: tags.get(storage.data_ptr()), lambda storage, location: None)
    torch.serialization.register_package(*entry)

    def tagged(name, value_tags, what, value):
        tags.clear()
        for t, tag in value_tags:
            tags[t.storage().data_ptr()] = tag
        torch.save(value, path(name))
        tags.clear()
        record(name, what, value=value, origin="edited")

    net = toy().state_dict()
    items = list(net.items())
    tagged(
        "location_cuda0.zip.pt",
        [(t, "cuda:0") for _, t in items],
        "every storage tagged cuda:0",
        net,
    )
    devices = ("cuda:0", "cuda:1", "cpu", "cuda:1")
    tagged(
        "location_mixed.zip.pt",
        [(t, tag) for (_, t), tag in zip(items, devices)],
        "storages tagged cuda:0, cuda:1, cpu, cuda:1",
        net,
    )
    for tag in (
        "cuda:1",
        "mps",
        "xpu:0",
        "hpu:0",
        "cuda",
        "cuda:15",
        "privateuseone:0",
        "ipu:0",
        "no_such_device",
        "mps:0",
    ):
        tagged(
            "location_%s.zip.pt" % tag.replace(":", "_"),
            [(t, tag) for _, t in items],
            "every storage tagged %s" % tag,
            value=net,
        )
    base = torch.arange(6.0)
    tagged(
        "location_tied_cuda0.zip.pt",
        [(base, "cuda:0")],
        "two tensors over one storage tagged cuda:0",
        value={"a": base, "b": base.view(2, 3)[1]},
    )
    torch.serialization._package_registry.remove(entry)


@sample
def zip_variants():
    source = "toy_state_dict.zip.pt"
    records = records_of(source)
    value = toy().state_dict()
    torch_zip("write_again.zip.pt", records, root="toy_state_dict.zip")
    assert read("write_again.zip.pt") == read(source), "torch_zip does not write what torch writes"
    record(
        "write_again.zip.pt",
        "written by this script's archive writer; byte for byte the file of torch 1.13.1",
        origin="synthetic",
        value=value,
    )

    def python_zip(name, method, root="r", entries=records, **kwargs):
        with zipfile.ZipFile(path(name), "w", method, **kwargs) as out:
            for n, d in entries:
                out.writestr(root + "/" + n, d)

    python_zip("deflated.zip.pt", zipfile.ZIP_DEFLATED)
    record(
        "deflated.zip.pt",
        "zipped again by Python: deflated members, no padding, no data descriptors",
        origin="edited",
        value=value,
    )
    python_zip("unaligned.zip.pt", zipfile.ZIP_STORED)
    record(
        "unaligned.zip.pt",
        "zipped again by Python: stored, not aligned to 64",
        origin="edited",
        value=value,
    )
    python_zip("renamed_root.zip.pt", zipfile.ZIP_STORED, root="some other folder")
    record(
        "renamed_root.zip.pt",
        "root folder with spaces, not the file's name",
        origin="edited",
        value=value,
    )
    with zipfile.ZipFile(path("directory_entry.zip.pt"), "w") as out:
        out.writestr("r/", b"")
        for n, d in records:
            out.writestr("r/" + n, d)
    record(
        "directory_entry.zip.pt",
        "the first member is the folder itself, as common zip tools write it",
        origin="edited",
        value=value,
    )
    write("trailing_bytes.zip.pt", read(source) + b"appended after the archive")
    record(
        "trailing_bytes.zip.pt", "bytes after the end of the archive", origin="edited", value=value
    )
    torch_zip("crc_zero.zip.pt", records, crc=False)
    record(
        "crc_zero.zip.pt",
        "all CRC-32 fields are zero, as with set_crc32_options(False)",
        origin="synthetic",
        value=value,
    )
    torch_zip("zip64_central.zip.pt", records, force_zip64=True)
    record(
        "zip64_central.zip.pt",
        "sizes and offsets only in zip64 extra fields, as in archives over 4 GiB",
        origin="synthetic",
        value=value,
    )
    torch_zip(
        "dot_data_version.zip.pt",
        [(".data/version" if n == "version" else n, d) for n, d in records],
    )
    record(
        "dot_data_version.zip.pt",
        "the version record is .data/version, as torch.package writes it",
        origin="edited",
        value=value,
    )
    keys = {name: str(94000000000000 + 64 * i) for i, name in enumerate(value)}
    old = collections.OrderedDict(
        (
            n,
            strided(
                torch._utils._rebuild_tensor_v2,
                FakeStorage(torch.FloatStorage, keys[n], "cpu", t.numel()),
                list(t.shape),
            ),
        )
        for n, t in value.items()
    )
    torch_zip(
        "pointer_keys.zip.pt",
        [("data.pkl", dumps(old))]
        + [("data/" + keys[n], stored(t)) for n, t in value.items()]
        + [("version", b"3\n")],
    )
    record(
        "pointer_keys.zip.pt",
        "storage keys are memory addresses, as PyTorch 1.6 to 1.8 wrote them",
        origin="synthetic",
        value=value,
    )


@sample
def synthetic_2x():
    rebuild = torch._utils._rebuild_tensor_v2
    kinds = [
        ("float32", torch.FloatStorage, numpy.array([1.5, -2.25, 3e38], "<f4"), 4),
        ("int16", torch.ShortStorage, numpy.array([1, -2, 300], "<i2"), 2),
        ("int64", torch.LongStorage, numpy.array([1, -(2**40)], "<i8"), 8),
        ("complex64", torch.ComplexFloatStorage, numpy.array([1 + 2j, -3j], "<c8"), 4),
        ("complex128", torch.ComplexDoubleStorage, numpy.array([1 + 2j], "<c16"), 8),
        ("uint8", torch.ByteStorage, numpy.array([1, 2, 255], "u1"), 1),
        ("bool", torch.BoolStorage, numpy.array([True, False]), 1),
        ("bfloat16", torch.BFloat16Storage, numpy.array([0x3F80, 0xC000], "<u2"), 2),
    ]
    for name, big, byteorder in (
        ("synthetic_2x_little.zip.pt", False, True),
        ("synthetic_2x_big.zip.pt", True, True),
        ("synthetic_2x_no_byteorder.zip.pt", False, False),
    ):
        value, storages = {}, {}
        for i, (key, cls, array, unit) in enumerate(kinds):
            value[key] = strided(rebuild, FakeStorage(cls, str(i), "cpu", array.size), [array.size])
            storages[str(i)] = swap(array.tobytes(), unit) if big else array.tobytes()
        archive_2x(name, value, storages, big, byteorder)
        record(
            name,
            "records of PyTorch 2.8+: .format_version, .storage_alignment, byteorder=%s, .data/serialization_id; complex numbers are swapped by half"
            % ("big" if big else "little" if byteorder else "absent"),
            origin="synthetic",
        )
    value = {
        "t%d" % i: strided(rebuild, FakeStorage(torch.FloatStorage, str(i), "cpu", 2), [2])
        for i in range(12)
    }
    archive_2x(
        "synthetic_2x_numeric_order.zip.pt",
        value,
        {str(i): numpy.array([i, -i], "<f4").tobytes() for i in range(12)},
        alignment=4096,
    )
    record(
        "synthetic_2x_numeric_order.zip.pt",
        "twelve storages in the order of their keys, aligned to 4096",
        origin="synthetic",
    )

    v3 = Name("torch._utils", "_rebuild_tensor_v3")
    names = [
        ("float8_e5m2", 1),
        ("float8_e4m3fn", 1),
        ("float8_e5m2fnuz", 1),
        ("float8_e4m3fnuz", 1),
        ("float8_e8m0fnu", 1),
        ("float4_e2m1fn_x2", 1),
        ("uint16", 2),
        ("uint32", 4),
        ("uint64", 8),
        ("complex32", 4),
        ("bits8", 1),
        ("bits16", 2),
    ]
    made = {n: Name("torch", n) for n, _ in names}
    value, storages = {}, {}
    for i, (n, size) in enumerate(names):
        storages[str(i)] = bytes((17 * i + j) % 256 for j in range(size * 3))
        value[n] = Call(
            v3,
            FakeStorage(torch.UntypedStorage, str(i), "cpu", size * 3),
            0,
            (3,),
            (1,),
            False,
            collections.OrderedDict(),
            made[n],
        )
    archive_2x("synthetic_2x_rebuild_v3.zip.pt", value, storages)
    record(
        "synthetic_2x_rebuild_v3.zip.pt",
        "dtypes without a storage class: UntypedStorage (its numel counts bytes) and a dtype as 7th argument",
        origin="synthetic",
    )
    for x in made.values():
        x.close()
    v3.close()

    complex_storage = FakeStorage(torch.ComplexFloatStorage, "0", "cpu", 2)
    value = {
        "plain": strided(rebuild, complex_storage, [2]),
        "conjugate": strided(rebuild, complex_storage, [2], {"conj": True}),
        "negative_view": Call(
            rebuild,
            FakeStorage(torch.FloatStorage, "1", "cpu", 4),
            1,
            (2,),
            (2,),
            False,
            collections.OrderedDict(),
            {"neg": True},
        ),
    }
    archive_2x(
        "synthetic_2x_conj_neg.zip.pt",
        value,
        {
            "0": numpy.array([1 + 2j, 3 - 4j], "<c8").tobytes(),
            "1": numpy.array([1, 2, 3, 4], "<f4").tobytes(),
        },
    )
    record(
        "synthetic_2x_conj_neg.zip.pt",
        "lazy conjugate and negative bits in a 7th argument; sha256 is of the stored bytes, before the bits are applied",
        origin="synthetic",
    )

    sparse = torch._utils._rebuild_sparse_tensor
    index = lambda key, a: (
        strided(rebuild, FakeStorage(torch.LongStorage, key, "cpu", len(a)), [len(a)]),
        numpy.array(a, "<i8").tobytes(),
    )
    number = lambda key, a, shape: (
        strided(rebuild, FakeStorage(torch.FloatStorage, key, "cpu", len(a)), shape),
        numpy.array(a, "<f4").tobytes(),
    )
    storages = {}

    def part(made, key):
        storages[key] = made[1]
        return made[0]

    layouts = {
        n: Call(torch.serialization._get_layout, "torch." + n)
        for n in ("sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc")
    }
    value = {
        "csr": Call(
            sparse,
            layouts["sparse_csr"],
            (
                part(index("0", [0, 1, 2]), "0"),
                part(index("1", [1, 0]), "1"),
                part(number("2", [5, 6], [2]), "2"),
                torch.Size([2, 2]),
            ),
        ),
        "csc": Call(
            sparse,
            layouts["sparse_csc"],
            (
                part(index("3", [0, 1, 2]), "3"),
                part(index("4", [1, 0]), "4"),
                part(number("5", [5, 6], [2]), "5"),
                torch.Size([2, 2]),
            ),
        ),
        "bsr": Call(
            sparse,
            layouts["sparse_bsr"],
            (
                part(index("6", [0, 1]), "6"),
                part(index("7", [0]), "7"),
                part(number("8", [1, 2, 3, 4], [1, 2, 2]), "8"),
                torch.Size([2, 2]),
            ),
        ),
        "bsc": Call(
            sparse,
            layouts["sparse_bsc"],
            (
                part(index("9", [0, 1]), "9"),
                part(index("10", [0]), "10"),
                part(number("11", [1, 2, 3, 4], [1, 2, 2]), "11"),
                torch.Size([2, 2]),
            ),
        ),
        "coo": Call(
            sparse,
            layouts["sparse_coo"],
            (
                strided(rebuild, FakeStorage(torch.LongStorage, "12", "cpu", 4), [2, 2]),
                part(number("13", [7, 8], [2]), "13"),
                torch.Size([2, 3]),
                True,
            ),
        ),
    }
    storages["12"] = numpy.array([0, 1, 2, 0], "<i8").tobytes()
    archive_2x("synthetic_2x_sparse.zip.pt", value, storages)
    record(
        "synthetic_2x_sparse.zip.pt",
        "CSR, CSC, BSR and BSC through _rebuild_sparse_tensor, and COO with the 4th item is_coalesced",
        origin="synthetic",
    )

    device = Name("torch._utils", "_rebuild_device_tensor_from_cpu_tensor")
    with_state = Name("torch._utils", "_rebuild_parameter_with_state")
    base = strided(rebuild, FakeStorage(torch.FloatStorage, "0", "cpu", 2), [2])
    other = strided(rebuild, FakeStorage(torch.FloatStorage, "1", "cpu", 2), [2])
    third = strided(rebuild, FakeStorage(torch.FloatStorage, "2", "cpu", 2), [2])
    value = {
        "xla": Call(device, base, torch.float32, "xla:0", False),
        "with_state": Call(with_state, other, True, collections.OrderedDict(), {"tag": "x"}),
        "attributes": Call(
            torch._tensor._rebuild_from_type_v2,
            rebuild,
            torch.Tensor,
            third.args,
            {"note": "kept on the tensor"},
        ),
    }
    archive_2x(
        "synthetic_2x_other_rebuilds.zip.pt",
        value,
        {k: numpy.array([i, 9], "<f4").tobytes() for i, k in enumerate("012")},
    )
    record(
        "synthetic_2x_other_rebuilds.zip.pt",
        "_rebuild_device_tensor_from_cpu_tensor, _rebuild_parameter_with_state, _rebuild_from_type_v2",
        origin="synthetic",
    )
    device.close()
    with_state.close()


if __name__ == "__main__":
    main("torch-1.13")
