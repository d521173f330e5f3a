"""Dtypes, storages, strides, and the Python values that a pickle can hold. Run by generate.py."""

import argparse
import collections
import dataclasses
import datetime
import enum
import pathlib

import numpy
import torch
from sample_files import sample, save
from samples_models import project
from torch import nn


def eight(dtype):
    return torch.arange(1, 17, dtype=torch.uint8).mul(7).view(dtype)


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
    values.update(
        {
            str(d)[6:]: torch.tensor([0, 1, 128, 255], dtype=d)
            for d in (torch.uint8, torch.uint16, torch.uint32, torch.uint64)
        }
    )
    values["bool"] = torch.tensor([True, False, True, True])
    for d in (torch.complex64, torch.complex128, torch.complex32):
        values[str(d)[6:]] = torch.tensor([1 + 2j, -3.5 - 0.25j], dtype=torch.complex64).to(d)
    for d in (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz):
        values[str(d)[6:]] = torch.tensor(wide).to(d)
    values["float8_e8m0fnu"] = torch.tensor([1.0, 2.0, 0.5, 4.0]).to(torch.float8_e8m0fnu)
    values["special_float32"] = torch.tensor(
        [float("nan"), float("inf"), -float("inf"), -0.0, 1e-45, 3.4028235e38]
    )
    values["special_bfloat16"] = values["special_float32"].to(torch.bfloat16)
    values["special_float8_e5m2"] = values["special_float32"].to(torch.float8_e5m2)
    values["extreme_int64"] = torch.tensor([-(2**63), 2**63 - 1])
    values["extreme_uint64"] = torch.tensor([2**64 - 1, 2**63], dtype=torch.uint64)
    never = ". The legacy stream with _rebuild_tensor_v3 is written by torch 2.13, but it cannot read it back"
    save(
        "dtypes.zip.pt",
        "every dtype with arithmetic that 2.13 saves; float8, uint16, uint32, uint64 and complex32 by _rebuild_tensor_v3 over UntypedStorage"
        + never,
        values,
    )
    newer = lambda k: "float8" in k or k.endswith(("uint16", "uint32", "uint64", "complex32"))
    save(
        "dtypes_with_storage_class.zip.pt",
        "those of them that have a storage class of their own: _rebuild_tensor_v2",
        {k: v for k, v in values.items() if not newer(k)},
    )
    save(
        "dtypes_odd.zip.pt",
        "float4_e2m1fn_x2 (two elements a byte, shape counts bytes) and bits8, bits16, bits1x8, bits2x4, bits4x2, and float8_e5m2 without elements: all by _rebuild_tensor_v3"
        + never,
        {
            "empty_float8": torch.empty(0, dtype=torch.float8_e5m2),
            **{
                str(d)[6:]: eight(d)
                for d in (
                    torch.float4_e2m1fn_x2,
                    torch.bits8,
                    torch.bits16,
                    torch.bits1x8,
                    torch.bits2x4,
                    torch.bits4x2,
                )
            },
        },
    )
    big = torch.arange(12).to(torch.uint16)
    save(
        "dtypes_v3_views.zip.pt",
        "views of v3 storages: offset and stride count elements of the tensor's dtype, storage_numel bytes; 'bytes' and 'complex32' look at the same storage"
        + never,
        {
            "all": big.view(3, 4),
            "column": big.view(3, 4)[:, 1],
            "tail": big[7:],
            "bytes": big.view(torch.uint8),
            "complex32": big.view(torch.complex32)[1:4],
            "scalar": big[5],
        },
    )
    save(
        "dtypes_meta_only.zip.pt",
        "int1 to int7 and uint1 to uint7: 2.13 saves them on meta only (KeyError 'dtype torch.int4 is not recognized' otherwise)",
        {
            n: torch.empty(2, 3, dtype=getattr(torch, n), device="meta")
            for n in ["int%d" % i for i in range(1, 8)] + ["uint%d" % i for i in range(1, 8)]
        },
    )
    x = torch.linspace(-1, 1, 12).view(3, 4)
    scales, zeros = torch.tensor([0.1, 0.2, 0.05], dtype=torch.float64), torch.tensor([0, 1, 2])
    save(
        "quantized.zip.pt",
        "per tensor and per channel; scales and zero points of the latter are tensors inside the arguments",
        {
            "qint8": torch.quantize_per_tensor(x, 0.1, 3, torch.qint8),
            "quint8": torch.quantize_per_tensor(x, 0.05, 128, torch.quint8),
            "qint32": torch.quantize_per_tensor(x, 0.001, 0, torch.qint32),
            "per_channel_qint8": torch.quantize_per_channel(x, scales, zeros, 0, torch.qint8),
            "per_channel_quint8_axis1": torch.quantize_per_channel(
                x, torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([1, 2, 3, 4]), 1, torch.quint8
            ),
        },
    )
    save(
        "quantized_quint4x2.zip.pt",
        "quint4x2 and quint2x4: two and four elements a byte; float scales and zero points; written as per_channel_affine; sha256 is of the packed storage",
        {
            "quint4x2": torch.quantize_per_channel(
                x, scales.float(), zeros.float(), 0, torch.quint4x2
            ),
            "quint2x4": torch.quantize_per_channel(
                x, scales.float(), zeros.float(), 0, torch.quint2x4
            ),
        },
        check=False,
    )


