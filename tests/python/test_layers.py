"""The package's modules import only those of layers below their own."""
import ast
import pathlib

import transload

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "python/transload"
LAYERS = [
    {"_core"},
    {"_dtensor", "_installed", "_lent", "_numpy_pickle", "_progress"},
    {"_object"},
    {"_torch", "_numpy"},
    {"_arrays", "_options"},
    {"_files", "_fill", "_memory"},
    {"_index", "_module"},
    {"_optimizer"},
    {"_load", "_save"},
    {"_patch_rules"},
    {"_patch"},
    {"__init__"},
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}


def imported(module):
    """The package's modules that a module imports, at its beginning or inside a function."""
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            yield from [node.module] if node.module else [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.module.startswith("transload"), f"{module}: write from .{node.module[10:]} import"
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("transload") for alias in node.names), module


def test_imports_go_down():
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert modules == set(LAYER) - {"_core"}
    edges = {(module, other) for module in modules for other in imported(module)}
    assert len(edges) > 30
    assert [edge for edge in edges if LAYER[edge[0]] <= LAYER[edge[1]]] == []


def test_the_binding_includes_public_headers_only():
    for path in sorted(PACKAGE.parent.glob("*.[ch]*")):
        for line in path.read_text().splitlines():
            if line.startswith('#include "'):
                name = line.split('"')[1]
                assert name.startswith("transload/") or (path.parent / name).exists(), f"{path.name}: {line}"


def test_everything_public_is_documented():
    for name in set(transload.__all__) - {"__version__"}:
        one = getattr(transload, name)
        assert one.__doc__, name
        if isinstance(one, type) and one.__module__.startswith("transload._"):
            for member, value in vars(one).items():
                if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                    assert value.__doc__, f"{name}.{member}"
