import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/torch"))  # equal.py


@pytest.fixture(scope="session")
def data():
    return ROOT / "tests/data"


@pytest.fixture
def patched():
    import transload

    with transload.patch_torch() as patch:
        yield patch


@pytest.fixture
def file(tmp_path):
    """Two tensors, as torch saves them."""
    import torch

    torch.save({"a": torch.arange(4.0), "b": [torch.ones(2)]}, tmp_path / "t.pt")
    return tmp_path / "t.pt"