@sample
def storages_and_strides():
    base = torch.arange(24, dtype=torch.float32)
    save(
        "views_shared_storage.zip.pt",
        "eight views of one storage of 24 elements, and one tensor twice",
        {
            "base": base,
            "row": base.view(4, 6)[2],
            "column": base.view(4, 6)[:, 1],
            "transposed": base.view(4, 6).t(),
            "every_third": base[1::3],
            "scalar": base[5],
            "again": base,
            "empty": base[24:],
            "other_storage": base.clone(),
        },
    )
    image = torch.arange(2 * 3 * 2 * 2, dtype=torch.float32).view(2, 3, 2, 2)
    save(
        "strides.zip.pt",
        "transposed, permuted, channels_last, channels_last_3d, expanded (stride 0), overlapping and offset tensors",
        {
            "transposed": torch.arange(6.0).view(2, 3).t(),
            "permuted": torch.arange(24.0).view(2, 3, 4).permute(2, 0, 1),
            "channels_last": image.contiguous(memory_format=torch.channels_last),
            "channels_last_3d": image.view(1, 3, 2, 2, 2).contiguous(
                memory_format=torch.channels_last_3d
            ),
            "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 4),
            "expanded_scalar": torch.tensor(3.0).expand(2, 3),
            "overlapping": torch.as_strided(torch.arange(5.0), (3, 3), (1, 1)),
            "offset": torch.arange(10, dtype=torch.int16)[7:],
            "one_element_odd_stride": torch.as_strided(torch.arange(4.0), (1, 2), (100, 2), 1),
        },
    )
    embed, head = (
        nn.Embedding(5, 3, _weight=torch.arange(15.0).view(5, 3)),
        nn.Linear(3, 5, bias=False),
    )
    head.weight = embed.weight
    tied = nn.ModuleDict({"embed": embed, "head": head})
    save(
        "tied_weights.zip.pt",
        "embed.weight and head.weight are one Parameter: in a state_dict two keys over one storage",
        tied.state_dict(),
    )
    save(
        "tied_parameters.zip.pt",
        "the same with keep_vars=True: both keys hold the same Parameter object, the second is a BINGET",
        dict(tied.state_dict(keep_vars=True)),
    )
    save(
        "small_view_of_large_storage.zip.pt",
        "4 elements of a storage of 5000: all 5000 are in the file",
        {"x": torch.arange(5000, dtype=torch.uint8)[100:104]},
    )
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
    c = torch.tensor([1 + 2j, 3 - 4j, -5j])
    save(
        "conj_neg.zip.pt",
        "lazy conjugate and negative bits; sha256 is of the stored bytes, before the bits are applied",
        {
            "plain": c,
            "conjugate": c.conj(),
            "half": c.conj()[1:],
            "negative": torch.tensor([1 + 2j, 3 - 4j]).conj().imag,
        },
    )
    save(
        "conj_complex32.zip.pt",
        "the conj bit as the 8th argument of _rebuild_tensor_v3",
        {"plain": c.to(torch.complex32), "conjugate": c.to(torch.complex32).conj()},
    )
    save(
        "many_tensors.zip.pt",
        "300 tensors: the memo passes 255, so LONG_BINPUT and LONG_BINGET; data/2 comes before data/10",
        {"t%d" % i: torch.full((i % 5 + 1,), float(i)) for i in range(300)},
    )
    t = torch.arange(4, dtype=torch.int32)
    save(
        "bare_storages.zip.pt",
        "storages saved as values of their own: 'typed' (torch IntStorage) and 'tensor' share one; 'untyped' is torch.storage UntypedStorage",
        {
            "typed": t.storage(),
            "untyped": torch.ones(2, dtype=torch.uint8).untyped_storage(),
            "tensor": t,
        },
        check=False,
    )


