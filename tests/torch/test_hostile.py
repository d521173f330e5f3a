"""What would run code where it is unpickled: scan names it, open refuses it, and nothing of it ever runs."""
import datetime
import io
import json
import pickle
import resource
import struct
import subprocess
import tarfile
import typing
import zipfile

import numpy as np
import pytest
import torch
from conftest import PROGRAM

PLAIN = b"ctorch\nSize\n"


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def glob(module, name):
    return f"c{module}\n{name}\n".encode()


def stack_glob(module, name):
    return text(module) + text(name) + b"\x93"


def called(callable_, *arguments):
    return callable_ + b"(" + b"".join(map(text, arguments)) + b"tR"


# Names that attacks call: Python's own, and those of packages which load or run what they are given.
NAMES = """
os.system os.popen os.execv os.spawnl os.remove os.putenv posix.system posix.popen nt.system subprocess.Popen subprocess.run
subprocess.check_output subprocess.getoutput builtins.eval builtins.exec builtins.compile builtins.getattr builtins.setattr
builtins.open builtins.__import__ builtins.apply builtins.map builtins.globals builtins.breakpoint __builtin__.eval
__builtin__.execfile __builtin__.getattr __builtin__.apply importlib.import_module runpy.run_path runpy._run_code shutil.rmtree
socket.create_connection ctypes.CDLL functools.partial functools.reduce operator.attrgetter operator.methodcaller
operator.itemgetter code.InteractiveInterpreter pickle.loads pickle._loads cPickle.loads _pickle.loads marshal.loads
types.FunctionType types.CodeType webbrowser.open timeit.timeit cProfile.run profile.run pdb.run bdb.Bdb doctest.debug_script
pty.spawn commands.getoutput asyncio.create_subprocess_shell multiprocessing.Process threading.Timer signal.signal sys.exit
sys.settrace atexit.register tempfile.mktemp urllib.request.urlopen http.client.HTTPSConnection smtplib.SMTP ftplib.FTP
zipfile.ZipFile tarfile.open sqlite3.connect logging.config.listen logging.config.dictConfig pip.main pydoc.pipepager
lib2to3.pgen2.pgen.ParserGenerator idlelib.run.Executive ensurepip._run_pip venv.create torch.load torch.hub.load
torch.storage._load_from_bytes torch.utils.cpp_extension.load_inline torch.jit.load torch.save torch._dynamo.optimize
torch.distributed.rpc.rpc_sync torch.utils._config_module.load_config numpy.load numpy.testing._private.utils.runstring
numpy.f2py.crackfortran.myeval my_package.run_it weird.module.func
""".split()
SPLIT = [name.rsplit(".", 1) for name in NAMES]

