"""Hostile and malformed pickles, for refuse/. Run by generate.py.

A careful reader gives a clear error for each: no crash, no code run, no allocation of the size that the file claims. With
`may_load`, loading it without harm is right as well.
"""

import collections
import os
import struct

import numpy
import torch
from sample_files import Call, FakeStorage, dumps, read, sample, strided, torch_zip
from samples_refused_archives import bad_file
from torch import nn


@sample
def refused_pickles():
    rebuild, v3 = torch._utils._rebuild_tensor_v2, torch._utils._rebuild_tensor_v3
    four = FakeStorage(torch.FloatStorage, "0", "cpu", 4)
    raw = lambda n=16: FakeStorage(torch.UntypedStorage, "0", "cpu", n)
    data = {"0": numpy.arange(4, dtype="<f4").tobytes()}

    def bad(name, what, value, storages=data, may_load=False):
        file = "refuse/%s.zip.pt" % name
        pickled = value if isinstance(value, bytes) else dumps(value)
        torch_zip(
            file,
            [
                ("data.pkl", pickled),
                (".format_version", b"1"),
                (".storage_alignment", b"64"),
                ("byteorder", b"little"),
            ]
            + [("data/" + k, v) for k, v in storages.items()]
            + [("version", b"3\n")],
        )
        bad_file(os.path.basename(file), what, read(file), "synthetic", may_load)

    plain_tensor = lambda **kw: strided(rebuild, four, [4], **kw)
    p = lambda *ops: b"\x80\x02" + b"".join(ops) + b"."
    glob = lambda m, n: b"c" + m.encode() + b"\n" + n.encode() + b"\n"
    text = lambda s: b"X" + struct.pack("<I", len(s.encode())) + s.encode()
    # code
    bad(
        "os_system",
        "a REDUCE of os.system('exit 0'): harmless here",
        p(glob("posix", "system"), text("exit 0"), b"\x85R"),
    )
    bad(
        "eval", "a REDUCE of builtins.eval", p(glob("__builtin__", "eval"), text("1 + 1"), b"\x85R")
    )
    bad(
        "import_by_name",
        "GLOBAL with a dotted name: torch, then Size.mro",
        p(glob("torch", "Size.mro"), b")R"),
    )
    bad("inst", "INST, an opcode of protocol 0, of os.getcwd", p(b"(ios\ngetcwd\n"))
    bad("obj", "OBJ, an opcode of protocol 1, of os.getcwd", p(b"(", glob("os", "getcwd"), b"o"))
    bad("extension", "EXT1 of the copyreg extension registry", p(b"\x82\x01"))
    bad(
        "load_from_bytes",
        "torch.storage._load_from_bytes on a legacy stream inside the pickle: torch loads it with weights_only=False",
        p(
            glob("torch.storage", "_load_from_bytes"),
            b"c_codecs\nencode\n",
            text("abc"),
            text("latin1"),
            b"\x86R\x85R",
        ),
    )
    bad(
        "callable_in_dict",
        "an unknown global as a value, not called: a reader may keep its name",
        {"weight": plain_tensor(), "f": os.getcwd},
        may_load=True,
    )
    bad(
        "build_calls_setstate",
        "BUILD of functools.partial: its __setstate__ takes a function",
        p(glob("functools", "partial"), glob("os", "getcwd"), b"\x85\x81}b"),
    )
    bad(
        "subclass_attributes",
        "_rebuild_from_type_v2 with os.system as the type",
        {
            "x": Call(
                torch._tensor._rebuild_from_type_v2,
                rebuild,
                os.system,
                (four, 0, (4,), (1,), False, collections.OrderedDict()),
                {},
            )
        },
        may_load=True,
    )
    bad(
        "subclass_function",
        "_rebuild_from_type_v2 with os.getcwd as the function",
        {"x": Call(torch._tensor._rebuild_from_type_v2, os.getcwd, torch.Tensor, (), {})},
    )
    bad(
        "attribute_class",
        "_rebuild_from_type_v2 whose state sets __class__ of the tensor",
        {
            "x": Call(
                torch._tensor._rebuild_from_type_v2,
                rebuild,
                torch.Tensor,
                (four, 0, (4,), (1,), False, collections.OrderedDict()),
                {"__class__": 5, "data": 7},
            )
        },
        may_load=True,
    )
    bad(
        "ordered_dict_methods",
        "BUILD on an OrderedDict replaces its method 'items': a reader that keeps __dict__ apart is safe",
        b"\x80\x02"
        + glob("collections", "OrderedDict")
        + b")R"
        + text("a")
        + b"K\x01s}"
        + text("items")
        + b"K\x05sb.",
        may_load=True,
    )
    # persistent ids
    for name, what, pid in (
        ("pid_numel_text", "numel is text", ("storage", torch.FloatStorage, "0", "cpu", "4")),
        ("pid_numel_float", "numel is 4.0", ("storage", torch.FloatStorage, "0", "cpu", 4.0)),
        ("pid_numel_bool", "numel is True", ("storage", torch.FloatStorage, "0", "cpu", True)),
        (
            "pid_numel_big",
            "numel is 2^64 + 4",
            ("storage", torch.FloatStorage, "0", "cpu", 2**64 + 4),
        ),
        ("pid_numel_negative", "numel is -4", ("storage", torch.FloatStorage, "0", "cpu", -4)),
        ("pid_key_int", "the key is an int", ("storage", torch.FloatStorage, 0, "cpu", 4)),
        (
            "pid_location_none",
            "the location is None",
            ("storage", torch.FloatStorage, "0", None, 4),
        ),
        ("pid_short", "four items", ("storage", torch.FloatStorage, "0", "cpu")),
        (
            "pid_long",
            "six items, as in a legacy file",
            ("storage", torch.FloatStorage, "0", "cpu", 4, None),
        ),
        (
            "pid_class_module",
            "the storage class is torch.nn.Linear",
            ("storage", nn.Linear, "0", "cpu", 4),
        ),
        ("pid_class_text", "the storage class is text", ("storage", "FloatStorage", "0", "cpu", 4)),
        ("pid_empty", "an empty tuple", ()),
    ):
        s = FakeStorage(torch.FloatStorage, "0", "cpu", 4)
        s.pid = pid
        bad(
            name,
            "persistent id: " + what,
            {"x": strided(rebuild, s, [1])},
            may_load=name == "pid_key_int",
        )
    bad(
        "storage_two_dtypes",
        "one key as FloatStorage of 4 and as HalfStorage of 8: the first mention decides in torch",
        {
            "a": plain_tensor(),
            "b": strided(rebuild, FakeStorage(torch.HalfStorage, "0", "cpu", 8), [8]),
        },
        may_load=True,
    )
    bad(
        "storage_two_numels",
        "one key with 4 and with 1000 elements",
        {
            "a": plain_tensor(),
            "b": strided(rebuild, FakeStorage(torch.FloatStorage, "0", "cpu", 1000), [4]),
        },
        may_load=True,
    )
    bad(
        "storage_shorter",
        "the pickle says 1000 elements, the record has 16 bytes",
        {"x": strided(rebuild, FakeStorage(torch.FloatStorage, "0", "cpu", 1000), [1000])},
    )
    bad(
        "storage_longer",
        "the pickle says 2 elements, the record has 16 bytes",
        {"x": strided(rebuild, FakeStorage(torch.FloatStorage, "0", "cpu", 2), [2])},
    )
    bad(
        "storage_numel_wraps",
        "numel 2^62 + 4: times 4 bytes it wraps to 16",
        {"x": strided(rebuild, FakeStorage(torch.FloatStorage, "0", "cpu", 2**62 + 4), [4])},
    )
    # shapes
    bad("shape_beyond", "a shape of 5 over 4 elements", {"x": strided(rebuild, four, [5])})
    bad(
        "stride_beyond",
        "(2, 2) with stride (3, 1) reaches element 4 of 4",
        {"x": strided(rebuild, four, [2, 2], stride=[3, 1])},
    )
    bad("offset_beyond", "storage offset 4 of 4", {"x": strided(rebuild, four, [1], offset=4)})
    bad(
        "offset_huge",
        "storage offset 2^63 - 1",
        {"x": strided(rebuild, four, [1], offset=2**63 - 1)},
    )
    bad("offset_negative", "storage offset -1", {"x": strided(rebuild, four, [2], offset=-1)})
    bad("stride_negative", "stride -1", {"x": strided(rebuild, four, [2], stride=[-1], offset=3)})
    bad("shape_negative", "shape (-1,)", {"x": strided(rebuild, four, [-1], stride=[1])})
    bad(
        "shape_wraps",
        "shape (2^32, 2^32)",
        {"x": strided(rebuild, four, [2**32, 2**32], stride=[2**32, 1])},
    )
    bad(
        "shape_wraps_stride_0",
        "shape (2^32, 2^32, 2), strides 0: in bounds, but the number of elements is no 64-bit number",
        {"x": strided(rebuild, four, [2**32, 2**32, 2], stride=[0, 0, 0])},
    )
    bad(
        "shape_huge_stride_0",
        "shape (2^40,), stride 0, over one element: legal in torch and takes no memory; whoever makes it contiguous allocates 4 TiB",
        {"x": strided(rebuild, four, [2**40], stride=[0])},
        may_load=True,
    )
    bad(
        "stride_wraps",
        "stride 2^62 on a dimension of 5",
        {"x": strided(rebuild, four, [5], stride=[2**62])},
    )
    bad(
        "shape_stride_lengths",
        "shape of two dimensions, stride of one",
        {"x": strided(rebuild, four, [2, 2], stride=[2])},
    )
    bad("shape_float", "shape (2.0,)", {"x": strided(rebuild, four, [2.0], stride=[1])})
    bad(
        "shape_list",
        "shape is a list",
        {"x": Call(rebuild, four, 0, [4], [1], False, collections.OrderedDict())},
        may_load=True,
    )
    bad(
        "shape_many_dimensions",
        "100 dimensions of 1: torch has no limit of 64 here",
        {"x": strided(rebuild, four, [1] * 100)},
        may_load=True,
    )
    bad(
        "arguments_missing",
        "_rebuild_tensor_v2 with three arguments",
        {"x": Call(rebuild, four, 0, (4,))},
    )
    bad(
        "storage_is_tensor",
        "_rebuild_tensor_v2 of a tensor in place of a storage",
        {"x": Call(rebuild, plain_tensor(), 0, (4,), (1,), False, collections.OrderedDict())},
    )
    bad(
        "v3_not_a_dtype",
        "_rebuild_tensor_v3 with torch.Size as dtype",
        {"x": Call(v3, raw(), 0, (4,), (1,), False, collections.OrderedDict(), torch.Size)},
    )
    bad(
        "v3_beyond",
        "_rebuild_tensor_v3: 5 uint32 over 16 bytes",
        {"x": Call(v3, raw(), 0, (5,), (1,), False, collections.OrderedDict(), torch.uint32)},
    )
    bad(
        "v3_offset_in_bytes",
        "_rebuild_tensor_v3: offset 8 of 4 uint32, as if it counted bytes",
        {"x": Call(v3, raw(), 8, (1,), (1,), False, collections.OrderedDict(), torch.uint32)},
    )
    bad(
        "parameter_of_dict",
        "_rebuild_parameter of a dict",
        {"x": Call(torch._utils._rebuild_parameter, {}, True, collections.OrderedDict())},
    )
    bad(
        "meta_negative",
        "a meta tensor of shape (-5,)",
        {
            "x": Call(
                torch._utils._rebuild_meta_tensor_no_storage, torch.float32, (-5,), (1,), False
            )
        },
        may_load=True,
    )
    sparse = torch._utils._rebuild_sparse_tensor
    layout = lambda n: Call(torch.serialization._get_layout, "torch." + n)
    longs = {"1": numpy.array([0, 1, 9, 0], "<i8").tobytes(), **data}
    index = lambda shape, stride=None: strided(
        rebuild, FakeStorage(torch.LongStorage, "1", "cpu", 4), shape, stride=stride
    )
    bad(
        "sparse_index_outside",
        "COO indices (0, 1, 9, 0) in a dimension of 4: torch checks, in the end",
        {
            "x": Call(
                sparse,
                layout("sparse_coo"),
                (index([1, 4]), plain_tensor(), torch.Size([4]), False),
            )
        },
        longs,
        may_load=True,
    )
    bad(
        "sparse_counts_differ",
        "COO with 2 indices and 4 values",
        {
            "x": Call(
                sparse,
                layout("sparse_coo"),
                (index([2, 2]), plain_tensor(), torch.Size([4, 10]), False),
            )
        },
        longs,
        may_load=True,
    )
    bad(
        "sparse_layout",
        "_get_layout of an unknown name",
        {
            "x": Call(
                sparse,
                layout("sparse_xyz"),
                (index([1, 4]), plain_tensor(), torch.Size([10]), False),
            )
        },
        longs,
    )
    bad(
        "csr_not_rising",
        "CSR with crow_indices 0, 1, 9, 0",
        {
            "x": Call(
                sparse,
                layout("sparse_csr"),
                (index([4]), index([4]), plain_tensor(), torch.Size([3, 10])),
            )
        },
        longs,
        may_load=True,
    )
    bad(
        "nested_offsets_outside",
        "a nested tensor whose offsets lie outside of its values",
        {
            "x": Call(
                torch._utils._rebuild_nested_tensor,
                plain_tensor(),
                index([2, 1]),
                index([2, 1]),
                index([2]),
            )
        },
        longs,
        may_load=True,
    )
    bad(
        "quantizer_scales",
        "per-channel quantizer with 4 scales for 2 channels",
        {
            "x": Call(
                torch._utils._rebuild_qtensor,
                FakeStorage(torch.QInt8Storage, "0", "cpu", 16),
                0,
                (2, 8),
                (8, 1),
                (torch.per_channel_affine, plain_tensor(), plain_tensor(), 0),
                False,
                collections.OrderedDict(),
            )
        },
        may_load=True,
    )
    # the machine
    bad(
        "setitem_on_tensor",
        "SETITEM with a tensor as its target",
        dumps(plain_tensor())[:-1] + b"K\x00K\x01s.",
    )
    bad("setitems_on_list", "SETITEMS with a list as its target", p(b"]K\x00a(K\x00K\x01u"))
    bad(
        "append_on_tensor",
        "APPEND with a tensor as its target",
        dumps(plain_tensor())[:-1] + b"K\x01a.",
    )
    bad(
        "build_on_tensor",
        "BUILD on a tensor with a tuple: Tensor.set_",
        dumps(plain_tensor())[:-1] + b")b.",
    )
    bad("build_on_int", "BUILD on an int", p(b"K\x01}b"))
    bad("reduce_of_dict", "REDUCE of a dict", p(b"})R"))
    bad(
        "reduce_args_list",
        "REDUCE with a list as arguments",
        p(glob("torch", "Size"), b"]R"),
        may_load=True,
    )
    bad("memo_missing", "LONG_BINGET of an entry that was never stored", p(b"j\xff\xff\xff\x7f"))
    bad(
        "memo_huge",
        "LONG_BINPUT of index 2^32 - 1: Python's pickle grows its memo to 32 GiB",
        p(b"K\x01r\xff\xff\xff\xff"),
        may_load=True,
    )
    bad("stack_empty", "STOP on an empty stack", b"\x80\x02.")
    bad("mark_missing", "APPENDS without MARK", p(b"]e"))
    bad(
        "mark_left",
        "a MARK that nothing takes: the value above it is the result, if a reader lets it",
        p(b"(K\x01"),
        may_load=True,
    )
    bad("values_left", "two values on the stack at STOP", p(b"K\x01K\x02"), may_load=True)
    bad("setitems_odd", "SETITEMS with three items", p(b"}(K\x01K\x02K\x03u"))
    bad("key_list", "a list as a key of a dict", p(b"}]K\x01s"))
    bad("key_tensor_of_dict", "a dict as a key of a dict", p(b"}}K\x01s"))
    bad("utf8", "BINUNICODE that is not UTF-8", p(b"X\x02\x00\x00\x00\xff\xfe"))
    bad("protocol_6", "PROTO 6", b"\x80\x06N.")
    bad(
        "protocol_missing",
        "no PROTO at all: legal in pickle, never written by torch",
        b"}.",
        may_load=True,
    )
    bad(
        "frame_long",
        "FRAME of 2^63 bytes",
        b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b"N.",
        may_load=True,
    )
    bad(
        "frame_short",
        "FRAME of 1 byte around a text of 20",
        b"\x80\x04\x95" + struct.pack("<Q", 1) + b"\x8c\x14" + b"x" * 20 + b".",
        may_load=True,
    )
    for op, name in ((b"\x8d", "binunicode8"), (b"\x8e", "binbytes8"), (b"\x96", "bytearray8")):
        bad(
            name + "_huge",
            "%s of 2^62 bytes" % name.upper(),
            b"\x80\x05" + op + struct.pack("<Q", 2**62) + b"ab.",
        )
    bad("long4_huge", "LONG4 of 2^31 - 1 bytes", p(b"\x8b\xff\xff\xff\x7fab"))
    bad("long4_negative", "LONG4 of -1 bytes", p(b"\x8b\xff\xff\xff\xff"))
    bad("get_text", "GET, a memo index as text", p(b"K\x01q\x000g0\n"), may_load=True)
    bad("int_text", "INT, an integer as text", p(b"I5\n"), may_load=True)
    bad("persid_text", "PERSID, a persistent id as text", p(b"P0\n"))
    bad("buffers", "NEXT_BUFFER: out-of-band data that no file has", b"\x80\x05\x97.")
    bad("unknown_opcode", "byte 0xFF", p(b"\xff"))
    bad("truncated_opcode", "the pickle ends inside BININT", b"\x80\x02J\x01\x02")
    bad("global_no_newline", "GLOBAL without its second line", b"\x80\x02ctorch\nSize")
    # amplification
    bad(
        "deep_nesting",
        "100 000 tuples in one another: a reader may refuse it or read it, but not run out of stack",
        b"\x80\x02)" + b"\x85" * 100000 + b".",
        may_load=True,
    )
    bad(
        "deep_nesting_lists",
        "100 000 lists in one another",
        b"\x80\x02" + b"]" * 100000 + b"a" * 99999 + b".",
        may_load=True,
    )
    shared = b"".join(
        b"(" + (b"h" + bytes([i])) * 10 + b"lq" + bytes([i + 1]) + b"0" for i in range(30)
    )
    bad(
        "shared_lists",
        "30 lists, each of ten times the one before: 10^30 leaves when followed blindly, a few hundred bytes as a graph (LIST, POP: not in weights_only)",
        p(b"]q\x000", shared, b"h\x1e"),
        may_load=True,
    )
    shared = b"".join(
        b"(" + (b"h" + bytes([i])) * 10 + b"tq" + bytes([i + 1]) + b"0" for i in range(30)
    )
    pairs = b")q\x00" + b"".join(b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(40))
    bad(
        "shared_tuples_key",
        "40 pairs, each of twice the one before, as a key: 2^40 steps to hash it",
        p(b"}", pairs, b"K\x01s"),
    )
    bad(
        "shared_tuples",
        "the same 40 pairs as a value: harmless until printed or copied",
        p(pairs),
        may_load=True,
    )
    bad(
        "memo_texts",
        "one text of 60 000 characters, referred to 20 000 times",
        p(b"](", text("x" * 60000), b"q\x00" + b"h\x00" * 20000 + b"e"),
        may_load=True,
    )
    bad(
        "reduce_loop",
        "bytearray of 2^40 zero bytes: __builtin__.bytearray called with an int",
        p(glob("__builtin__", "bytearray"), b"\x8a\x06" + (2**40).to_bytes(6, "little") + b"\x85R"),
    )
    bad(
        "counter_of_counter",
        "collections.Counter of text: counts its characters; a reader that expects a dict must check",
        p(glob("collections", "Counter"), text("aab"), b"\x85R"),
        may_load=True,
    )
    bad(
        "complex_of_text",
        "__builtin__.complex called with text",
        p(glob("__builtin__", "complex"), text("1+2j"), b"\x85R"),
        may_load=True,
    )
    bad(
        "encode_other_codec",
        "_codecs.encode with the codec 'rot13': any codec may be named",
        p(glob("_codecs", "encode"), text("abc"), text("rot13"), b"\x86R"),
        may_load=True,
    )
    bad(
        "encode_not_latin1",
        "_codecs.encode of a character over 255 as latin1",
        p(glob("_codecs", "encode"), text("\u0100"), text("latin1"), b"\x86R"),
    )
    bad("size_of_text", "torch.Size of text", p(glob("torch", "Size"), text("ab"), b"\x85R"))
    bad(
        "device_bad",
        "torch.device('no such device')",
        p(glob("torch", "device"), text("no such device"), b"\x85R"),
        may_load=True,
    )
