"""Checks the structure of the sources: include_directions.py ROOT

- A folder of src/ includes those below it in FOLDERS, never one above, and no file includes one that includes it.
- Nothing under src/ includes the umbrella transload/transload.h; the stories (src/*.cc) may.
- python/ and cli/ include public headers and their own.
- No file has over 500 lines, no class over 250.

The allow-lists name today's exceptions. They only shrink: an entry that is not needed any more is an error too.
"""
import pathlib
import re
import sys

# From the top down. "" stands for the stories src/*.cc. src/nn is a library of its own, on top of the others.
FOLDERS = ["nn", "", "format", "scan", "transfer", "plan", "archive", "pickle", "values", "device", "io", "types"]
# Only the engine, the stories and nn know devices: the rest, the plan above all, works where there is none.
KNOW_DEVICES = {"nn", "", "transfer", "device"}
CHECKED = ["src", "cli", "python", "include"]
UMBRELLA = "transload/transload.h"
MAX_FILE_LINES, MAX_CLASS_LINES = 500, 250

MAY_INCLUDE_UMBRELLA = set()
MAY_INCLUDE_INTERNALS = set()
MAY_BE_LONG = set()
MAY_HAVE_A_LONG_CLASS = {
    ("src/format/safetensors_header.cc", "HeaderHandler"),
}

# What is not code: comments, raw strings, strings, characters (a digit separator, as in 1'000, is neither).
NOT_CODE = re.compile(r"""//[^\n]*|/\*.*?\*/|R"(?P<end>[^(\s]*)\(.*?\)(?P=end)"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'""",
                      re.DOTALL)
CLASS = re.compile(r"(?<!enum )\b(?:class|struct|union)\s+(?:\[\[\w+\]\]\s*)?(\w+)[^;{}()]*\{")


def code_of(text):
    """The text without comments and strings, line by line in its old place."""
    return NOT_CODE.sub(lambda match: "\n" * match[0].count("\n"), text)


def classes(text):
    """(name, first line, lines) of each class."""
    code = code_of(text)
    for match in CLASS.finditer(code):
        depth, end = 1, match.end()
        while depth and end < len(code):
            depth += {"{": 1, "}": -1}.get(code[end], 0)
            end += 1
        first = code.count("\n", 0, match.start(1)) + 1
        yield match[1], first, code.count("\n", match.start(1), end) + 1


def folder_of(path):
    """Of a file in src/, as FOLDERS has it; None for any other file."""
    parts = path.split("/")
    if parts[0] != "src":
        return None
    return parts[1] if len(parts) > 2 else ""


class Check:
    def __init__(self, root):
        self.texts = {path.relative_to(root).as_posix(): path.read_text()
                      for top in CHECKED for path in sorted((root / top).rglob("*")) if path.suffix in (".cc", ".h", ".cu")}
        self.problems = []
        self.used = set()  # entries of the allow-lists

    def wrong(self, path, text, allowed=frozenset(), entry=None):
        if entry in allowed:
            self.used.add(entry)
        else:
            self.problems.append(f"{path}: {text}")

    def resolve(self, path, name):
        """The included file's path in the repository, as the compiler would look for it; None for one of another project."""
        beside = path.rpartition("/")[0] + "/" + name
        return next((found for found in (beside, "src/" + name, "include/" + name) if found in self.texts), None)

    def includes(self, path):
        return re.findall(r'^\s*#\s*include\s+["<]([^">]+)[">]', self.texts[path], re.MULTILINE)

    def check_direction(self, path, name, target):
        ours, theirs = folder_of(path), folder_of(target)
        if path.startswith("src/") and name == UMBRELLA and ours != "":
            self.wrong(path, f"includes {UMBRELLA}; include the parts that it needs", MAY_INCLUDE_UMBRELLA, path)
        if theirs is None:
            return
        if path.startswith("include/"):
            self.wrong(path, f"is public and includes {name}")
        elif ours is None:
            self.wrong(path, f"includes {name}; only public headers belong here", MAY_INCLUDE_INTERNALS, (path, name))
        elif ours not in FOLDERS or theirs not in FOLDERS:
            self.wrong(path, f"includes {name}: a folder that is not listed in tests/include_directions.py")
        elif FOLDERS.index(theirs) < FOLDERS.index(ours):
            self.wrong(path, f"includes {name}, which is above it: {' > '.join(name or 'src/*.cc' for name in FOLDERS)}")
        elif theirs == "device" and ours not in KNOW_DEVICES:
            self.wrong(path, f"includes {name}; only transfer/ and the stories know devices")

    def check_cycles(self, graph):
        done, on_path = set(), []

        def visit(path):
            if path in on_path:
                self.wrong(path, "includes itself: " + " > ".join(on_path[on_path.index(path):] + [path]))
            elif path not in done:
                on_path.append(path)
                for target in graph[path]:
                    visit(target)
                on_path.pop()
                done.add(path)

        for path in graph:
            visit(path)

    def run(self):
        graph = {path: [] for path in self.texts}
        for path, text in self.texts.items():
            for name in self.includes(path):
                target = self.resolve(path, name)
                if target:
                    graph[path].append(target)
                    self.check_direction(path, name, target)
            lines = text.count("\n")
            if lines > MAX_FILE_LINES:
                self.wrong(path, f"has {lines} lines, {MAX_FILE_LINES} at most are allowed", MAY_BE_LONG, path)
            for name, first, count in classes(text):
                if count > MAX_CLASS_LINES:
                    self.wrong(f"{path}:{first}", f"class {name} has {count} lines, {MAX_CLASS_LINES} at most are allowed",
                               MAY_HAVE_A_LONG_CLASS, (path, name))
        self.check_cycles(graph)
        for entry in sorted((MAY_INCLUDE_UMBRELLA | MAY_INCLUDE_INTERNALS | MAY_BE_LONG | MAY_HAVE_A_LONG_CLASS) - self.used, key=str):
            self.problems.append(f"tests/include_directions.py: {entry} needs no exception any more; remove it from its list")
        return self.problems


problems = Check(pathlib.Path(sys.argv[1])).run()
print("\n".join(problems) or "all is in order")
sys.exit(bool(problems))