# Ways around scanners: what is called, and the pickle, which leaves one value.
WAYS = {
    "reduce": ("os.system", b"\x80\x02" + called(glob("os", "system"), "true")),
    "protocol 0": ("os.system", b"cos\nsystem\n(S'true'\ntR"),
    "inst": ("os.system", b"(S'true'\nios\nsystem\n"),
    "obj": ("os.system", b"(" + glob("os", "system") + text("true") + b"o"),
    "newobj": ("subprocess.Popen", b"\x80\x02" + glob("subprocess", "Popen") + b"(" + text("true") + b"t\x81"),
    "newobj_ex": ("subprocess.Popen", b"\x80\x04" + glob("subprocess", "Popen") + b")}\x92"),
    "build": ("functools.partial", b"\x80\x02" + glob("functools", "partial") + b")\x81}b"),
    "stack_global": ("os.system", b"\x80\x04" + called(stack_glob("os", "system"), "true")),
    "stack_global of a memo": ("os.system", b"\x80\x04" + text("os") + b"q\x01" + text("system") + b"q\x0200h\x01h\x02\x93" +
                               b"(" + text("true") + b"tR"),
    "stack_global of text lines": ("os.system", b"\x80\x04Vos\nVsystem\n\x93(" + text("true") + b"tR"),
    "stack_global of a quoted text": ("os.system", b"\x80\x04S'os'\nS'system'\n\x93(" + text("true") + b"tR"),
    "stack_global of short texts": ("os.system", b"\x80\x04\x8c\x02os\x8c\x06system\x93(" + text("true") + b"tR"),
    "stack_global of memo by text": ("os.system", b"Vos\np7\n0Vsystem\np8\n0g7\ng8\n\x93(tR"),
    "a name made by a call": ("a name that is made while loading",
                              b"\x80\x04" + called(glob("_codecs", "encode"), "os", "latin1") + text("system") + b"\x93)R"),
    "the global in the memo": ("os.system", b"\x80\x02" + glob("os", "system") + b"q\x050h\x05(" + text("true") + b"tR"),
    "memoize": ("os.system", b"\x80\x04" + glob("os", "system") + b"\x940h\x00(" + text("true") + b"tR"),
    "getattr of a harmless name": ("torch.Size.__class__", b"\x80\x02" + glob("__builtin__", "getattr") + b"(" + PLAIN +
                                   text("__class__") + b"tR"),
    "a dotted name": ("torch.Size.mro", b"\x80\x02ctorch\nSize.mro\n)R"),
    "a result is called": ("torch.Size()", b"\x80\x02" + PLAIN + b")R)R"),
    "thrown away": ("os.system", b"\x80\x02" + called(glob("os", "system"), "true") + b"0N"),
    "thrown away with a mark": ("os.system", b"\x80\x02(" + called(glob("os", "system"), "true") + b"1N"),
    "as a key": ("os.system", b"\x80\x02}" + called(glob("os", "system"), "true") + b"Ns"),
    "deep in containers": ("os.system", b"\x80\x02" + b"(" * 500 + called(glob("os", "system"), "true") + b"l" * 500),
    "in a set": ("os.system", b"\x80\x04\x8f(" + called(glob("os", "system"), "true") + b"\x90"),
    "in a persistent id": ("os.system", b"\x80\x02" + called(glob("os", "system"), "true") + b"Q"),
    "as the state": ("os.system", b"\x80\x02" + glob("collections", "OrderedDict") + b")R" + called(glob("os", "system"), "true") + b"b"),
    "extension": ("extension 7", b"\x80\x02\x82\x07"),
    "extension of four bytes": ("extension 70000", b"\x80\x02\x84" + struct.pack("<I", 70000)),
    "mentioned": ("os.system", b"\x80\x02" + glob("os", "system")),
    "subclass": ("os.system", b"\x80\x02" + glob("torch._tensor", "_rebuild_from_type_v2") + b"(" + glob("os", "system") +
                 glob("torch", "Tensor") + b"(" + text("true") + b"t}tR"),
    "under another module": ("os.path.os.system", b"\x80\x04" + called(stack_glob("os.path", "os.system"), "true")),
    "a blank in the name": ("os.system ", b"\x80\x02cos\nsystem \n)R"),
    "in a frame": ("os.system", b"\x80\x04\x95" + struct.pack("<Q", 40) + called(glob("os", "system"), "true")),
    "in a wrong frame": ("os.system", b"\x80\x04\x95" + struct.pack("<Q", 2**62) + called(glob("os", "system"), "true")),
    "a text line with escapes": ("a name that is made while loading", b"\x80\x04V\\u0073ubprocess\nVPopen\n\x93)R"),
    "a quoted text with escapes": ("a name that is made while loading", b"\x80\x04S'\\x73ubprocess'\nS'Popen'\n\x93)R"),
    "memo numbers that are written oddly": ("a memo entry with an odd number", b"\x80\x04Vcollections\np1\n0VCounter\np2\n0" +
                                            text("subprocess") + b"p+1\n0" + text("Popen") + b"p0_2\n0h\x01h\x02\x93)R"),
    "a memo that is overwritten": ("subprocess.Popen", b"\x80\x04" + text("collections") + b"q\x01\x940" + text("subprocess") +
                                   b"q\x010" + text("Popen") + b"q\x000h\x01h\x00\x93)R"),
    "a name of Python 2": ("SocketServer.TCPServer", b"\x80\x02" + called(glob("SocketServer", "TCPServer"), "x")),
    "a module behind a module": ("_sqlite3.Connection", b"\x80\x02" + called(glob("_sqlite3", "Connection"), "x")),
    "a class of torch that writes": ("torch._C.PyTorchFileWriter", b"\x80\x02" + called(glob("torch._C", "PyTorchFileWriter"), "x")),
    "a class of torch that connects": ("torch.distributed.TCPStore", b"\x80\x02" + called(glob("torch.distributed", "TCPStore"), "x")),
    "through a module of others": ("my_package.os.Popen", b"\x80\x04" + called(stack_glob("my_package", "os.Popen"), "x")),
    "what torch calls for it": ("my_package.run_it", b"\x80\x02" + glob("torch._tensor", "_rebuild_from_type_v2") + b"(" +
                                glob("my_package", "run_it") + glob("torch", "Tensor") + b"(" + text("x") + b"t}tR"),
    "what numpy calls for it": ("my_package.run_it", b"\x80\x02" + glob("numpy.random._pickle", "__generator_ctor") + b"(" +
                                text("x") + glob("my_package", "run_it") + b"tR"),
    "what torch calls for what it calls": ("sympy.sympify", b"\x80\x02" + glob("torch._tensor", "_rebuild_from_type_v2") + b"(" +
                                           glob("torch._tensor", "_rebuild_from_type_v2") + PLAIN + b"(" + glob("sympy", "sympify") +
                                           PLAIN + b"(" + text("x") + b"t}t}tR"),
    "arguments made by a call": ("a value that is not a name", b"\x80\x02" + glob("torch._tensor", "_rebuild_from_type_v2") +
                                 glob("builtins", "tuple") + b"(" + glob("torch", "Tensor") + b"l\x85RR"),
    "what a list's append is": ("my_package.run_it", b"\x80\x02" + glob("argparse", "Namespace") + b")R}" + text("append") +
                                glob("my_package", "run_it") + b"sb" + text("x") + b"a"),
    "a function that is made": ("torch.fx._symbolic_trace.FunctionType", b"\x80\x02" +
                                glob("torch.fx._symbolic_trace", "FunctionType") + b")\x81"),
    "what another module imports": ("my_package.tests.Popen", b"\x80\x02" + called(glob("my_package.tests", "Popen"), "x")),
    "what comes with torch": ("sympy.S", b"\x80\x02" + called(glob("sympy", "S"), "x")),
    "modules in a module of functions": ("torch.nn.functional.importlib", b"\x80\x02" + glob("torch.nn.functional", "importlib")),
    "getattr of what was made": ("__builtin__.getattr", b"\x80\x02" + glob("__builtin__", "getattr") + b"(" + PLAIN + b")R" +
                                 text("x") + b"tR"),
    "an attribute that is called": ("my.Class.RUN()", b"\x80\x02" + glob("__builtin__", "getattr") + b"(" + glob("my", "Class") +
                                    text("RUN") + b"tR)R"),
    "a class of torch that another makes": ("torch._C.PyTorchFileWriter", b"\x80\x02" + glob("copyreg", "_reconstructor") + b"(" +
                                            glob("torch._C", "PyTorchFileWriter") * 2 + text("x") + b"tR"),
    "a class of torch as an attribute": ("torch._C.PyTorchFileWriter", b"\x80\x02" + glob("argparse", "Namespace") + b")R}" +
                                         text("__setstate__") + glob("torch._C", "PyTorchFileWriter") + b"sb" + text("x") + b"b"),
    "a program among the modules of models": ("torch.nn.modules.module.GraphModule", b"\x80\x02" +
                                              called(glob("torch.nn.modules.module", "GraphModule"), "x")),
    "what gives what it is given": ("torch.jit._pickle.restore_type_tag", b"\x80\x02" + glob("torch.jit._pickle", "restore_type_tag") +
                                    b"(" + glob("torch.nn.modules.linear", "Linear") + text("x") + b"tRN}" + text("a") + b"Ns\x86b"),
    "a class that is looked up, changed": ("what was looked up, itself", b"\x80\x02" + text("x") + b"QN}" + text("a") + b"Ns\x86b"),
    "a class of the old stream": ("torch._C.PyTorchFileWriter", b"\x80\x02(" + text("module") + glob("torch._C", "PyTorchFileWriter") +
                                  b"NNtQ" + b"(" + text("x") + b"tR"),
    "a class is changed": ("torch.nn.Module itself", b"\x80\x02" + glob("torch.nn", "Module") + b"N}" + text("forward") + b"Ns\x86b"),
    "a second protocol": ("os.system", b"\x80\x02N0\x80\x05" + called(glob("os", "system"), "true")),
}
# After these a loader fails, but what comes before has run.
BROKEN = {
    "no stop": WAYS["reduce"][1],
    "an opcode that is none": WAYS["reduce"][1] + b"\xff",
    "an empty stack": WAYS["reduce"][1] + b"000R",
    "a text that is too long": WAYS["reduce"][1] + b"X\xff\xff\xff\x7f",
    "a number that is none": WAYS["reduce"][1] + b"Iabc\n",
    "a line that does not end": WAYS["reduce"][1] + b"cabc",
    "a huge frame": WAYS["reduce"][1] + b"\x95\x00",
    "a memo that is not there": WAYS["reduce"][1] + b"h\x63.",
}