@sample
def sparse_and_nested():
    m = torch.tensor([[0.0, 1, 0, 0], [2, 0, 3, 0], [0, 0, 0, 4], [0, 0, 0, 0]])
    save(
        "sparse.zip.pt",
        "COO uncoalesced, coalesced, with dense dimension, empty; CSR, CSC, BSR, BSC: all through _rebuild_sparse_tensor",
        {
            "coo": torch.sparse_coo_tensor(
                [[0, 1, 1, 2], [2, 0, 0, 1]], [1.0, 2.0, 3.0, 4.0], (3, 4)
            ),
            "coo_coalesced": m.to_sparse(),
            "hybrid": torch.sparse_coo_tensor([[0, 2]], torch.ones(2, 3), (4, 3)),
            "coo_empty": torch.sparse_coo_tensor(
                torch.empty(2, 0, dtype=torch.int64), torch.empty(0), (3, 3)
            ),
            "csr": m.to_sparse_csr(),
            "csc": m.to_sparse_csc(),
            "bsr": m.to_sparse_bsr((2, 2)),
            "bsc": m.to_sparse_bsc((2, 2)),
            "csr_int32": torch.sparse_csr_tensor(
                torch.tensor([0, 1, 2], dtype=torch.int32),
                torch.tensor([1, 0], dtype=torch.int32),
                torch.tensor([5.0, 6.0]),
                (2, 2),
            ),
            "csr_batch": torch.stack([m, m]).to_sparse_csr(),
        },
    )
    save(
        "nested_strided.zip.pt",
        "nested tensors: values, sizes, strides and storage offsets, four tensors each (_rebuild_nested_tensor). torch 2.13 cannot read its legacy stream back: it looks at the sizes before their bytes are there",
        {
            "nested": torch.nested.nested_tensor([torch.arange(2.0), torch.arange(3.0)]),
            "nested_2d": torch.nested.nested_tensor([torch.ones(2, 3), torch.zeros(1, 3)]),
        },
    )
    save(
        "nested_jagged.zip.pt",
        "a jagged nested tensor: torch.nested classes, _values and _offsets are ordinary tensors in its state; torch itself needs torch._dynamo imported to read it under weights_only, as was the case here",
        {
            "jagged": torch.nested.nested_tensor(
                [torch.ones(2, 3), torch.zeros(3, 3)], layout=torch.jagged
            ),
            "after": torch.arange(2.0),
        },
        "skip",
    )


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


Pair = collections.namedtuple("Pair", "weight note")


@dataclasses.dataclass
class Options:
    lr: float = 0.1
    weight: object = None


