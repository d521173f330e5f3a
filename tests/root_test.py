"""Fails if the root of the repository holds a file or folder that is not on the list below: root_test.py ROOT

In a git checkout only tracked files count, elsewhere (an unpacked archive) all except those that .gitignore names.
"""
import fnmatch
import pathlib
import subprocess
import sys

ALLOWED = {
    "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", ".ci", ".clang-format", ".clang-tidy", ".gitignore", "CMakeLists.txt", "CMakePresets.json", "LICENSE", "Makefile",
    "README.md", "bench", "cli", "cmake", "docs", "examples", "include", "pyproject.toml", "python", "src", "tests",
}


def entries(root):
    if (root / ".git").exists():
        # "safe.directory": the tests may run as another user than the one who owns the checkout.
        command = ["git", "-c", f"safe.directory={root}", "-C", str(root), "ls-files", "-z"]
        tracked = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        return {path.split("/")[0] for path in tracked.split("\0") if path}
    ignored = [line.strip("/") for line in (root / ".gitignore").read_text().split() if not line.startswith("#")]
    return {path.name for path in root.iterdir() if not any(fnmatch.fnmatch(path.name, name) for name in ignored)}


root = pathlib.Path(sys.argv[1]).resolve()
found = entries(root)
for name in sorted(found - ALLOWED):
    print(f"{root}: {name} does not belong at the root; move it to a folder, or add it to the list in tests/root_test.py")
for name in sorted(ALLOWED - found):
    print(f"{root}: {name} is on the list in tests/root_test.py and is missing; remove it from the list")
sys.exit(found != ALLOWED)
