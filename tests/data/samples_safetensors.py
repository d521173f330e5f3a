"""safetensors files, good and refused, and models in shards. Run by generate.py."""

import json
import os
import struct
import warnings

import safetensors.torch
import torch
import torch.distributed
import torch.distributed.checkpoint as dcp
import torch.multiprocessing
from sample_files import path, record, sample, write
from samples_models import batches, toy, train
from samples_values import eight


def safe(header, body=b"", length=None):
    h = (
        header
        if isinstance(header, bytes)
        else json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    )
    return struct.pack("<Q", len(h) if length is None else length) + h + body


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@sample
def safetensors_files():
    def made(name, what, tensors, metadata=None):
        safetensors.torch.save_file(tensors, path(name), metadata)
        record(name, what, value=tensors)

    toy_weights = {k: v.clone() for k, v in toy().state_dict().items()}
    made(
        "toy.safetensors",
        "ToyModel's weights with metadata: the header is padded with spaces to 8 bytes, tensors are sorted by dtype size, then name",
        toy_weights,
        {"format": "pt", "note": "naïve ☃"},
    )
    values = {
        str(d)[6:]: eight(d)
        for d in (
            torch.float64,
            torch.float32,
            torch.float16,
            torch.bfloat16,
            torch.int64,
            torch.int32,
            torch.int16,
            torch.int8,
            torch.uint8,
            torch.uint16,
            torch.uint32,
            torch.uint64,
            torch.complex64,
            torch.float8_e4m3fn,
            torch.float8_e5m2,
            torch.float8_e4m3fnuz,
            torch.float8_e5m2fnuz,
            torch.float8_e8m0fnu,
            torch.float4_e2m1fn_x2,
        )
    }
    values["bool"] = torch.tensor([True, False, True])
    made(
        "dtypes.safetensors",
        "every dtype that safetensors 0.8 writes from torch; not complex32, complex128, bits or quantized. F4: the file's last dimension counts elements, torch's counts bytes",
        values,
    )
    made(
        "empty_and_scalars.safetensors",
        "no elements, no dimensions",
        {
            "empty": torch.empty(0),
            "empty_2d": torch.empty(0, 3),
            "empty_3d": torch.empty(2, 0, 4, dtype=torch.int64),
            "scalar": torch.tensor(3.5),
            "one": torch.ones(1),
            "": torch.ones(2),
            "naïve ☃": torch.zeros(2),
        },
    )
    made("no_tensors.safetensors", "no tensor at all", {}, {"format": "pt"})

    def laid(name, what, content, expect="load"):
        write(name, content)
        record(name, what, expect, "synthetic")

    laid(
        "small_floats.safetensors",
        "F6_E2M3 and F6_E3M2, four elements in three bytes, and F4: valid headers; torch has no dtype for the F6 kinds, so safetensors' torch reader fails on them",
        safe(
            {
                "a": entry("F6_E2M3", [4], 0, 3),
                "b": entry("F6_E3M2", [2, 4], 3, 9),
                "c": entry("F4", [2, 4], 9, 13),
            },
            bytes(range(13)),
        ),
        "skip",
    )
    laid(
        "unordered.safetensors",
        "entries in another order than their bytes, and an unknown member of an entry",
        safe(
            {"b": {**entry("F32", [2], 4, 12), "unknown": 1}, "a": entry("U8", [4], 0, 4)},
            bytes(range(12)),
        ),
    )
    laid(
        "misaligned.safetensors",
        "an F32 tensor at byte 1 of the data, and a header whose length is no multiple of 8: allowed, only writers align",
        safe({"a": entry("U8", [1], 0, 1), "b": entry("F32", [2], 1, 9)}, bytes(range(9))),
    )
    laid(
        "long_metadata.safetensors",
        "metadata of 200 000 bytes",
        safe({"__metadata__": {"x": "y" * 200000}, "a": entry("U8", [2], 0, 2)}, b"ab"),
    )


