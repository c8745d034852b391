"""The drawing of the rooms says what the imports say, and the page knows every room."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

from helpers.pages import DOCS

import unlearnbench

PACKAGE = Path(unlearnbench.__file__).parent
ARROW = re.compile(r"\"?\.(\w+)\"?\s*->\s*\"?\.(\w+)")


def reached(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The arrows and all that follow from them."""
    closed = set(arrows)
    while more := {(a, d) for a, b in closed for c, d in closed if b == c} - closed:
        closed |= more
    return closed


def test_the_drawing_is_current():
    """It leaves out what follows; what both say in the end must be the same."""
    command = [Path(sys.executable).with_name("import-linter"), "drawgraph", "unlearnbench"]
    imports = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    drawn = html.unescape("\n".join(re.findall("<title>(.*?)</title>", (DOCS / "rooms.svg").read_text(encoding="utf-8"))))
    assert ARROW.findall(drawn)
    assert reached(set(ARROW.findall(drawn))) == reached(set(ARROW.findall(imports))), "run `make rooms`"


def test_every_room_is_on_the_page():
    page = (DOCS / "how-it-is-built.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| \d+ \| `(\w+)(?:\.py)?` \|", page, re.MULTILINE))
    rooms = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()}
    assert told == rooms | {"api", "errors"}


def test_what_the_page_names_is_there():
    """Modules by their path, in a room or below the package."""
    page = (DOCS / "how-it-is-built.md").read_text(encoding="utf-8")
    for name in re.findall(r"`([\w/]+\.py)`", page):
        assert list(PACKAGE.rglob(name)) or (DOCS.parent / name).is_file(), name
