"""A new plugin as a complete small distribution: one module that already runs, its entry point, a test, README, licence, CI."""

from __future__ import annotations

import datetime
import re
import string
from importlib import resources
from pathlib import Path

import yaml

from unlearnbench import __version__
from unlearnbench.errors import UsageError, normalise
from unlearnbench.plugins.kinds import OfferedKind
from unlearnbench.plugins.registry import list_plugins
from unlearnbench.system.files import check_folder, write_atomic

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 40
OURS = ("methods", "benchmarks", "attacks")  # their modules would be called as the packages that come with unlearnbench
# template -> where it goes
FILES = {
    "{template}/module.py.txt": "{module}.py",
    "{template}/readme.md.txt": "README.md",
    "both/pyproject.toml.txt": "pyproject.toml",
    "{tests}/test.py.txt": "tests/test_{module}.py",
    "both/ci.yml.txt": ".github/workflows/tests.yml",
    "both/gitignore.txt": ".gitignore",
    "both/license.txt": "LICENSE",
}


def new_plugin(kind: OfferedKind, name: str, out: Path | None = None, *, generation: bool = False) -> Path:
    """Write a distribution that offers a plugin of that name.

    Args:
        kind: kind of plugin that it offers.
        name: name that users will type; small letters, digits and single hyphens.
        out: the folder to make; by default `unlearnbench-NAME` in the working folder.
        generation: true for a benchmark whose answers the model writes, false for multiple choice.

    Returns:
        the folder.

    Raises:
        UsageError: the name is unfit or taken, or the folder exists; nothing is written then.
    """
    _check_name(name)
    folder = out or Path(f"unlearnbench-{name}")
    if folder.exists():
        raise UsageError(f"{folder} exists already, and nothing is overwritten; choose another place with --out FOLDER.")
    check_folder(folder)
    template = "generation" if generation else kind
    values = {
        "kind": kind,
        "template": template,
        "tests": "generation" if generation else "both",
        "name": name,
        "module": f"unlearnbench_{name.replace('-', '_')}",
        "camel": _class_name(kind, name, template),
        "distribution": f"unlearnbench-{name}",
        "version": __version__,
        "year": str(datetime.date.today().year),
    }
    for source, place in FILES.items():
        text = string.Template(_template(source.format(**values))).substitute(values)
        write_atomic(folder / place.format(**values), text.encode())
    return folder


def _template(name: str) -> str:
    return (resources.files("unlearnbench.plugins") / "templates" / name).read_text(encoding="utf-8")


def _class_name(kind: OfferedKind, name: str, template: str) -> str:
    """The name in capitals; where the module uses that word already (`training`), the kind stands behind it."""
    word = "".join(part.capitalize() for part in name.split("-"))
    return word + kind.capitalize() if word in re.findall(r"\w+", _template(f"{template}/module.py.txt")) else word


def _check_name(name: str) -> None:
    """Refuse a name that could not be typed, written into a recipe or told from an existing plugin's.

    Raises:
        UsageError: the name is unfit or taken.
    """
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise UsageError(
            f"A plugin's name has small letters, digits and single hyphens, begins with a letter and is at most {LONGEST} "
            f"long, as in soft-steering; got '{name}'."
        )
    if not isinstance(yaml.safe_load(name), str):
        raise UsageError(f"A recipe would read '{name}' as {yaml.safe_load(name)!r}, not as a name; choose another name.")
    if name in OURS:
        raise UsageError(f"The module unlearnbench_{name} comes with unlearnbench; choose another name than '{name}'.")
    for info in list_plugins():
        if normalise(info.name) == name:
            raise UsageError(f"'{name}' is a {info.kind} of {info.distribution} already; choose another name.")
