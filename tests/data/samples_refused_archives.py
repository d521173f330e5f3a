"""Damaged and ambiguous archives, for refuse/. Run by generate.py.

A careful reader gives a clear error for each: no crash, no code run, no allocation of the size that the file claims. With
`may_load`, loading it without harm is right as well.
"""

import io
import struct
import zipfile

from sample_files import dumps, path, read, record, records_of, sample, torch_zip, write


class Archive:
    """Positions in an archive written by torch: fields of the central directory and the end records."""

    def __init__(self, data):
        self.data, self.end = data, data.rfind(b"PK\5\6")
        self.locator, self.end64 = self.end - 20, self.end - 76
        self.cd, self.cd_size, count = (
            struct.unpack("<Q", data[self.end64 + 48 : self.end64 + 56])[0],
            struct.unpack("<Q", data[self.end64 + 40 : self.end64 + 48])[0],
            struct.unpack("<Q", data[self.end64 + 32 : self.end64 + 40])[0],
        )
        self.entry, at = {}, self.cd
        for _ in range(count):
            n, x = struct.unpack("<HH", data[at + 28 : at + 32])
            self.entry[data[at + 46 : at + 46 + n].decode().split("/", 1)[1]] = at
            at += 46 + n + x

    def local(self, name):
        return struct.unpack("<I", self.data[self.entry[name] + 42 : self.entry[name] + 46])[0]

    def put(self, at, fmt, *v):
        out = bytearray(self.data)
        struct.pack_into(fmt, out, at, *v)
        return bytes(out)


def bad_file(name, what, content, origin="edited", may_load=False):
    write("refuse/" + name, content)
    record("refuse/" + name, what, "refuse", origin, may_load=may_load)


