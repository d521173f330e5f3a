"""Archives that other programs, older versions or other options write. Run by generate.py."""

import io
import zipfile

import torch
from sample_files import path, read, record, records_of, sample, save, swap, torch_zip, write
from samples_models import toy
from torch.utils.serialization import config


@sample
def zip_variants():
    value = toy().state_dict()
    for alignment in (1, 100, 128, 512, 4096):
        config.save.storage_alignment = alignment
        save(
            "alignment_%d.zip.pt" % alignment,
            "config.save.storage_alignment = %d: all records, not only storages, start at its multiples; also in .storage_alignment"
            % alignment,
            value,
        )
    config.save.storage_alignment = 64
    torch.serialization.set_crc32_options(False)
    save("crc_off.zip.pt", "set_crc32_options(False): every CRC-32 field is 0", value)
    torch.serialization.set_crc32_options(True)
    save(
        "no_byteorder.zip.pt",
        "_disable_byteorder_record=True: the writer then adds byteorder itself, after version; it is little all the same",
        value,
        _disable_byteorder_record=True,
    )
    save(
        "non_ascii_name_ünï.zip.pt",
        "a path that is not ASCII is opened by Python: the root folder is 'archive'",
        {"x": torch.ones(2)},
    )
    buffer = io.BytesIO()
    torch.save({"x": torch.ones(2)}, buffer)
    write("saved_to_buffer.zip.pt", buffer.getvalue())
    record("saved_to_buffer.zip.pt", "saved to a Python file object: the root folder is 'archive'")
    records, source = records_of("toy_state_dict.zip.pt"), read("toy_state_dict.zip.pt")

    def edited(name, what, origin="edited", v=value):
        record(name, what, origin=origin, value=v)

    torch_zip("byteorder_absent.zip.pt", [r for r in records if r[0] != "byteorder"])
    edited(
        "byteorder_absent.zip.pt",
        "no byteorder record: little endian, unless set_default_load_endianness said otherwise",
    )
    torch_zip(
        "only_data_and_version.zip.pt",
        [r for r in records if r[0] == "data.pkl" or r[0].startswith("data/") or r[0] == "version"],
    )
    edited("only_data_and_version.zip.pt", "the records that 1.13 wrote, and no others")
    torch_zip("reversed_records.zip.pt", records[:1] + records[:0:-1])
    edited(
        "reversed_records.zip.pt",
        "data.pkl first, all other records in reverse: .format_version says numeric order, wrongly; matters only to calculate_storage_offsets",
    )
    torch_zip("pickle_last.zip.pt", records[1:] + records[:1])
    edited(
        "pickle_last.zip.pt", "data.pkl is the last record; the first entry still gives the root"
    )
    torch_zip("zip64_central.zip.pt", records, force_zip64=True)
    edited(
        "zip64_central.zip.pt",
        "sizes and offsets only in zip64 extra fields, as in archives over 4 GiB",
        "synthetic",
    )

    def python_zip(name, method, root="r", comment=b""):
        with zipfile.ZipFile(path(name), "w", method) as out:
            out.comment = comment
            for n, d in records:
                out.writestr(root + "/" + n, d)

    python_zip("deflated.zip.pt", zipfile.ZIP_DEFLATED)
    edited(
        "deflated.zip.pt",
        "zipped again by Python: deflated members, no padding, no data descriptors, no zip64",
    )
    python_zip("unaligned.zip.pt", zipfile.ZIP_STORED)
    edited("unaligned.zip.pt", "zipped again by Python: stored, not aligned to 64")
    python_zip(
        "zip_comment.zip.pt",
        zipfile.ZIP_STORED,
        comment=b"a comment with PK\x05\x06 in it, and more bytes after it than an end record has",
    )
    record(
        "zip_comment.zip.pt",
        "an archive comment that holds the signature of an end record: a reader may find the wrong one; loading or a clear error are both right",
        "refuse",
        "edited",
        may_load=True,
    )
    write("trailing_bytes.zip.pt", source + b"appended after the archive")
    edited("trailing_bytes.zip.pt", "bytes after the end of the archive")
    with zipfile.ZipFile(path("directory_entry.zip.pt"), "w") as out:
        out.writestr("some folder/", b"")
        for n, d in records:
            out.writestr("some folder/" + n, d)
    edited(
        "directory_entry.zip.pt", "the first member is the folder itself, with a space in its name"
    )
    torch_zip(
        "extra_records.zip.pt",
        records
        + [
            ("notes.txt", b"not ours"),
            ("data/99", b"never mentioned"),
            ("extra/config.json", b"{}"),
        ],
    )
    edited("extra_records.zip.pt", "records that nothing mentions")
    # big endian: byte for byte what a machine of the other byte order would write, but for the id
    unit = {
        "float32": 4,
        "int16": 2,
        "int64": 8,
        "complex64": 4,
        "complex128": 8,
        "uint8": 1,
        "bool": 1,
        "bfloat16": 2,
        "float16": 2,
        "float64": 8,
    }
    kinds = {
        n: (
            torch.tensor([1, 0, 1], dtype=torch.bool)
            if n == "bool"
            else torch.tensor([1.5, 2, 3.25]).to(getattr(torch, n))
        )
        for n in unit
    }
    torch.save(kinds, path("byteorder_big.zip.pt"))

    def big(name, value, units):
        torch.save(value, path(name))
        out = []
        for n, d in records_of(name):
            if n.startswith("data/"):
                d = swap(d, units[int(n[5:])])
            out.append((n, b"big" if n == "byteorder" else d))
        torch_zip(name, out)

    big("byteorder_big.zip.pt", kinds, list(unit.values()))
    edited(
        "byteorder_big.zip.pt",
        "byteorder=big and every storage swapped: by element, complex by half",
        v=kinds,
    )
    newer = {
        "uint16": torch.arange(1, 4).to(torch.uint16),
        "uint64": torch.arange(1, 4).to(torch.uint64),
        "complex32": torch.tensor([1 + 2j]).to(torch.complex32),
        "float8_e5m2": torch.ones(3).to(torch.float8_e5m2),
    }
    big("byteorder_big_v3.zip.pt", newer, [2, 8, 2, 1])
    edited(
        "byteorder_big_v3.zip.pt",
        "byteorder=big with dtypes of _rebuild_tensor_v3: torch 2.13 does not swap them, as their storages are untyped, and loads wrong numbers; a reader should swap by the tensor's dtype",
        v=newer,
    )