def model(path, pickled, members=()):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in [("m/data.pkl", pickled), ("m/version", b"3\n"), *members]:
            archive.writestr(name, data)
    return path


def scanned(*paths):
    done = subprocess.run([PROGRAM, "scan", "--json", *paths], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    counted = [f for f in found if f["format"] != "unknown" or f["file"] in map(str, paths)]
    assert done.returncode == int(any(f["dangerous"] or f["broken"] for f in counted))
    return found


def dangerous_names(found):
    return {use["name"] for use in found["uses"] if use["verdict"] == "would run code"}


def refused(path):
    done = subprocess.run([PROGRAM, "load", path, "--map-location", "cpu"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    return done.stderr


def test_every_name_is_told_and_refused(tmp_path):
    assert len(NAMES) >= 80
    for module, name in SPLIT:
        path = model(tmp_path / "m.pt", b"\x80\x02" + called(glob(module, name), "x") + b".")
        [found] = scanned(path)
        assert f"{module}.{name}" in dangerous_names(found), found
        if module.split(".")[0] in ("my_package", "weird"):  # a function of the user's: kept as an inert object
            continue
        assert f" {module}.{name}, which is not plain data" in refused(path)


@pytest.mark.parametrize("way", WAYS)
def test_no_way_around_is_a_way_around(tmp_path, way):
    name, pickled = WAYS[way]
    for path in model(tmp_path / "m.pt", pickled + b"."), tmp_path / "bare.pkl":
        if path.suffix == ".pkl":
            path.write_bytes(pickled + b".")
        [found] = scanned(path)
        assert found["dangerous"] and name in dangerous_names(found), found


@pytest.mark.parametrize("way", BROKEN)
def test_what_breaks_later_has_run_before(tmp_path, way):
    [found] = scanned(model(tmp_path / "m.pt", BROKEN[way]))
    assert "os.system" in dangerous_names(found)
    bare = tmp_path / "bare.pkl"
    bare.write_bytes(BROKEN[way])
    assert "os.system" in dangerous_names(scanned(bare)[0])
    assert refused(tmp_path / "m.pt")


def test_every_pickle_of_a_stream_is_looked_at(tmp_path):
    """PyTorch unpickles five, whatever protocol each is of; before 0.1.10 those in a tar."""
    magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
    path = tmp_path / "m.pt"
    other_magic = b"L119547037146038801333356L\n.I1001\n.(dV\nNs."
    escaped = b"V\\u006fs\nVsystem\n\x93(Vtrue\ntR"
    for content in magic + escaped + b"\xff", magic + escaped + b".", escaped + b"\xff":
        path.write_bytes(content)
        assert "a name that is made while loading" in dangerous_names(scanned(path)[0])
    for content in (magic + WAYS["protocol 0"][1] + b".", magic + b"N.N.N." + WAYS["reduce"][1] + b".",
                    b"N." + WAYS["protocol 0"][1] + b".", other_magic + WAYS["protocol 0"][1] + b"."):
        path.write_bytes(content)
        assert "os.system" in dangerous_names(scanned(path)[0])
    with tarfile.open(path, "w") as tar:
        for name, data in ("sys_info", pickle.dumps({}, 2)), ("pickle", pickle.dumps(0, 2) + WAYS["protocol 0"][1] + b"."):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    [found] = scanned(path)
    assert found["format"] == "tar" and found["broken"] and "os.system" in dangerous_names(found)


def test_tars_are_known_however_their_sums_are_written(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("./"))
        member = tarfile.TarInfo("pickle")
        member.size = len(WAYS["protocol 0"][1]) + 1
        tar.addfile(member, io.BytesIO(WAYS["protocol 0"][1] + b"."))
    data = bytearray(buffer.getvalue())
    total = sum(data[:148]) + sum(data[156:512]) + 8 * 32
    for field in b"%06o\0 " % total, b"+%06o\0" % total, b"\x80" + total.to_bytes(7, "big"):
        data[148:156] = field
        (tmp_path / "m.pt").write_bytes(data)
        assert "os.system" in dangerous_names(scanned(tmp_path / "m.pt")[0])


def test_a_file_of_another_format_that_is_a_pickle_too(tmp_path):
    """The length of the header is the opcode of a text, which ends where the header does."""
    magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
    for code in b"0" + WAYS["protocol 0"][1] + b".", b"0" + magic + WAYS["protocol 0"][1] + b".":
        is_a_pickle_too(tmp_path / "m.safetensors", code)


def is_a_pickle_too(path, code):
    entry = b'{"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(code), len(code))
    nbytes = ord("V") + 256
    path.write_bytes(struct.pack("<Q", nbytes) + entry.ljust(nbytes - 1) + b"\n" + code)
    [found] = scanned(path)
    assert found["format"] == "safetensors" and "os.system" in dangerous_names(found)


def test_archives_are_looked_into(tmp_path):
    bad, good = WAYS["reduce"][1] + b".", tmp_path / "good.pt"
    torch.save({"a": torch.ones(2)}, good)
    hostile = model(tmp_path / "hostile.pt", bad).read_bytes()
    array = io.BytesIO()
    np.save(array, np.array([1]))
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n"
    npy = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bad
    for name, data in {"an archive": hostile, "an array": npy, "protocol 0": WAYS["protocol 0"][1] + b".", "a pickle": bad}.items():
        for method in zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED:
            with zipfile.ZipFile(good, "a", method) as archive:
                archive.writestr(f"good/{name} {method}", data)
        [found] = scanned(good)
        assert "os.system" in dangerous_names(found), name
        torch.save({"a": torch.ones(2)}, good)
    (tmp_path / "a.npy").write_bytes(npy)
    (tmp_path / "b.npy").write_bytes(array.getvalue())
    bad_array, good_array = scanned(tmp_path / "a.npy", tmp_path / "b.npy")
    assert "os.system" in dangerous_names(bad_array) and good_array["verdict"] == "plain"
    for written in rb"'|\x4f'", b"'object'":
        (tmp_path / "a.npy").write_bytes(npy.replace(b"'|O'", written).replace(npy[8:10], struct.pack("<H", len(header) + len(written) - 4)))
        assert "os.system" in dangerous_names(scanned(tmp_path / "a.npy")[0])
    # One archive after the other, as torch.distributed.checkpoint writes them, and a pickle between.
    sound = good.read_bytes()
    for content, is_bad in (sound * 3, False), (sound + hostile + sound, True), (sound + bad + sound, True):
        (tmp_path / "x.distcp").write_bytes(content)
        [found] = scanned(tmp_path / "x.distcp")
        assert found["format"] == "archives" and is_bad == ("os.system" in dangerous_names(found)), found
    # What is code without a pickle, and what no reader here knows.
    for member, verdict in ("m/x.py", "would run code, broken"), ("m/x.so", "would run code, broken"), ("m/x.txt", "broken"):
        with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
            archive.writestr(member, b"x = 1")
        assert scanned(tmp_path / "m.zip")[0]["verdict"] == verdict


def test_an_index_of_shards_is_its_shards(tmp_path):
    model(tmp_path / "evil.bin", WAYS["reduce"][1] + b".")
    path = tmp_path / "pytorch_model.bin.index.json"
    path.write_text('{"metadata": {}, "weight_map": {"a": "evil.bin"}}')
    [found] = scanned(path)
    assert found["broken"] and found["dangerous"] and dangerous_names(found) == {"os.system"}
    assert {use["member"] for use in found["uses"]} == {"evil.bin/m/data.pkl"}
    model(tmp_path / "evil.bin", b"\x80\x02}" + text("a") + glob("my", "Class") + b")Rs.")
    path.write_text('{"metadata": {}, "weight_map": {}}')
    shard, index = sorted(scanned(tmp_path), key=lambda found: found["file"])
    assert (shard["verdict"], index["verdict"]) == ("needs classes", "broken")


def test_a_file_that_cannot_be_read_does_not_hide_the_next(tmp_path):
    model(tmp_path / "evil.pt", WAYS["reduce"][1] + b".")
    missing, found = scanned(tmp_path / "missing.pt", tmp_path / "evil.pt")
    assert missing["broken"] and missing["verdict"] == "broken" and found["dangerous"]


def test_prose_in_a_folder_is_not_in_the_way(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "m.pt")
    for name, content in {"README.md": "import os\nsystem\n", "config.json": "{}", "c.txt": "cost\nof it", "empty": ""}.items():
        (tmp_path / name).write_text(content)
    done = subprocess.run([PROGRAM, "scan", tmp_path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.count("no model") == 4, done.stdout
    assert subprocess.run([PROGRAM, "scan", tmp_path / "empty"], capture_output=True, timeout=60).returncode == 1


def test_what_is_no_pickle_is_not_called_one(tmp_path):
    for content in b"\x89PNG\r\n\x1a\n" + bytes(100), b"all: build\n", b"(dp0\nS'abc":
        (tmp_path / "x").write_bytes(content)
        [found] = scanned(tmp_path / "x")
        assert found["format"] == "unknown" and found["broken"] and not found["uses"]


def test_classes_of_others_may_be_called_as_some_of_pytorch(tmp_path):
    for name in "Node", "Graph", "Library", "Tracer", "Interpreter":
        path = model(tmp_path / "m.pt", b"\x80\x02" + glob("my_package.trees", name) + b")\x81}b.")
        [found] = scanned(path)
        assert found["verdict"] == "needs classes", found
        assert subprocess.run([PROGRAM, "load", path], capture_output=True, timeout=60).returncode == 0
        [found] = scanned(model(path, b"\x80\x02" + glob("torch.nn.modules.module", name) + b")\x81}b."))
        assert found["dangerous"], found


def test_models_that_hold_functions_need_classes(tmp_path):
    """A layer holds its activation: that is no call."""
    torch.save(torch.nn.TransformerEncoderLayer(8, 2), tmp_path / "m.pt")
    amp = torch.amp.GradScaler("cpu")
    scheduler = torch.optim.swa_utils.SWALR(torch.optim.SGD([torch.ones(1)], lr=1.0), 0.1)
    ordinary = {"lazy": torch.nn.LazyLinear(3), "amp": amp, "scheduler": scheduler, "rng": np.random.default_rng(0), "any": typing.Any,
                "init": torch.nn.init.xavier_uniform_, "records": np.rec.array([(1, 2.0)], names="a,b"), "tanh": torch.tanh}
    for name, value in ordinary.items():
        torch.save(value, tmp_path / "o.pt")
        [found] = scanned(tmp_path / "o.pt")
        assert not found["dangerous"] and not found["broken"], (name, found)
        assert subprocess.run([PROGRAM, "load", tmp_path / "o.pt"], capture_output=True, timeout=60).returncode == 0, name
    torch.save({"dtype": np.float32, "max": torch.ones(2, 2).max(0), "at": datetime.timezone.utc}, tmp_path / "n.pt")
    layer, values = scanned(tmp_path / "m.pt", tmp_path / "n.pt")
    assert layer["verdict"] == values["verdict"] == "needs classes"
    for path in tmp_path / "m.pt", tmp_path / "n.pt":
        assert subprocess.run([PROGRAM, "load", path], capture_output=True, timeout=60).returncode == 0


def test_archives_that_readers_read_differently(tmp_path):
    good, bad = pickle.dumps({}, 2), WAYS["reduce"][1] + b"."
    for name, members in {
        "twice": [("m/data.pkl", bad)],
        "in another case": [("m/DATA.PKL", bad)],
        "in another folder": [("n/data.pkl", bad)],
        "under another name": [("m/more.pkl", bad)],
    }.items():
        [found] = scanned(model(tmp_path / "m.pt", good, members))
        assert found["dangerous"], name
        assert "os.system" in dangerous_names(found), name
    [found] = scanned(model(tmp_path / "m.pt", good + bad))
    assert found["dangerous"] and "behind the pickle's end" in found["findings"][0]["what"]
    assert found["verdict"] == "would run code, suspicious" and "os.system" in dangerous_names(found)
    # No directory: what is there is found all the same.
    whole = model(tmp_path / "m.pt", bad).read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: whole.index(b"PK\x01\x02")])
    assert "os.system" in dangerous_names(scanned(tmp_path / "cut.pt")[0])
    # A member that the directory does not know.
    at = whole.index(b"PK\x01\x02")
    hidden = b"PK\x03\x04" + bytes(22) + struct.pack("<HH", 8, 0) + b"m/hidden" + bad
    end = bytearray(whole[at:])
    struct.pack_into("<I", end, len(end) - 6, at + len(hidden))
    (tmp_path / "hidden.pt").write_bytes(whole[:at] + hidden + end)
    assert any("does not mention" in f["what"] for f in scanned(tmp_path / "hidden.pt")[0]["findings"])


def test_folders_whole_and_ordinary_files_are_not_flagged(data):
    manifest = {}
    for version in "torch-1.13", "torch-2.13":
        for entry in json.loads((data / version / "manifest.json").read_text())["files"]:
            manifest[str(data / version / entry["file"])] = entry
    found = {f["file"]: f for f in scanned(data)}
    looked_at = 0
    for path, entry in manifest.items():
        if path not in found or entry["expect"] == "refuse" or entry.get("container") not in ("zip", "safetensors", "index"):
            continue
        looked_at += 1
        assert not found[path]["dangerous"] and not found[path]["broken"], found[path]
    assert looked_at > 90


def test_headers_that_overlap_cost_no_more_than_their_bytes(tmp_path):
    """Each claims a long name, or all that follows as its data: looked at one by one they would be gigabytes."""
    names = (b"PK\3\4" + bytes(22) + struct.pack("<HH", 4096, 0) + b"m/") * 300_000
    count = 1800
    data = b"".join(b"PK\3\4" + bytes(22) + struct.pack("<HH", (count - i - 1) * 30 + 4, 0) for i in range(count)) + b".pkl"
    for content in names, data + b"N0" * (4 << 20):
        path = tmp_path / "m.pt"
        path.write_bytes(content)
        for command in (["scan"], ["inspect"], ["recover"]):
            arguments = [path, tmp_path / "out.pt"] if command == ["recover"] else [path]
            done = subprocess.run([PROGRAM, *command, *arguments], capture_output=True, text=True, timeout=30,
                                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20)))
            assert done.returncode == 1 and "memory" not in done.stderr, done.stderr


def test_few_bytes_cost_little(tmp_path):
    """What a few bytes mention again and again is not copied, hashed or compared each time."""
    many, long = 200_000, b"X" + struct.pack("<I", 1 << 20) + b"k" * (1 << 20) + b"q\x00"
    items = b"(" + b"N" * (1 << 20) + b"lq\x00"
    names = b"c" + b"k" * (1 << 20) + b"\nname\nq\x00"
    pickles = {
        "a key": long + b"0}" + b"h\x00Ns" * many,
        "keys in tuples": b"(" + b"N" * 64 + long + b"t" + b"q\x01" + b"0}" + b"h\x01Ns" * many,
        "a set of a list": items + b"0" + glob("builtins", "frozenset") + b"q\x01(h\x00tq\x020(" + b"h\x01h\x02R0" * many + b"N",
        "many arguments": b"(" + b"N" * (1 << 20) + b"tq\x000" + glob("my", "Class") + b"q\x010(" + b"h\x01h\x00R0" * many + b"N",
        "a long name": names + b"0(" + b"h\x00)R0" * many + b"N",
        "a long name in texts": long + b"0(" + b"h\x00h\x00\x93)R0" * many + b"N",
        "a state for many": b"}q\x00(" + b"".join(text(f"{i}") + b"N" for i in range(100_000)) + b"u0" +
                            glob("torch._tensor", "_rebuild_from_type_v2") + b"q\x01" + glob("torch.nn", "Linear") +
                            b"(" + glob("my", "Class") + PLAIN + b")h\x00tq\x020(" + b"h\x01h\x02R0" * many + b"N",
    }
    for name, pickled in pickles.items():
        path = model(tmp_path / "m.pt", b"\x80\x04" + pickled + b".")
        for command in ["scan"], ["inspect"], ["inspect", "--json"], ["verify"]:
            done = subprocess.run([PROGRAM, *command, path], capture_output=True, text=True, timeout=20,
                                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)))
            assert done.returncode in (0, 1) and "memory" not in done.stderr.replace("bytes of memory, from", ""), (name, done.stderr)