@sample
def refused_archives():
    source = read("toy_state_dict.zip.pt")
    a, ok = Archive(source), dict(may_load=True)
    n = len(source)
    for what, at in (
        ("inside data.pkl", 300),
        ("at a quarter", n // 4),
        ("after the last storage", a.local("version")),
        ("inside the central directory", a.cd + a.cd_size // 2),
        ("before the zip64 end record", a.end64),
        ("before the end record", a.end),
        ("inside the end record", n - 5),
        ("by one byte", n - 1),
    ):
        bad_file("truncated_%d.zip.pt" % at, "cut " + what, source[:at])
    bad_file(
        "prefixed.zip.pt",
        "100 bytes before the archive: offsets do not fit, and the first bytes are no zip",
        b"\0" * 100 + source,
    )
    bad_file(
        "prefixed_zip.zip.pt",
        "an empty zip archive before the archive",
        b"PK\5\6" + b"\0" * 18 + source,
    )
    e, local = a.entry["data/1"], a.local("data/1")
    bad_file(
        "cd_signature.zip.pt",
        "one bit of a central directory signature",
        a.put(e, "<I", 0x02014B51),
    )
    bad_file("cd_method.zip.pt", "central directory: method 9", a.put(e + 10, "<H", 9))
    bad_file(
        "cd_method_deflate.zip.pt",
        "central directory: method 8 for stored bytes, which do not inflate: torch 2.13 hands out uninitialized memory without an error",
        a.put(e + 10, "<H", 8),
    )
    bad_file(
        "cd_encrypted.zip.pt", "central directory: flag 'encrypted'", a.put(e + 8, "<H", 0x0809)
    )
    bad_file(
        "cd_size_larger.zip.pt",
        "central directory: both sizes of data/1 are 4 bytes more",
        a.put(e + 20, "<II", 404, 404),
    )
    bad_file(
        "cd_size_smaller.zip.pt",
        "central directory: both sizes of data/1 are 4 bytes less",
        a.put(e + 20, "<II", 396, 396),
    )
    bad_file(
        "cd_sizes_differ.zip.pt",
        "central directory: stored, but the compressed size is half the other",
        a.put(e + 20, "<I", 200),
    )
    bad_file(
        "cd_size_huge.zip.pt",
        "central directory: both sizes are 3 GiB",
        a.put(e + 20, "<II", 3 << 30, 3 << 30),
    )
    bad_file(
        "cd_size_zip64_missing.zip.pt",
        "central directory: sizes 0xFFFFFFFF without a zip64 field",
        a.put(e + 20, "<II", 0xFFFFFFFF, 0xFFFFFFFF),
    )
    bad_file(
        "cd_offset.zip.pt",
        "central directory: the header offset of data/1 is off by one",
        a.put(e + 42, "<I", local + 1),
    )
    bad_file(
        "cd_offset_beyond.zip.pt",
        "central directory: the header offset of data/1 is beyond the file",
        a.put(e + 42, "<I", n + 1000),
    )
    bad_file(
        "cd_offset_of_other.zip.pt",
        "central directory: data/1 points to the header of data/0: two members share bytes, of another size",
        a.put(e + 42, "<I", a.local("data/0")),
    )
    bad_file(
        "cd_name_length.zip.pt",
        "central directory: a name of 60000 bytes",
        a.put(e + 28, "<H", 60000),
    )
    bad_file(
        "cd_name_zero.zip.pt", "central directory: a NUL in a name", a.put(e + 46 + 5, "<B", 0)
    )
    bad_file(
        "cd_disk.zip.pt", "central directory: data/1 starts on disk 3", a.put(e + 34, "<H", 3), **ok
    )
    bad_file(
        "local_signature.zip.pt",
        "one bit of a local header's signature",
        a.put(local, "<I", 0x04034B51),
    )
    bad_file(
        "local_name.zip.pt",
        "the local header of data/1 has another name: torch does not look",
        a.put(local + 30 + 20, "<B", ord("x")),
        **ok,
    )
    bad_file(
        "local_method.zip.pt",
        "the local header of data/1 says deflated: torch does not look",
        a.put(local + 8, "<H", 8),
        **ok,
    )
    bad_file(
        "local_extra_length.zip.pt",
        "the local header's extra field is 4 bytes longer than it was: the data starts 4 bytes later",
        a.put(local + 28, "<H", struct.unpack("<H", source[local + 28 : local + 30])[0] + 4),
        **ok,
    )
    bad_file(
        "local_extra_beyond.zip.pt",
        "the local header's extra field is 65535 bytes: beyond the file",
        a.put(local + 28, "<H", 65535),
    )
    bad_file(
        "end_count_more.zip.pt",
        "zip64 end record: one entry more than there is",
        a.put(a.end64 + 24, "<QQ", 11, 11),
    )
    bad_file(
        "end_count_fewer.zip.pt",
        "zip64 end record: one entry fewer: the rest of the directory is not read",
        a.put(a.end64 + 24, "<QQ", 7, 7),
        **ok,
    )
    bad_file(
        "end_count_huge.zip.pt",
        "zip64 end record: 2^60 entries",
        a.put(a.end64 + 24, "<QQ", 2**60, 2**60),
    )
    bad_file(
        "end_offset_beyond.zip.pt",
        "zip64 end record: the central directory is beyond the file",
        a.put(a.end64 + 48, "<Q", 2**50),
    )
    bad_file(
        "end_offset_wraps.zip.pt",
        "zip64 end record: offset + size of the central directory wraps",
        a.put(a.end64 + 40, "<QQ", 2**64 - 64, 128),
    )
    bad_file(
        "end_size_zero.zip.pt",
        "zip64 end record: a central directory of no bytes",
        a.put(a.end64 + 40, "<Q", 0),
    )
    bad_file(
        "end_differs.zip.pt",
        "the end record and the zip64 end record give two places for the central directory",
        a.put(a.end + 16, "<I", 100),
        **ok,
    )
    bad_file(
        "end_disk.zip.pt",
        "end record: disk 1 of 2, which the zip64 end record contradicts",
        a.put(a.end + 4, "<HH", 1, 1),
        **ok,
    )
    bad_file(
        "locator_beyond.zip.pt",
        "zip64 locator: the end record is beyond the file",
        a.put(a.locator + 8, "<Q", 2**50),
        **ok,
    )
    bad_file(
        "locator_wrong.zip.pt",
        "zip64 locator: the end record is at byte 0, where there is none",
        a.put(a.locator + 8, "<Q", 0),
        **ok,
    )
    records = records_of("toy_state_dict.zip.pt")
    torch_zip("refuse/zip64_short.zip.pt", records, force_zip64=True)
    z = read("refuse/zip64_short.zip.pt")
    b = Archive(z)
    extra = b.entry["data/1"] + 46 + len("zip64_short.zip/data/1")
    bad_file(
        "zip64_short.zip.pt",
        "a zip64 field of 8 bytes where three numbers are due",
        b.put(extra + 2, "<H", 8),
        "synthetic",
    )
    bad_file(
        "zip64_offset_wraps.zip.pt",
        "a zip64 field with a header offset of 2^64 - 30",
        b.put(extra + 20, "<Q", 2**64 - 30),
        "synthetic",
    )
    bad_file(
        "zip64_size_wraps.zip.pt",
        "a zip64 field with sizes of 2^64 - 1",
        b.put(extra + 4, "<QQ", 2**64 - 1, 2**64 - 1),
        "synthetic",
    )

    def laid(name, what, entries, root=None, **more):
        torch_zip("refuse/" + name, entries, root=root)
        bad_file(name, what, read("refuse/" + name), "synthetic", **more)

    zeros = [(k, bytes(len(v)) if k == "data/1" else v) for k, v in records]
    laid(
        "duplicate_storage.zip.pt",
        "two members data/1: zeros first, then the real one",
        records[:5] + [zeros[5]] + records[5:],
    )
    laid(
        "duplicate_pickle.zip.pt",
        "two members data.pkl: a dict without tensors, then the real one",
        [("data.pkl", dumps({"other": 1}))] + records,
    )
    laid(
        "duplicate_by_case.zip.pt",
        "DATA.PKL, then data.pkl: torch's lookup ignores case",
        [("DATA.PKL", dumps({"other": 1}))] + records,
    )
    laid(
        "path_upwards.zip.pt",
        "root '..': member names that lead out of a folder when unpacked; to be read in place it is harmless",
        records,
        root="..",
        **ok,
    )
    laid("version_missing.zip.pt", "no version record", [r for r in records if r[0] != "version"])
    laid(
        "version_text.zip.pt",
        "version is 'three'",
        [(k, b"three\n" if k == "version" else v) for k, v in records],
    )
    laid(
        "version_0.zip.pt", "version 0", [(k, b"0\n" if k == "version" else v) for k, v in records]
    )
    laid(
        "version_11.zip.pt",
        "version 11; 10 is the newest known",
        [(k, b"11\n" if k == "version" else v) for k, v in records],
    )
    laid(
        "byteorder_middle.zip.pt",
        "byteorder is neither little nor big",
        [(k, b"middle" if k == "byteorder" else v) for k, v in records],
    )
    laid(
        "byteorder_newline.zip.pt",
        "byteorder is 'little' and a newline",
        [(k, b"little\n" if k == "byteorder" else v) for k, v in records],
    )
    laid(
        "alignment_text.zip.pt",
        ".storage_alignment is not a number: of use to nobody but calculate_storage_offsets, yet torch parses it always",
        [(k, b"many" if k == ".storage_alignment" else v) for k, v in records],
        **ok,
    )
    laid("pickle_missing.zip.pt", "no data.pkl", records[1:])
    laid("pickle_empty.zip.pt", "data.pkl of no bytes", [("data.pkl", b"")] + records[1:])
    laid("storage_missing.zip.pt", "no data/2", [r for r in records if r[0] != "data/2"])
    with zipfile.ZipFile(path("refuse/no_folder.zip.pt"), "w") as out:
        for k, v in records:
            out.writestr(k, v)
    bad_file("no_folder.zip.pt", "members without a root folder", read("refuse/no_folder.zip.pt"))
    with zipfile.ZipFile(path("refuse/empty_archive.zip.pt"), "w"):
        pass
    bad_file(
        "empty_archive.zip.pt", "a zip archive without members", read("refuse/empty_archive.zip.pt")
    )

    def deflated(size):
        f = io.BytesIO()
        with zipfile.ZipFile(f, "w", zipfile.ZIP_DEFLATED) as out:
            for k, v in records:
                out.writestr("r/" + k, v if k != "data/1" else bytes(400))
        data = bytearray(f.getvalue())
        at = data.find(b"r/data/1", data.find(b"PK\1\2")) - 46
        struct.pack_into("<I", data, at + 24, size)
        return bytes(data)

    bad_file(
        "deflate_longer.zip.pt",
        "a deflated member that inflates to more than its size says",
        deflated(100),
    )
    bad_file(
        "deflate_shorter.zip.pt",
        "a deflated member that inflates to less than its size says",
        deflated(404),
    )
    bad_file(
        "deflate_bomb.zip.pt",
        "a deflated member of a few bytes that claims 3 GiB",
        deflated(3 << 30),
    )
    data = bytearray(read("deflated.zip.pt"))
    at = data.find(b"r/data/1") + 8
    data[at : at + 8] = b"\xff" * 8
    bad_file(
        "deflate_damaged.zip.pt",
        "a deflated member whose bytes are damaged: torch 2.13 hands out uninitialized memory without an error",
        bytes(data),
    )
