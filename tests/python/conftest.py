import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/torch"))  # equal.py


@pytest.fixture(scope="session")
def data():
    return ROOT / "tests/data"