def hostile_files(folder):
    """All of them, as archives."""
    pickles = [b"\x80\x02" + called(glob(*name), "x") + b"." for name in SPLIT]
    pickles += [pickled + b"." for _, pickled in WAYS.values()] + list(BROKEN.values())
    bad = WAYS["reduce"][1] + b"."
    files = [model(folder / f"{i}.pt", pickled) for i, pickled in enumerate(pickles)]
    for i, name in enumerate(["m/data.pkl", "m/DATA.PKL", "n/data.pkl", "m/more.pkl", "../data.pkl"]):
        files.append(model(folder / f"archive{i}.pt", pickle.dumps({}, 2), [(name, bad)]))
    return files


def test_nothing_runs_nothing_connects_nothing_is_written(tmp_path, data):
    """Under a filter of system calls that ends the process for any of it."""
    strace = subprocess.run(["which", "strace"], capture_output=True, text=True).stdout.strip()
    if not strace:
        pytest.skip("strace is the witness, and is not here")
    files = hostile_files(tmp_path)
    assert len(files) > 130
    log = tmp_path / "log"
    commands = [["scan", *files, data]]
    for file in files:
        commands += [["inspect", "--keep-calls", file], ["inspect", file], ["verify", "--keep-calls", file],
                     ["convert", "--keep-calls", file, tmp_path / "out.pt", "--allow-objects"]]
    for command in commands:
        subprocess.run([strace, "-f", "-qq", "-o", log, "-e", "trace=execve,execveat,socket,connect,openat,open,creat,unlink,rename,mkdir",
                        PROGRAM, *command], capture_output=True, timeout=300)
        calls = log.read_text().splitlines()[1:]  # the first is the program itself
        assert calls
        for call in calls:
            assert not any(name in call for name in ("execve", "socket(", "connect(", "mkdir(")), call
            if "O_WRONLY" in call or "O_RDWR" in call or "O_CREAT" in call or "rename(" in call:
                # The new file: without a name, or under a temporary one; then it gets the target's name.
                unnamed = f'"{tmp_path}", ' in call and "O_TMPFILE" in call or '"/proc/self/fd/' in call
                assert command[0] == "convert" and (unnamed or str(tmp_path / ".out.pt") in call), call
    assert (tmp_path / "out.pt").exists()  # some were converted, their calls as inert as before
