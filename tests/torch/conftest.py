import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("TRANSLOAD", ROOT / "build/dev/transload"))


@pytest.fixture(scope="session")
def transload():
    """Runs the program; returns what it printed. An exit status other than 0 fails the test with its words."""
    def run(*arguments):
        done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def data():
    return pathlib.Path(os.environ.get("TRANSLOAD_DATA", ROOT / "tests/data"))