@sample
def refused_safetensors():
    def bad(name, what, content, may_load=False):
        write("refuse/%s.safetensors" % name, content)
        record("refuse/%s.safetensors" % name, what, "refuse", "synthetic", may_load=may_load)

    bad(
        "overlap",
        "two tensors over the same bytes",
        safe({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 2, 6)}, b"abcdef"),
    )
    bad(
        "same_bytes",
        "two tensors with equal offsets",
        safe({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 0, 4)}, b"abcd"),
    )
    bad(
        "hole",
        "bytes between two tensors that belong to none",
        safe({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 4, 6)}, b"abcdef"),
    )
    bad(
        "hole_at_start",
        "the first tensor starts at byte 2",
        safe({"a": entry("U8", [2], 2, 4)}, b"abcd"),
    )
    bad("trailing", "bytes after the last tensor", safe({"a": entry("U8", [2], 0, 2)}, b"abcd"))
    bad(
        "truncated",
        "the data ends inside the last tensor",
        safe({"a": entry("U8", [8], 0, 8)}, b"abcd"),
    )
    bad(
        "header_longer_than_file",
        "a header of 4096 bytes in a file of 60",
        safe({"a": entry("U8", [2], 0, 2)}, b"ab", 4096),
    )
    bad(
        "header_too_large",
        "a header of 2^63 - 1 bytes",
        safe({"a": entry("U8", [2], 0, 2)}, b"ab", 2**63 - 1),
    )
    bad(
        "header_over_limit",
        "a header of 100 000 001 bytes: over the limit of the format, were the file that long",
        safe({"a": entry("U8", [2], 0, 2)}, b"ab", 100_000_001),
    )
    bad("header_empty", "a header of no bytes", safe(b""))
    bad("only_length", "eight bytes and nothing else", struct.pack("<Q", 0))
    bad("too_short", "five bytes", b"abcde")
    bad("no_bytes", "no bytes at all", b"")
    bad(
        "duplicate_key",
        "a tensor's name twice, with other bytes",
        safe(
            b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}',
            b"abcd",
        ),
    )
    bad(
        "duplicate_key_equal",
        "a tensor's name twice, both the same entry: valid for parsers that keep the last",
        safe(
            b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}',
            b"ab",
        ),
        may_load=True,
    )
    bad(
        "duplicate_member",
        "'dtype' twice in one entry",
        safe(b'{"a":{"dtype":"U8","dtype":"I8","shape":[2],"data_offsets":[0,2]}}', b"ab"),
    )
    bad("dtype_unknown", "dtype 'F7'", safe({"a": entry("F7", [2], 0, 2)}, b"ab"))
    bad("dtype_lower_case", "dtype 'f32'", safe({"a": entry("f32", [1], 0, 4)}, b"abcd"))
    bad(
        "size_mismatch",
        "four F32 elements in eight bytes",
        safe({"a": entry("F32", [4], 0, 8)}, b"abcdefgh"),
    )
    bad("offsets_reversed", "begin after end", safe({"a": entry("U8", [2], 2, 0)}, b"ab"))
    bad(
        "offsets_three",
        "three offsets",
        safe({"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2, 2]}}, b"ab"),
    )
    bad("negative_shape", "shape [-2]", safe({"a": entry("U8", [-2], 0, 2)}, b"ab"))
    bad("negative_offset", "offsets -2 to 0", safe({"a": entry("U8", [2], -2, 0)}, b"ab"))
    bad(
        "fraction_shape",
        "shape [2.0]",
        safe(b'{"a":{"dtype":"U8","shape":[2.0],"data_offsets":[0,2]}}', b"ab"),
    )
    bad(
        "overflowing_shape",
        "shape [2^32, 2^32]: the product wraps to 0",
        safe({"a": entry("U8", [2**32, 2**32], 0, 0)}),
    )
    bad(
        "overflowing_bytes",
        "2^61 F64 elements: times 8 it wraps to 0",
        safe({"a": entry("F64", [2**61], 0, 0)}),
    )
    bad(
        "overflowing_number",
        "a shape that is no 64-bit number",
        safe({"a": entry("U8", [2**70], 0, 2)}, b"ab"),
    )
    bad(
        "zero_and_huge",
        "shape [0, 2^63, 4]: no elements, though a product without its zero overflows; safe to load as empty",
        safe({"a": entry("U8", [0, 2**63, 4], 0, 0)}),
        may_load=True,
    )
    bad(
        "not_utf8",
        "a name that is not UTF-8",
        safe(b'{"\xff":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}', b"ab"),
    )
    bad(
        "lone_surrogate",
        "a name with an escaped lone surrogate",
        safe(b'{"\\ud800":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}', b"ab"),
        may_load=True,
    )
    bad("not_object", "the header is a JSON list", safe(b"[1,2]"))
    bad("not_json", "the header is no JSON", safe(b'{"a":'))
    bad(
        "leading_space",
        "the header starts with a space",
        safe(b' {"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}', b"ab"),
        may_load=True,
    )
    bad(
        "text_after_header",
        "JSON, then other text inside the header's length",
        safe(b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}xyz', b"ab"),
    )
    bad(
        "zero_bytes_after_header",
        "JSON, then NUL bytes as padding",
        safe(b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}\0\0\0', b"ab"),
    )
    bad(
        "metadata_number",
        "__metadata__ with a number as its value",
        safe({"__metadata__": {"n": 1}, "a": entry("U8", [2], 0, 2)}, b"ab"),
    )
    bad(
        "metadata_nested",
        "__metadata__ with an object as its value",
        safe({"__metadata__": {"n": {}}, "a": entry("U8", [2], 0, 2)}, b"ab"),
    )
    bad(
        "metadata_null",
        "__metadata__ is null",
        safe({"__metadata__": None, "a": entry("U8", [2], 0, 2)}, b"ab"),
        may_load=True,
    )
    bad(
        "missing_shape",
        "an entry without shape",
        safe(b'{"a":{"dtype":"U8","data_offsets":[0,2]}}', b"ab"),
    )
    bad(
        "deep_json",
        "JSON lists nested 100 000 deep",
        safe(b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}"),
    )
    bad(
        "f4_odd", "three F4 elements: a byte and a half", safe({"a": entry("F4", [3], 0, 2)}, b"ab")
    )
    bad("f6_odd", "two F6 elements: twelve bits", safe({"a": entry("F6_E2M3", [2], 0, 2)}, b"ab"))
    bad(
        "bool_not_0_or_1",
        "BOOL bytes 2 and 255: torch takes them as they are, which is undefined in C++",
        safe({"a": entry("BOOL", [2], 0, 2)}, b"\x02\xff"),
        may_load=True,
    )

    def index(name, what, content):
        write("refuse/" + name, content)
        record("refuse/" + name, what, "refuse", "synthetic")

    index(
        "index_missing_shard.safetensors.index.json",
        "the weight_map names a shard that is not there",
        b'{"metadata":{},"weight_map":{"a":"model-00001-of-00001.safetensors"}}',
    )
    index(
        "index_outside.safetensors.index.json",
        "the weight_map names a file outside of the folder",
        b'{"metadata":{},"weight_map":{"net1.bias":"../toy.safetensors"}}',
    )
    index(
        "index_absolute.safetensors.index.json",
        "the weight_map names an absolute path",
        b'{"metadata":{},"weight_map":{"a":"/etc/passwd"}}',
    )
    index(
        "index_not_in_shard.safetensors.index.json",
        "the shard does not have the tensor",
        b'{"metadata":{},"weight_map":{"a":"duplicate_key_equal.safetensors"}}',
    )


@sample
def shards():
    toy_weights = {k: v.clone() for k, v in toy().state_dict().items()}
    for name, big in (
        ("model.safetensors.index.json", True),
        ("pytorch_model.bin.index.json", False),
    ):
        folder = "sharded_safetensors" if big else "sharded_bin"
        stem, suffix = ("model", "safetensors") if big else ("pytorch_model", "bin")
        weights = {
            **toy_weights,
            "embed.weight": torch.arange(30.0).view(10, 3),
            "head.scale": torch.ones(3, dtype=torch.bfloat16),
        }
        names, shards, weight_map = sorted(weights), {}, {}
        for i, n in enumerate(names):
            file = "%s-%05d-of-00003.%s" % (stem, i // 2 + 1, suffix)
            shards.setdefault(file, {})[n] = weights[n]
            weight_map[n] = file
        for file, content in shards.items():
            path(folder + "/" + file)
            if big:
                safetensors.torch.save_file(content, path(folder + "/" + file), {"format": "pt"})
            else:
                torch.save(content, path(folder + "/" + file))
        with open(path(folder + "/" + name), "w") as f:
            json.dump(
                {
                    "metadata": {"total_size": sum(t.nbytes for t in weights.values())},
                    "weight_map": weight_map,
                },
                f,
                indent=2,
            )
        record(
            folder + "/" + name,
            "three shards of %s and their index, in the layout of Hugging Face's transformers"
            % suffix,
            value=weights,
            origin="torch",
        )


@sample
def distributed():
    """What torch.distributed.checkpoint writes as safetensors: on one process, and a part of each tensor on each of two."""
    net, *_ = train(lambda p: torch.optim.AdamW(p, lr=1e-3), 2)
    state = dict(net.state_dict())
    numbers = {"net1.weight": 1, "net1.bias": 2, "net2.weight": 2, "net2.bias": 3}
    dcp.save(
        dict(state),
        storage_writer=dcp.HuggingFaceStorageWriter(
            path("dcp_hf_single_mapped"), fqn_to_index_mapping=numbers
        ),
    )
    record(
        "dcp_hf_single_mapped/model.safetensors.index.json",
        "the same with fqn_to_index_mapping: three files",
        value=state,
        exact=False,
    )
    torch.multiprocessing.spawn(rank_of_two, (path("dcp_hf_2ranks"),), nprocs=2)
    record(
        "dcp_hf_2ranks/shard-00001-model-00001-of-00001.safetensors",
        "HuggingFaceStorageWriter(save_distributed=True) on two ranks: a file for each rank, offsets of each shard in DCP_SHARDING_INFO, no index",
        exact=False,
    )


def rank_of_two(rank, folder):
    from torch.distributed.checkpoint.state_dict import get_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29621", RANK=str(rank), WORLD_SIZE="2")
    torch.distributed.init_process_group("gloo")
    net = toy()
    fully_shard(net, mesh=init_device_mesh("cpu", (2,), mesh_dim_names=("dp",)))
    optimizer, (x, y) = torch.optim.Adam(net.parameters(), lr=1e-3), batches()
    for i in range(2):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(net(x[i]), y[i]).backward()
        optimizer.step()
    model_state, _ = get_state_dict(net, optimizer)
    dcp.save(
        dict(model_state),
        storage_writer=dcp.HuggingFaceStorageWriter(folder, save_distributed=True),
    )
    torch.distributed.barrier()
    os._exit(0)  # gloo's threads sometimes abort an orderly exit
