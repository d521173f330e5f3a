"""Checkpoints that come from file objects and from memory."""
import bz2
import gzip
import io
import lzma
import os
import tempfile
import threading
import zipfile

import pytest
import torch

import transload

STATE = {"w": torch.arange(1000.0), "b": torch.ones(3)}


@pytest.fixture(params=["pt", "safetensors"])
def path(request, tmp_path):
    transload.save(STATE, tmp_path / f"m.{request.param}")
    return tmp_path / f"m.{request.param}"


def same(there, found):
    assert there.keys() == found.keys() and all(torch.equal(there[key], found[key]) for key in there)


class OnlyRead:
    """seek() that returns nothing, read() that returns little at a time, and no more."""

    def __init__(self, data, most=100):
        self.inner, self.most = io.BytesIO(data), most

    def seek(self, offset, whence=0):
        self.inner.seek(offset, whence)

    def tell(self):
        return self.inner.tell()

    def read(self, size=-1):
        return self.inner.read(min(size, self.most) if size >= 0 else -1)


class OnlyReadinto:
    def __init__(self, data):
        self.inner = io.BytesIO(data)
        self.seek, self.tell, self.readinto = self.inner.seek, self.inner.tell, self.inner.readinto


def check(file):
    start = file.tell()
    same(STATE, transload.load(file))
    assert file.tell() == start
    live = {key: torch.zeros_like(value) for key, value in STATE.items()}
    transload.load_into(live, file)
    same(STATE, live)
    assert file.tell() == start
    index = transload.open(file)
    assert torch.equal(index["w"], STATE["w"]) and index.tensors["w"][10:12].tolist() == [10, 11]
    assert torch.equal(index.load()["b"], STATE["b"])


@pytest.mark.parametrize("module", [gzip, bz2, lzma], ids=lambda m: m.__name__)
def test_objects_that_decompress(path, tmp_path, module):
    with module.open(tmp_path / "packed", "wb") as file:
        file.write(path.read_bytes())
    with module.open(tmp_path / "packed") as file:
        check(file)


def test_a_member_of_a_zip(path, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "m")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive, archive.open("m") as file:
        check(file)


def test_files_on_disk_by_any_object(path):
    with open(path, "rb") as file:
        check(file)
    with open(path, "rb", buffering=0) as file:
        check(file)
    with open(path, "r+b") as file:
        check(file)
    with tempfile.NamedTemporaryFile() as file:
        file.write(path.read_bytes())  # not flushed
        file.seek(0)
        check(file)


def test_objects_of_the_users(path):
    check(OnlyRead(path.read_bytes()))
    check(OnlyReadinto(path.read_bytes()))


def test_a_model_behind_other_bytes(path, tmp_path):
    (tmp_path / "behind").write_bytes(b"x" * 100 + path.read_bytes())
    data = (tmp_path / "behind").read_bytes()
    for opened in (open(tmp_path / "behind", "rb"), io.BytesIO(data), OnlyRead(data), OnlyReadinto(data)):
        opened.seek(100)
        check(opened)
        opened.seek(0)
        with pytest.raises(transload.FormatError):
            transload.load(opened)


def test_an_object_at_its_end_is_read_from_its_beginning(path):
    file = io.BytesIO(path.read_bytes())
    file.seek(0, os.SEEK_END)
    check(file)
    file.seek(5)
    check(file)


def test_a_damaged_archive_behind_other_bytes_is_not_read_from_the_beginning(tmp_path):
    transload.save(STATE, tmp_path / "m.pt")
    data = (tmp_path / "m.pt").read_bytes()
    file = io.BytesIO(data + data[:-50])
    file.seek(len(data))
    with pytest.raises(transload.FormatError):
        transload.load(file)
    assert file.tell() == len(data)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_in_memory(path, kind):
    data = kind(path.read_bytes())
    same(STATE, transload.load(data))
    live = {key: torch.zeros_like(value) for key, value in STATE.items()}
    transload.load_into(live, data)
    same(STATE, live)
    assert transload.open(data).path == f"<{kind.__name__}>"


def test_memory_is_borrowed_as_long_as_it_is_read(path):
    file = io.BytesIO(path.read_bytes())
    loaded = transload.load(file)
    file.truncate(0)  # it is given back
    same(STATE, loaded)
    file = io.BytesIO(path.read_bytes())
    index = transload.open(file)
    with pytest.raises(BufferError):
        file.truncate(0)
    index.close()
    file.truncate(0)


def test_what_an_object_raises_comes_out(path):
    class Failing(OnlyRead):
        def read(self, size=-1):
            if self.tell() > 1000:
                raise ZeroDivisionError("mine")
            return super().read(size)

    class Short(OnlyRead):
        def read(self, size=-1):
            return super().read(size) if self.tell() < 1000 or size < 1000 else b""

    class Text(OnlyRead):
        def read(self, size=-1):
            return "text"

    class Greedy(OnlyRead):
        def read(self, size=-1):
            return super().read(-1) + b"more"

    with pytest.raises(ZeroDivisionError, match="mine"):
        transload.load(Failing(path.read_bytes()))
    with pytest.raises(transload.IoError, match="<Short>: offset [0-9]+: expected [0-9]+ more bytes"):
        transload.load(Short(path.read_bytes()))
    with pytest.raises(TypeError, match="<Text>: read.. did not return bytes"):
        transload.load(Text(path.read_bytes()))
    with pytest.raises(transload.IoError, match="at most"):
        transload.load(Greedy(path.read_bytes()))


def test_objects_that_are_none(path, tmp_path):
    with open(tmp_path / "t", "w+") as file, pytest.raises(TypeError, match='open\\(path, "rb"\\)'):
        transload.load(file)
    for wrong in (3, None, iter([b""])):
        with pytest.raises(TypeError, match="a path, bytes, or a binary file object"):
            transload.load(wrong)
    with pytest.raises(transload.Error, match="(?s)on disk"):
        transload.load(io.BytesIO(path.read_bytes()), mmap=True)


def test_errors_name_the_object(tmp_path):
    (tmp_path / "bad").write_bytes(b"nonsense that is long enough")
    with open(tmp_path / "bad", "rb") as file, pytest.raises(transload.FormatError, match=str(tmp_path / "bad")):
        transload.load(file)
    with pytest.raises(transload.FormatError, match="<BytesIO>"):
        transload.load(io.BytesIO(b"nonsense that is long enough"))


def test_one_object_serves_several_threads(path):
    index = transload.open(OnlyRead(path.read_bytes(), 1 << 20))
    failures = []

    def work(start):
        try:
            for i in range(30):
                assert index.tensors["w"][start + i : start + i + 2].tolist() == [start + i, start + i + 1]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(100 * i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures and not any(thread.is_alive() for thread in threads)


def test_errors_of_the_system_are_pythons_too(tmp_path):
    missing = tmp_path / "none.pt"
    for call in (transload.load, transload.open, lambda path: transload.load_into({}, path)):
        with pytest.raises(FileNotFoundError, match="none.pt") as raised:
            call(missing)
        error = raised.value
        assert isinstance(error, transload.IoError) and error.errno == 2 and error.filename == str(missing)
        assert error.strerror == "No such file or directory" and "[Errno" not in str(error)
    with pytest.raises(FileNotFoundError) as raised:
        transload.save({}, tmp_path / "no/x.pt")
    assert raised.value.filename == str(tmp_path / "no/x.pt")
