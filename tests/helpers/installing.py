"""Distributions of this suite: built as wheels, installed by pip into a folder or an environment of their own."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers.pages import ROOT

THIRD_PARTY = ROOT / "tests" / "third_party"


def install(name: str, target: Path) -> Path:
    """Install one of the third-party distributions; returns the folder, which goes on the path."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([*command, str(THIRD_PARTY / name)], check=True, capture_output=True)
    return target


def build(source: Path, folder: Path, *kinds: str) -> None:
    """Write distributions of `source` into a folder; `kinds` is --wheel or --sdist, else the wheel is built from the sdist."""
    command = [sys.executable, "-m", "build", *kinds, "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)


class Fresh:
    """An environment of its own, and the command line in it, run from outside the repository."""

    def __init__(self, folder: Path, outside: Path) -> None:
        venv.create(folder, with_pip=False)
        self.python = folder / "bin" / "python"
        self.outside = outside  # working directory, and the cache of scores
        self.packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))

    def link(self, wheel: Path) -> None:
        """Link the libraries that a wheel requires, those that they require, and no others, to the running environment's."""
        for name in required(wheel):
            for top in {file.parts[0] for file in importlib.metadata.files(name) or ()} - {"..", "__pycache__"}:
                link = self.packages / top
                if not link.is_symlink():
                    link.symlink_to(Path(str(importlib.metadata.distribution(name).locate_file(top))).resolve())

    def install(self, *wheels: Path) -> None:
        """Install wheels, and nothing that they require."""
        self.pip("install", "--no-deps", "--no-index", "--force-reinstall", *wheels)

    def install_from_index(self, wheel: Path) -> None:
        """Install a wheel and what it requires, in the versions of constraints.txt, as on anybody's machine."""
        self.pip("install", "--no-compile", "--constraint", ROOT / "constraints.txt", wheel)

    def pip(self, *arguments: object) -> str:
        """Run pip on this environment; returns what it prints."""
        command = [sys.executable, "-m", "pip", "--python", str(self.python), "--quiet", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        """Run a command in this environment."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environment |= {"UNLEARNBENCH_CACHE": str(self.outside), "COLUMNS": "200"}
        line = list(map(str, command))
        return subprocess.run(line, capture_output=True, text=True, env=environment, check=False, cwd=self.outside)

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return self.run(self.python.with_name("unlearnbench"), *arguments)


def required(wheel: Path) -> set[str]:
    """Names of the distributions that a wheel requires without extras, and that these require in turn."""
    with ZipFile(wheel) as archive:
        metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        requirements = message_from_string(archive.read(metadata).decode()).get_all("Requires-Dist", [])
    found: dict[str, set[str]] = {}
    _follow(requirements, {""}, found)
    return set(found)


def _follow(requirements: Iterable[str], extras: set[str], found: dict[str, set[str]]) -> None:
    """Add to `found` (distribution -> its extras that were followed) what these requirements lead to."""
    for requirement in map(Requirement, requirements):
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name, wanted = canonicalize_name(requirement.name), {"", *requirement.extras}
        if not wanted <= found.setdefault(name, set()):
            found[name] |= wanted
            _follow(importlib.metadata.requires(name) or (), wanted, found)