@sample
def values():
    tensor = torch.arange(3.0)
    save(
        "nested_containers.zip.pt",
        "plain values and containers that a state-dict reader meets; all in the weights_only list of 2.13 but for LONG4 and empty bytes, which are in nested_containers_more",
        {
            "list": [tensor, [tensor + 1, ("deep", {"deeper": tensor + 2})]],
            "tuple1": (tensor,),
            "tuple2": (1, 2),
            "tuple3": (1, 2, 3),
            "tuple4": (1, 2, 3, tensor),
            "empty": [{}, [], (), "", set()],
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
            ],
            "floats": [0.0, -0.0, 1.5, float("inf"), -float("inf"), float("nan"), 5e-324],
            "unicode": "naïve ☃ \U0001f525",
            "lone_surrogate": "\ud800",
            "long_text": "x" * 300,
            5: "integer key",
            1.5: "float key",
            True: "bool key",
            None: "None key",
            (1, "a"): "tuple key",
            b"b": "bytes key",
            "Size": tensor.view(1, 3).shape,
            "device": torch.device("cuda:1"),
            "device_no_index": torch.device("cpu"),
            "dtype": torch.bfloat16,
            "dtype_new": torch.float8_e4m3fn,
            "layout": torch.strided,
            "qscheme": torch.per_tensor_affine,
            "ordered": collections.OrderedDict(b=tensor + 3, a=1),
            "counter": collections.Counter("abca"),
            "set": {1, 2},
            "bytes": b"\x00\xff raw",
            "bytearray": bytearray(b"ab"),
            "complex": 1 + 2j,
        },
    )
    save(
        "nested_containers_more.zip.pt",
        "integers of over 255 bytes (LONG4), empty bytes (builtins.bytes), frozenset, slice, range, Ellipsis, the type int (written as __builtin__ long): plain, but weights_only refuses each",
        {
            "weight": tensor,
            "huge": 2**2100,
            "empty_bytes": b"",
            "frozenset": frozenset([1]),
            "slice": slice(0, 3),
            "range": range(3),
            "ellipsis": ...,
            "int": int,
        },
        "skip",
    )
    loop = [tensor]
    loop.append(loop)
    save(
        "recursive_list.zip.pt",
        "a list that contains itself: legal pickle, a trap for recursive printers",
        loop,
        check=False,
    )
    own = (Color, Level, Pair, Options)
    value = {
        "weight": tensor,
        "numpy_array": numpy.arange(6, dtype=numpy.float32).reshape(2, 3),
        "numpy_fortran": numpy.asfortranarray(numpy.arange(6).reshape(2, 3)),
        "numpy_big_endian": numpy.arange(2, dtype=">i4"),
        "numpy_scalar": numpy.float64(0.5),
        "numpy_int": numpy.int64(3),
        "numpy_bool": numpy.bool_(True),
        "numpy_string": numpy.array(["a", "bc"]),
        "numpy_object": numpy.array([1, None], dtype=object),
        "numpy_struct": numpy.zeros(2, dtype=[("a", "<i4"), ("b", "<f8")]),
        "numpy_datetime": numpy.datetime64("2024-01-02"),
        "numpy_random": numpy.random.RandomState(0).get_state(),
        "args": argparse.Namespace(lr=0.1, layers=[1, 2], tensor=tensor + 1),
        "defaultdict": collections.defaultdict(list, a=[tensor + 2]),
        "defaultdict_int": collections.defaultdict(int, a=1),
        "deque": collections.deque([tensor + 3, 2], 5),
        "datetime": datetime.datetime(2024, 1, 2, 3, 4, 5),
        "date": datetime.date(2024, 1, 2),
        "timedelta": datetime.timedelta(1, 2),
        "path": pathlib.PosixPath("runs/a"),
        "generator": torch.Generator().manual_seed(1),
        "torch_version": torch.__version__,
        "enum": Color.RED,
        "int_enum": Level.HIGH,
        "namedtuple": Pair(tensor + 4, "n"),
        "dataclass": Options(0.2, tensor + 5),
        "last": tensor + 6,
    }
    with project(*own):
        save(
            "python_objects.zip.pt",
            "numpy 2 arrays and scalars (numpy._core.multiarray), Namespace, defaultdict, deque, datetime, pathlib, torch.Generator, TorchVersion, Enum, namedtuple, dataclass: common in training checkpoints, outside the weights_only list",
            value,
            "skip",
        )
        for protocol in (3, 4, 5):
            save(
                "python_objects_protocol_%d.zip.pt" % protocol,
                "the same with pickle_protocol=%d: at 5 numpy arrays are numpy._core.numeric _frombuffer"
                % protocol,
                value,
                "skip",
                pickle_protocol=protocol,
            )
    save(
        "rng_states.zip.pt",
        "torch.get_rng_state() and a Generator's get_state(): uint8 tensors of 5056 bytes",
        {
            "cpu": torch.manual_seed(3).get_state(),
            "generator": torch.Generator().manual_seed(1).get_state(),
        },
    )
    for stem, v in (
        ("top_level_tensor", torch.arange(6.0).view(2, 3)),
        ("top_level_parameter", nn.Parameter(torch.ones(2))),
        ("top_level_list", [torch.ones(1), torch.zeros(2)]),
        ("top_level_int", 5),
        ("top_level_none", None),
    ):
        save(stem + ".zip.pt", "the root of the pickle is not a dict", v)


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
