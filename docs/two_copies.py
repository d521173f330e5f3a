"""Draws docs/two_copies.svg from the output of the demo:

    build/dev/transload demo > demo.txt
    python3 docs/two_copies.py demo.txt docs/two_copies.svg

The picture shows the allocated bytes of the CPU and of cuda:0 after each step of two ways to fill a
model on the CPU from a file that was saved on a GPU. The demo prints a table of memory after each
step; this script reads those tables and needs the Python standard library only.
"""

import re
import sys
from pathlib import Path

WIDTH, HEIGHT = 820, 290
BASELINE, BAR_HEIGHT, BAR_WIDTH = 206, 120, 26  # pixels; BAR_HEIGHT is that of the largest value

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #57606a }
  .title { font-size: 15px; font-weight: 600; fill: #24292f }
  .value { font-size: 12px; fill: #24292f }
  .axis { stroke: #8c959f }
  .cpu { fill: #4393c3 }
  .cuda { fill: #d6604d }
  .reserved { fill: none; stroke: #d6604d; stroke-dasharray: 3 3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #9ea7b3 }
    .title, .value { fill: #e6edf3 }
    .axis { stroke: #6e7681 }
  }
"""


def memory_tables(demo: str) -> dict[str, list[dict[str, tuple[int, int]]]]:
    """The tables by the number of their step: device -> (allocated, reserved) in bytes; "-" is 0."""
    tables: dict[str, list[dict[str, tuple[int, int]]]] = {}
    step = ""
    for line in demo.splitlines():
        if heading := re.match(r"(\d+)\. ", line):
            step = heading[1]
            tables[step] = []
        elif re.match(r"\s+memory\s+allocated", line):
            tables[step].append({})
        elif row := re.match(r"\s+(cpu|cuda:\d+)\s+(.*)", line):
            if step and tables[step]:
                without_changes = re.sub(r"\([+-]\d+\)", "", row[2]).split()
                allocated, reserved = (int(n) if n != "-" else 0 for n in without_changes[:2])
                tables[step][-1][row[1]] = (allocated, reserved)
    return tables


def columns(tables):
    """Two panels of (label, bytes on the CPU, bytes on cuda:0, bytes reserved on cuda:0)."""

    def column(label, table):
        return label, table["cpu"][0], *table["cuda:0"]

    before, loaded = tables["4"][0], tables["5"][0]
    copied, dropped, emptied = tables["6"]
    left = [
        column("model\non the CPU", before),
        column("state =\nload(path)", loaded),
        column("load_state_\ndict(state)", copied),
        column("del state", dropped),
        column("empty_\ncache()", emptied),
    ]
    # In the demo a state dict from step 7 is alive during step 8: add only what step 8 added.
    grown = {
        device: tables["8"][0][device][0] - tables["7"][0][device][0]
        for device in ("cpu", "cuda:0")
    }
    right = [
        column("model\non the CPU", before),
        (
            "load_into(\nmodel, path)",
            before["cpu"][0] + grown["cpu"],
            before["cuda:0"][0] + grown["cuda:0"],
            0,
        ),
    ]
    return left, right


def draw(left, right) -> str:
    largest = max(max(cpu, cuda) for _, cpu, cuda, _ in left + right)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img"'
        ' aria-label="Bytes on the CPU and on cuda:0, step by step">',
        f"<style>{STYLE}</style>",
    ]

    def text(x, y, words, style="", anchor="middle"):
        kind = f' class="{style}"' if style else ""
        for i, line in enumerate(words.split("\n")):
            parts.append(
                f'<text x="{x}" y="{y + 16 * i}" text-anchor="{anchor}"{kind}>{line}</text>'
            )

    def bar(x, nbytes, style):
        height = round(BAR_HEIGHT * nbytes / largest)
        if height:
            parts.append(
                f'<rect x="{x}" y="{BASELINE - height}" width="{BAR_WIDTH}" height="{height}" rx="2" class="{style}"/>'
            )
        text(x + BAR_WIDTH // 2, BASELINE - height - 5, str(nbytes), "value")

    def panel(x, title, subtitle, steps):
        text(x, 26, title, "title", "start")
        text(x, 46, subtitle, "", "start")
        end = x + 104 * len(steps)
        parts.append(f'<line x1="{x}" y1="{BASELINE}" x2="{end}" y2="{BASELINE}" class="axis"/>')
        for i, (label, cpu, cuda, reserved) in enumerate(steps):
            middle = x + 52 + 104 * i
            bar(middle - BAR_WIDTH - 7, cpu, "cpu")
            bar(middle + 7, cuda, "cuda")
            if reserved and not cuda:
                parts.append(
                    f'<rect x="{middle + 7}" y="{BASELINE - 40}" width="{BAR_WIDTH}" height="22" rx="2" class="reserved"/>'
                )
            text(middle, BASELINE + 20, label)

    panel(16, "load, then load_state_dict", "Two copies until the state dict is dropped.", left)
    panel(588, "load_into", "One copy. Nothing on cuda:0.", right)
    parts.append('<rect x="16" y="262" width="12" height="12" rx="2" class="cpu"/>')
    text(34, 273, "cpu, bytes allocated", "", "start")
    parts.append('<rect x="180" y="262" width="12" height="12" rx="2" class="cuda"/>')
    text(198, 273, "cuda:0, bytes allocated", "", "start")
    reserved = max(held for *_, held in left)
    parts.append('<rect x="366" y="262" width="12" height="12" rx="2" class="reserved"/>')
    text(384, 273, f"cuda:0, {reserved:,} bytes reserved, none allocated", "", "start")
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    demo, picture = sys.argv[1:]
    Path(picture).write_text(draw(*columns(memory_tables(Path(demo).read_text()))))
